//! How groups behave on this hub.

use std::time::Duration;

use crate::error::ConfigError;

/// How groups behave. Names and defaults are Kafka's unless said otherwise.
#[derive(Clone, Debug)]
pub struct Config {
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members. Default 300 ms
    /// (Kafka: 3 s).
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`. Default 6 s.
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`. Default 30 min.
    pub session_timeout_max: Duration,
    /// `group.max.size`: members of one group. Default 1,000.
    pub members_max: usize,
    /// Groups that this hub coordinates. Default 10,000.
    pub groups_max: usize,
    /// `offsets.retention.minutes`. Default 7 days.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`. Default 10 min.
    pub expiry_interval: Duration,
    /// `offsets.topic.num.partitions`, when the topic is made. Default 16 (Kafka: 50).
    pub offsets_partitions: i32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            initial_rebalance_delay: Duration::from_millis(300),
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(30 * 60),
            members_max: 1_000,
            groups_max: 10_000,
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            expiry_interval: Duration::from_secs(10 * 60),
            offsets_partitions: 16,
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let invalid = |what, must| Err(ConfigError::Invalid { what, must });
        if self.session_timeout_min > self.session_timeout_max {
            return invalid("group.min.session.timeout.ms", "at most group.max.session.timeout.ms");
        }
        if self.members_max == 0 {
            return invalid("group.max.size", "at least 1");
        }
        if self.expiry_interval.is_zero() {
            return invalid("offsets.retention.check.interval.ms", "at least 1");
        }
        if !(1..=metadata::limits::PARTITIONS_PER_TOPIC_MAX).contains(&self.offsets_partitions) {
            return invalid("offsets.topic.num.partitions", "as many partitions as a topic can have");
        }
        Ok(())
    }
}
