//! A topic's configuration, under the names that Kafka gave it.

mod keys;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use shards::LogOptions;
use thiserror::Error;

use crate::limits::{MESSAGE_BYTES_DEFAULT, SEGMENT_BYTES_DEFAULT};

/// What becomes of old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleanupPolicy {
    /// Whole segments go when they are too old or the partition is too large.
    Delete,
    /// The last record of every key stays.
    Compact,
}

/// Whose time a record's timestamp is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    Create,
    LogAppend,
}

/// The configuration in force: what the topic sets, and defaults for the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    pub cleanup_policy: CleanupPolicy,
    /// Counted from the append, never from the record's own time. `None`: for ever.
    pub retention_ms: Option<i64>,
    /// `None`: without bound.
    pub retention_bytes: Option<i64>,
    pub segment_bytes: u32,
    pub segment_ms: i64,
    pub max_message_bytes: usize,
    pub timestamp_type: TimestampType,
    /// How long a compacted topic keeps a tombstone.
    pub delete_retention_ms: i64,
    pub min_insync_replicas: i32,
    /// What the topic itself sets, as it was given.
    overrides: BTreeMap<String, String>,
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            cleanup_policy: CleanupPolicy::Delete,
            retention_ms: Some(7 * DAY_MS),
            retention_bytes: None,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            segment_ms: 7 * DAY_MS,
            max_message_bytes: MESSAGE_BYTES_DEFAULT,
            timestamp_type: TimestampType::Create,
            delete_retention_ms: DAY_MS,
            min_insync_replicas: 1,
            overrides: BTreeMap::new(),
        }
    }
}

/// A setting that cannot be. Kafka: `INVALID_CONFIG`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid topic configuration {key}: {problem}")]
pub struct ConfigError {
    pub key: String,
    pub problem: ConfigProblem,
}

/// What is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigProblem {
    #[error("no such key")]
    UnknownKey,
    #[error("set twice")]
    Twice,
    #[error("no value given")]
    NoValue,
    #[error("{value:?} is not one of {expected}")]
    NotOneOf { value: String, expected: &'static str },
    #[error("{value:?} is not a whole number from {min} to {max}")]
    NotInRange { value: String, min: i64, max: i64 },
    #[error("{given} is more than the majority of {replicas} replicas, which is {majority}")]
    AboveMajority { given: i32, replicas: usize, majority: i32 },
    #[error("a topic that agents feed cannot be compacted")]
    AgentFed,
}

impl ConfigError {
    pub(crate) fn new(key: &str, problem: ConfigProblem) -> Self {
        Self { key: key.to_owned(), problem }
    }

    pub(crate) fn agent_fed() -> Self {
        Self::new(keys::CLEANUP_POLICY, ConfigProblem::AgentFed)
    }
}

/// One entry for whoever describes a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    pub key: &'static str,
    pub value: String,
    pub is_default: bool,
}

impl TopicConfig {
    /// What a create request sets; a key without a value is left at its default, as Kafka does.
    ///
    /// # Errors
    /// The first key that is unknown, given twice, or has a value that cannot be.
    pub fn parse(given: &[(String, Option<String>)]) -> Result<Self, ConfigError> {
        let mut set = BTreeMap::new();
        for (key, value) in given {
            if set.insert(key.clone(), value.clone()).is_some() {
                return Err(ConfigError::new(key, ConfigProblem::Twice));
            }
        }
        Self::default().changed(&set)
    }

    /// This configuration with some keys set, and those without a value back at their defaults.
    ///
    /// # Errors
    /// As [`TopicConfig::parse`].
    pub fn changed(&self, changes: &BTreeMap<String, Option<String>>) -> Result<Self, ConfigError> {
        let mut overrides = self.overrides.clone();
        for (key, value) in changes {
            match value {
                Some(value) => overrides.insert(key.clone(), value.clone()),
                None if keys::is_known(key) => overrides.remove(key),
                None => return Err(ConfigError::new(key, ConfigProblem::UnknownKey)),
            };
        }
        let mut config = Self::default();
        for (key, value) in overrides {
            keys::set(&mut config, &key, &value)?;
            config.overrides.insert(key, value);
        }
        Ok(config)
    }

    /// What the metadata holds. A key or value that this release does not know, of a newer or an older one, is
    /// kept but has no effect: the state must not depend on what one release thinks of it.
    pub(crate) fn from_stored(overrides: &BTreeMap<String, String>) -> Self {
        let mut config = Self::default();
        for (key, value) in overrides {
            if let Err(error) = keys::set(&mut config, key, value) {
                tracing::warn!(%error, "a stored topic setting is not understood and has no effect");
            }
        }
        config.overrides.clone_from(overrides);
        config
    }

    /// What of it the partitions' shards have to know.
    #[must_use]
    pub fn log_options(&self) -> LogOptions {
        LogOptions { segment_bytes: self.segment_bytes }
    }

    /// When the active segment is closed at the latest. Retention only reaches closed segments, so a short
    /// retention closes them sooner: records go at most half of the retention late.
    #[must_use]
    pub fn roll_after(&self) -> Duration {
        let by_retention = self.retention_ms.map_or(i64::MAX, |ms| ms / 2);
        Duration::from_millis(self.segment_ms.min(by_retention).max(0).cast_unsigned())
    }

    /// What the topic itself sets.
    #[must_use]
    pub fn overrides(&self) -> &BTreeMap<String, String> {
        &self.overrides
    }

    /// Every key with the value in force.
    #[must_use]
    pub fn entries(&self) -> Vec<ConfigEntry> {
        keys::all()
            .map(|(key, value)| ConfigEntry {
                key,
                value: value(self),
                is_default: !self.overrides.contains_key(key),
            })
            .collect()
    }

    /// Checks what depends on the cluster: `min.insync.replicas` up to the majority is met by construction, above
    /// it no write could ever be acknowledged.
    ///
    /// # Errors
    /// The key that cannot be had here.
    pub fn fits(&self, replicas: usize, agent_fed: bool) -> Result<(), ConfigError> {
        let majority = i32::try_from(replicas / 2 + 1).unwrap_or(i32::MAX);
        if self.min_insync_replicas > majority {
            let problem =
                ConfigProblem::AboveMajority { given: self.min_insync_replicas, replicas, majority };
            return Err(ConfigError::new(keys::MIN_INSYNC_REPLICAS, problem));
        }
        if agent_fed && self.cleanup_policy == CleanupPolicy::Compact {
            return Err(ConfigError::agent_fed());
        }
        Ok(())
    }
}
