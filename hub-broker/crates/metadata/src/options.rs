//! How the metadata behaves on one hub. Nothing here is agreed on by all.

use std::time::Duration;

use crate::limits::PARTITIONS_DEFAULT;

/// How the metadata behaves on this hub.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether naming a topic creates it. Default: yes; a listener beyond loopback should turn it off.
    pub auto_create: bool,
    /// Partitions of a topic that is created without a number. Default 4.
    pub partitions_default: i32,
    /// How often retention is looked after. Default 30 s.
    pub retention_interval: Duration,
    /// How often compacted topics are looked after. Default 60 s.
    pub compaction_interval: Duration,
    /// A Kafka producer untouched for this long is forgotten (`producer.id.expiration.ms`). Default one day.
    pub producer_expiration: Duration,
    /// How long a create waits for its partitions to be open. Default 30 s.
    pub settle_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            auto_create: true,
            partitions_default: PARTITIONS_DEFAULT,
            retention_interval: Duration::from_secs(30),
            compaction_interval: Duration::from_secs(60),
            producer_expiration: Duration::from_secs(24 * 60 * 60),
            settle_timeout: Duration::from_secs(30),
        }
    }
}
