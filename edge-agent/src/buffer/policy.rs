//! What the buffer keeps, and what gives way when there is no room.

use std::time::Duration;

use serde::Deserialize;

use super::state::State;
use crate::destination::Priority;

/// What happens to a batch for which there is no room.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The oldest batches of the least urgent priority give way to it, unless all are more urgent than itself.
    #[default]
    DropOldest,
    /// It is dropped itself.
    DropNewest,
    /// It waits, and with it the inputs, until a hub has taken something.
    Block,
}

/// What the batches of one priority may take up, in bytes of pages; the whole where `None`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Caps {
    pub alarm: Option<u64>,
    pub telemetry: Option<u64>,
    pub bulk: Option<u64>,
}

impl Caps {
    fn of(&self, priority: Priority) -> u64 {
        let cap = match priority {
            Priority::Alarm => self.alarm,
            Priority::Telemetry => self.telemetry,
            Priority::Bulk => self.bulk,
        };
        cap.unwrap_or(u64::MAX)
    }
}

/// How much is kept and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// What all entries may take up, in bytes of pages.
    pub cap_bytes: u64,
    pub caps: Caps,
    pub policy: Policy,
    /// A batch that was taken longer ago is given up.
    pub age_max: Option<Duration>,
}

impl Retention {
    /// Keeps what fits into so many bytes, and of that the newest.
    pub fn up_to(cap_bytes: u64) -> Self {
        Self { cap_bytes, caps: Caps::default(), policy: Policy::default(), age_max: None }
    }

    /// Whether so many bytes more of this priority are within the cap of its own.
    pub(super) fn has_own_room(&self, state: &State, priority: Priority, bytes: u64) -> bool {
        state.cost_of(priority) + bytes <= self.caps.of(priority)
    }

    /// Whether so many bytes more are within the cap of all.
    pub(super) fn has_room(&self, state: &State, bytes: u64) -> bool {
        state.cost() + bytes <= self.cap_bytes
    }

    /// Whether so many bytes could be taken if nothing else were there.
    pub(super) fn could_hold(&self, priority: Priority, bytes: u64) -> bool {
        bytes <= self.cap_bytes.min(self.caps.of(priority))
    }
}
