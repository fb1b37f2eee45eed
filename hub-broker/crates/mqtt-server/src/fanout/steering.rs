//! What devices are told: records of `headwater.desired` and `headwater.commands`, whose key is the device, become
//! messages on its own MQTT topics. Any Kafka producer steers the fleet so.
//!
//! How a device is to be set is retained: its newest record is given to whoever subscribes. Commands are kept for those
//! that are away, a few of each device and for a time (`mqtt.message-expiry`, or a day): a device may hear one twice
//! and tells them apart by their ids.

use std::sync::Arc;

use schemas::mqtt::{commands_topic, desired_topic, log_topic};
use schemas::{DeviceId, PartitionIndex, Record, TopicName};

use super::message::Message;
use crate::limits::COMMAND_EXPIRY_DEFAULT;
use crate::wire::Qos;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Steering {
    Desired,
    Commands,
}

impl Steering {
    pub const ALL: [Self; 2] = [Self::Desired, Self::Commands];

    /// For metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Desired => "desired",
            Self::Commands => "commands",
        }
    }

    /// The log topic.
    #[must_use]
    pub fn log_topic(self) -> TopicName {
        let name = match self {
            Self::Desired => log_topic::DESIRED,
            Self::Commands => log_topic::COMMANDS,
        };
        TopicName::try_from(name).expect("a valid topic name")
    }

    /// Reads a record of the partition; `None` where its key is no device.
    #[must_use]
    pub fn message(self, partition: PartitionIndex, record: &Record, timestamp_ms: i64) -> Option<Message> {
        let key = std::str::from_utf8(record.key.as_ref()?).ok()?;
        let device = DeviceId::try_from(key).ok()?;
        let topic = match self {
            Self::Desired => desired_topic(&device),
            Self::Commands => commands_topic(&device),
        };
        let mut message = Message::of(topic.into(), record, timestamp_ms);
        message.qos = Qos::AtLeastOnce;
        message.retain = self == Self::Desired;
        message.is_command = self == Self::Commands;
        message.desired_in = (self == Self::Desired).then_some(partition);
        if self == Self::Commands && message.expires_at_ms.is_none() {
            let expiry_ms = i64::try_from(COMMAND_EXPIRY_DEFAULT.as_millis()).unwrap_or(i64::MAX);
            message.expires_at_ms = Some(timestamp_ms.saturating_add(expiry_ms));
        }
        Some(message)
    }
}

/// A log topic that is followed, and what its records are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub topic: TopicName,
    /// `None`: messages that clients published.
    pub steering: Option<Steering>,
}

impl Source {
    /// The log topics of routes, and those that steer devices.
    #[must_use]
    pub fn all(routes: Vec<TopicName>) -> Vec<Self> {
        let plain = routes.into_iter().map(|topic| Self { topic, steering: None });
        let steering = Steering::ALL.into_iter().map(|it| Self { topic: it.log_topic(), steering: Some(it) });
        plain.chain(steering).collect()
    }

    #[must_use]
    pub fn message(
        &self,
        partition: PartitionIndex,
        record: &Record,
        timestamp_ms: i64,
    ) -> Option<Arc<Message>> {
        let message = match self.steering {
            None => Message::from_record(record, timestamp_ms),
            Some(steering) => steering.message(partition, record, timestamp_ms),
        };
        message.map(Arc::new)
    }
}
