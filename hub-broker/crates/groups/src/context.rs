//! What every group's task may know of the hub: the clock, the topics, the configuration.

use std::sync::Arc;
use std::time::Duration;

use metadata::{Metadata, View};
use tokio::time::Instant;

use crate::config::Config;
use crate::group::{Now, Settings};
use crate::limits::GROUP_METADATA_BYTES_MAX;

pub(crate) struct Context {
    pub(crate) metadata: Metadata,
    pub(crate) config: Config,
    started: Instant,
}

impl Context {
    pub(crate) fn new(metadata: Metadata, config: Config) -> Self {
        Self { metadata, config, started: Instant::now() }
    }

    pub(crate) fn now(&self) -> Now {
        Now { ms: millis(self.started.elapsed()), wall_ms: self.metadata.shards().now_ms() }
    }

    /// What the time is may be wrong by much: nothing is to expire by it.
    pub(crate) fn is_clock_held(&self) -> bool {
        self.metadata.shards().stats().clock_held
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.metadata.view()
    }

    pub(crate) fn offsets_retention_ms(&self) -> i64 {
        millis(self.config.offsets_retention).cast_signed()
    }

    pub(crate) fn settings(&self) -> Settings {
        let session = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
        Settings {
            initial_rebalance_delay_ms: millis(self.config.initial_rebalance_delay),
            session_timeout_min_ms: session(self.config.session_timeout_min),
            session_timeout_max_ms: session(self.config.session_timeout_max),
            members_max: self.config.members_max,
            metadata_bytes_max: GROUP_METADATA_BYTES_MAX,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
