//! Where a record goes: a log topic, and how urgent it is. Each destination is a queue of its own in the buffer.

use schemas::TopicName;
use serde::{Deserialize, Serialize};

/// How urgent a record is; the more urgent is less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Shipped before everything else, on a connection of its own, and dropped last.
    Alarm,
    #[default]
    Telemetry,
    /// Shipped last and dropped first.
    Bulk,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Destination {
    pub topic: TopicName,
    pub priority: Priority,
}

impl From<TopicName> for Destination {
    /// Telemetry.
    fn from(topic: TopicName) -> Self {
        Self { topic, priority: Priority::default() }
    }
}
