//! The keys: how each is read and shown. Names, values and meanings are those of Kafka's topic configuration
//! (<https://kafka.apache.org/documentation/#topicconfigs>).

use super::{CleanupPolicy, ConfigError, ConfigProblem, TimestampType, TopicConfig};
use crate::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};

pub(super) const CLEANUP_POLICY: &str = "cleanup.policy";
pub(super) const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// Kafka's spelling of "without bound".
const UNBOUNDED: i64 = -1;

type Set = fn(&mut TopicConfig, &str) -> Result<(), ConfigProblem>;
type Show = fn(&TopicConfig) -> String;

struct Key {
    name: &'static str,
    set: Set,
    show: Show,
}

const KEYS: [Key; 11] = [
    Key { name: CLEANUP_POLICY, set: set_cleanup_policy, show: show_cleanup_policy },
    // Batches are stored as their producers sent them.
    Key { name: "compression.type", set: |_, v| only(v, "producer"), show: |_| "producer".into() },
    Key {
        name: "delete.retention.ms",
        set: set_delete_retention,
        show: |c| c.delete_retention_ms.to_string(),
    },
    Key { name: "max.message.bytes", set: set_max_message_bytes, show: |c| c.max_message_bytes.to_string() },
    Key { name: "message.timestamp.type", set: set_timestamp_type, show: show_timestamp_type },
    Key { name: MIN_INSYNC_REPLICAS, set: set_min_insync, show: |c| c.min_insync_replicas.to_string() },
    Key { name: "retention.bytes", set: set_retention_bytes, show: |c| show_bound(c.retention_bytes) },
    Key { name: "retention.ms", set: set_retention_ms, show: |c| show_bound(c.retention_ms) },
    Key { name: "segment.bytes", set: set_segment_bytes, show: |c| c.segment_bytes.to_string() },
    Key { name: "segment.ms", set: set_segment_ms, show: |c| c.segment_ms.to_string() },
    // A committed record is never given up for availability.
    Key { name: "unclean.leader.election.enable", set: |_, v| only(v, "false"), show: |_| "false".into() },
];

pub(super) fn is_known(name: &str) -> bool {
    KEYS.iter().any(|key| key.name == name)
}

pub(super) fn set(config: &mut TopicConfig, name: &str, value: &str) -> Result<(), ConfigError> {
    let key = KEYS.iter().find(|key| key.name == name);
    let key = key.ok_or_else(|| ConfigError::new(name, ConfigProblem::UnknownKey))?;
    (key.set)(config, value.trim()).map_err(|problem| ConfigError::new(name, problem))
}

pub(super) fn all() -> impl Iterator<Item = (&'static str, Show)> {
    KEYS.iter().map(|key| (key.name, key.show))
}

fn only(value: &str, expected: &'static str) -> Result<(), ConfigProblem> {
    if value == expected { Ok(()) } else { Err(not_one_of(value, expected)) }
}

fn not_one_of(value: &str, expected: &'static str) -> ConfigProblem {
    ConfigProblem::NotOneOf { value: value.to_owned(), expected }
}

fn whole(value: &str, min: i64, max: i64) -> Result<i64, ConfigProblem> {
    let outside = || ConfigProblem::NotInRange { value: value.to_owned(), min, max };
    let number: i64 = value.parse().map_err(|_| outside())?;
    if (min..=max).contains(&number) { Ok(number) } else { Err(outside()) }
}

fn bound(value: &str) -> Result<Option<i64>, ConfigProblem> {
    let number = whole(value, UNBOUNDED, i64::MAX)?;
    Ok((number != UNBOUNDED).then_some(number))
}

fn show_bound(bound: Option<i64>) -> String {
    bound.unwrap_or(UNBOUNDED).to_string()
}

fn set_cleanup_policy(config: &mut TopicConfig, value: &str) -> Result<(), ConfigProblem> {
    config.cleanup_policy = match value {
        "delete" => CleanupPolicy::Delete,
        "compact" => CleanupPolicy::Compact,
        other => return Err(not_one_of(other, "delete, compact")),
    };
    Ok(())
}

fn show_cleanup_policy(config: &TopicConfig) -> String {
    match config.cleanup_policy {
        CleanupPolicy::Delete => "delete".into(),
        CleanupPolicy::Compact => "compact".into(),
    }
}

fn set_timestamp_type(config: &mut TopicConfig, value: &str) -> Result<(), ConfigProblem> {
    config.timestamp_type = match value {
        "CreateTime" => TimestampType::Create,
        "LogAppendTime" => TimestampType::LogAppend,
        other => return Err(not_one_of(other, "CreateTime, LogAppendTime")),
    };
    Ok(())
}

fn show_timestamp_type(config: &TopicConfig) -> String {
    match config.timestamp_type {
        TimestampType::Create => "CreateTime".into(),
        TimestampType::LogAppend => "LogAppendTime".into(),
    }
}

fn set_delete_retention(config: &mut TopicConfig, value: &str) -> Result<(), ConfigProblem> {
    config.delete_retention_ms = whole(value, 0, i64::MAX)?;
    Ok(())
}

fn set_max_message_bytes(config: &mut TopicConfig, value: &str) -> Result<(), ConfigProblem> {
    let max = i64::try_from(schemas::limits::MESSAGE_BYTES_MAX).unwrap_or(i64::MAX);
    let bytes = whole(value, 1, max)?;
    config.max_message_bytes = usize::try_from(bytes).unwrap_or(schemas::limits::MESSAGE_BYTES_MAX);
    Ok(())
}

fn set_min_insync(config: &mut TopicConfig, value: &str) -> Result<(), ConfigProblem> {
    let replicas = whole(value, 1, i64::from(i32::MAX))?;
    config.min_insync_replicas = i32::try_from(replicas).unwrap_or(i32::MAX);
    Ok(())
}

fn set_retention_bytes(config: &mut TopicConfig, value: &str) -> Result<(), ConfigProblem> {
    config.retention_bytes = bound(value)?;
    Ok(())
}

fn set_retention_ms(config: &mut TopicConfig, value: &str) -> Result<(), ConfigProblem> {
    config.retention_ms = bound(value)?;
    Ok(())
}

fn set_segment_bytes(config: &mut TopicConfig, value: &str) -> Result<(), ConfigProblem> {
    let bytes = whole(value, SEGMENT_BYTES_MIN.into(), SEGMENT_BYTES_MAX.into())?;
    config.segment_bytes = u32::try_from(bytes).unwrap_or(SEGMENT_BYTES_MAX);
    Ok(())
}

fn set_segment_ms(config: &mut TopicConfig, value: &str) -> Result<(), ConfigProblem> {
    config.segment_ms = whole(value, 1, i64::MAX)?;
    Ok(())
}
