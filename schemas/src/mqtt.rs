//! The agent's MQTT contract, shared by the agent and the hub's front end.
//!
//! ```text
//! headwater/v1/{device}/batch/{log topic}/{partition}      batches
//! headwater/v1/{device}/desired                            to the device: how it is to be set
//! headwater/v1/{device}/commands                           to the device
//! headwater/v1/{device}/answers                            from the device, to commands
//! ```
//!
//! Everything below `headwater/` is reserved, so that a hub of this version refuses what a later agent sends
//! there and never stores it as a plain message.

use crate::ids::PartitionIndex;
use crate::names::{DeviceId, DeviceIdError, TopicName, TopicNameError};

/// Names of MQTT 5 user properties.
pub mod property {
    /// CONNECT: the device, on a listener that does not authenticate it.
    pub const DEVICE: &str = "headwater-device";
    /// CONNECT, once a topic: a log topic's name. CONNACK answers each with `{topic}={partition count}`.
    pub const LOG_TOPIC: &str = "headwater-topic";
    /// CONNACK: the hub's time in ms since 1970.
    pub const TIME: &str = "headwater-time";
    /// PUBACK with a refusal: the sequence that the hub expects.
    pub const EXPECTED_SEQUENCE: &str = "expected-sequence";
    /// PUBACK: how many of the publish's batches were stored before.
    pub const DUPLICATE: &str = "duplicate";
    /// PUBACK with a refusal: another batch is stored under these sequences.
    pub const FORK: &str = "fork";
    /// PUBACK with a refusal: the index of the refused batch within the publish.
    pub const BATCH: &str = "batch";
}

/// Log topics by which devices are steered. Any Kafka producer may write to the first two, with the device as key.
pub mod log_topic {
    /// Compacted: the newest record of a device is how it is to be set.
    pub const DESIRED: &str = "headwater.desired";
    pub const COMMANDS: &str = "headwater.commands";
    pub const ANSWERS: &str = "headwater.answers";
    /// What agents tell of themselves, as ordinary records.
    pub const STATUS: &str = "headwater.status";
    /// These are made when they are first needed, also where no other topic is.
    pub const ALL: [&str; 4] = [DESIRED, COMMANDS, ANSWERS, STATUS];
}

const RESERVED: &str = "headwater";
const VERSION: &str = "v1";
const BATCH_LEVEL: &str = "batch";
const ANSWERS_LEVEL: &str = "answers";

/// Where an agent's publish goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentTopic {
    pub device: DeviceId,
    pub topic: TopicName,
    pub partition: PartitionIndex,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentTopicError {
    #[error("topics below headwater/ are headwater/v1/DEVICE/batch/LOG-TOPIC/PARTITION")]
    Shape,
    #[error(transparent)]
    Device(#[from] DeviceIdError),
    #[error(transparent)]
    Topic(#[from] TopicNameError),
    #[error("the partition must be a number from 0 without leading zeros")]
    Partition,
}

/// The MQTT topic of a device's batches.
pub fn agent_topic(device: &DeviceId, topic: &TopicName, partition: PartitionIndex) -> String {
    format!("{RESERVED}/{VERSION}/{device}/{BATCH_LEVEL}/{topic}/{partition}")
}

/// Where a device's desired state comes from.
pub fn desired_topic(device: &DeviceId) -> String {
    format!("{RESERVED}/{VERSION}/{device}/desired")
}

/// Where a device's commands come from.
pub fn commands_topic(device: &DeviceId) -> String {
    format!("{RESERVED}/{VERSION}/{device}/commands")
}

/// Where a device answers.
pub fn answers_topic(device: &DeviceId) -> String {
    format!("{RESERVED}/{VERSION}/{device}/{ANSWERS_LEVEL}")
}

/// The device of a topic that [`answers_topic`] made; `None` for every other topic.
pub fn parse_answers_topic(mqtt_topic: &str) -> Option<Result<DeviceId, DeviceIdError>> {
    let mut levels = mqtt_topic.split('/');
    let device = match (levels.next(), levels.next(), levels.next(), levels.next(), levels.next()) {
        (Some(RESERVED), Some(VERSION), Some(device), Some(ANSWERS_LEVEL), None) => device,
        _ => return None,
    };
    Some(device.try_into())
}

/// Whether a topic or filter lies below `headwater/` by its own words: a wildcard in the first level does not count.
pub fn is_reserved(topic_or_filter: &str) -> bool {
    topic_or_filter.split('/').next() == Some(RESERVED)
}

/// Whether a filter matches topics of this device alone.
pub fn is_of_device(filter: &str, device: &DeviceId) -> bool {
    let mut levels = filter.split('/');
    (levels.next(), levels.next(), levels.next()) == (Some(RESERVED), Some(VERSION), Some(device.as_str()))
}

/// Reads an MQTT topic; `None` where it is not reserved for agents.
pub fn parse_agent_topic(mqtt_topic: &str) -> Option<Result<AgentTopic, AgentTopicError>> {
    let mut levels = mqtt_topic.split('/');
    (levels.next() == Some(RESERVED)).then(|| {
        let rest: [&str; 5] = levels.collect::<Vec<_>>().try_into().map_err(|_| AgentTopicError::Shape)?;
        let [VERSION, device, BATCH_LEVEL, topic, partition] = rest else {
            return Err(AgentTopicError::Shape);
        };
        Ok(AgentTopic {
            device: device.try_into()?,
            topic: topic.try_into()?,
            partition: parse_partition(partition).ok_or(AgentTopicError::Partition)?,
        })
    })
}

/// Log topics that an agent may name at CONNECT.
pub const LOG_TOPICS_MAX: usize = 80;

/// The value of CONNACK's [`property::LOG_TOPIC`].
pub fn log_topic_answer(topic: &TopicName, partition_count: i32) -> String {
    format!("{topic}={partition_count}")
}

/// Reads what [`log_topic_answer`] wrote; `None` where it is malformed or the count is not positive.
pub fn parse_log_topic_answer(value: &str) -> Option<(TopicName, i32)> {
    let (topic, count) = value.split_once('=')?;
    let count = count.parse().ok().filter(|count| *count > 0)?;
    Some((topic.try_into().ok()?, count))
}

/// One spelling for each partition: "+1" and "01" are refused.
fn parse_partition(text: &str) -> Option<PartitionIndex> {
    let number = text.parse::<i32>().ok().filter(|number| *number >= 0)?;
    (number.to_string() == text).then_some(PartitionIndex(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agents_topic_is_read_as_it_was_written() {
        let wanted = AgentTopic {
            device: "pump:7".try_into().unwrap(),
            topic: "telemetry".try_into().unwrap(),
            partition: PartitionIndex(3),
        };
        let text = agent_topic(&wanted.device, &wanted.topic, wanted.partition);
        assert_eq!(text, "headwater/v1/pump:7/batch/telemetry/3");
        assert_eq!(parse_agent_topic(&text), Some(Ok(wanted)));
    }

    #[test]
    fn a_devices_topics_are_told_from_all_others() {
        let device: DeviceId = "pump-7".try_into().unwrap();
        assert_eq!(parse_answers_topic(&answers_topic(&device)), Some(Ok(device.clone())));
        assert!(matches!(parse_answers_topic("headwater/v1/a b/answers"), Some(Err(_))));
        for other in ["headwater/v1/pump-7/commands", "headwater/v1/pump-7/answers/x", "a/v1/pump-7/answers"]
        {
            assert_eq!(parse_answers_topic(other), None, "{other}");
        }
        for (filter, is_own) in [
            ("headwater/v1/pump-7/desired", true),
            ("headwater/v1/pump-7/#", true),
            ("headwater/v1/pump-8/#", false),
            ("headwater/v1/+/desired", false),
            ("headwater/#", false),
            ("#", false),
        ] {
            assert_eq!(is_of_device(filter, &device), is_own, "{filter}");
        }
        assert!(is_reserved("headwater/#") && is_reserved("headwater"));
        assert!(!is_reserved("#") && !is_reserved("+/v1/d/desired") && !is_reserved("headwaters/a"));
    }

    #[test]
    fn what_is_not_below_headwater_is_not_an_agents() {
        for plain in ["", "a/b/c", "headwaters/v1/d/batch/t/0", "/headwater/v1/d/batch/t/0", "Headwater/v1"] {
            assert_eq!(parse_agent_topic(plain), None, "{plain}");
        }
    }

    #[test]
    fn what_is_below_headwater_is_right_or_refused() {
        let shape = [
            "headwater",
            "headwater/v2/d/batch/t/0",
            "headwater/v1/d/batch/t",
            "headwater/v1/d/x/t/0",
            "headwater/v1/d/batch/t/0/",
            "headwater/v1/a/b/batch/t/0",
        ];
        for topic in shape {
            assert_eq!(parse_agent_topic(topic), Some(Err(AgentTopicError::Shape)), "{topic}");
        }
        for partition in ["", "-1", "+1", "01", "x", "2147483648"] {
            let topic = format!("headwater/v1/d/batch/t/{partition}");
            assert_eq!(parse_agent_topic(&topic), Some(Err(AgentTopicError::Partition)), "{topic}");
        }
        assert_eq!(
            parse_agent_topic("headwater/v1//batch/t/0"),
            Some(Err(AgentTopicError::Device(DeviceIdError::Empty)))
        );
        assert_eq!(
            parse_agent_topic("headwater/v1/d/batch/../0"),
            Some(Err(AgentTopicError::Topic(TopicNameError::Dots)))
        );
    }

    #[test]
    fn a_partition_count_is_read_as_it_was_written() {
        let topic = TopicName::try_from("telemetry").unwrap();
        assert_eq!(parse_log_topic_answer(&log_topic_answer(&topic, 4)), Some((topic, 4)));
        for bad in ["telemetry", "telemetry=0", "telemetry=-1", "telemetry=x", "=4", "a=b=4"] {
            assert_eq!(parse_log_topic_answer(bad), None, "{bad}");
        }
    }
}
