//! How the agent is watched and steered.

use std::time::Duration;

use schemas::TopicName;
use schemas::mqtt::log_topic;
use serde::Deserialize;

use super::{ConfigError, checked_topic};
use crate::limits::{STATUS_INTERVAL_S_MAX, TRIAL_S};

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct StatusSettings {
    /// How often the agent tells of itself, in s; 0 for never. Without it, as often as the link is to bear.
    pub interval_s: Option<u64>,
    /// The log topic that it tells it to.
    pub topic: String,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct RemoteSettings {
    /// Take commands from the hub.
    pub commands: bool,
    /// Take settings from the hub: those on the allow-list, each version on trial at first.
    pub settings: bool,
    /// For so long, in s, settings on trial may be in force without a hub.
    pub trial_s: u64,
}

impl Default for RemoteSettings {
    fn default() -> Self {
        Self { commands: false, settings: false, trial_s: 300 }
    }
}

impl RemoteSettings {
    pub(super) fn validate(self) -> Result<Self, ConfigError> {
        if TRIAL_S.contains(&self.trial_s) { Ok(self) } else { Err(ConfigError::Trial(self.trial_s)) }
    }

    pub fn trial(&self) -> Duration {
        Duration::from_secs(self.trial_s)
    }
}

impl Default for StatusSettings {
    fn default() -> Self {
        Self { interval_s: None, topic: log_topic::STATUS.to_owned() }
    }
}

/// The status records, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusConfig {
    pub interval: Duration,
    pub topic: TopicName,
}

impl StatusSettings {
    /// `None`: there are none. `by_link`: the interval where none is set.
    pub(super) fn validate(&self, by_link: Duration) -> Result<Option<StatusConfig>, ConfigError> {
        let topic = checked_topic(&self.topic)?;
        if let Some(seconds) = self.interval_s.filter(|seconds| *seconds > STATUS_INTERVAL_S_MAX) {
            return Err(ConfigError::StatusInterval(seconds));
        }
        let interval = self.interval_s.map_or(by_link, Duration::from_secs);
        Ok((!interval.is_zero()).then_some(StatusConfig { interval, topic }))
    }
}
