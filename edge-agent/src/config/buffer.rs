//! What the buffer keeps, how durably, and what of the flash it may wear.

use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::buffer::{Caps, Durability, Policy, Retention};
use crate::limits::BUFFER_BYTES_MIN;

/// `[buffer]` as it stands in the file.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct BufferSettings {
    /// What happens to a batch for which there is no room.
    pub policy: Policy,
    /// A batch that was taken longer ago is given up, in seconds; none is where it is absent.
    pub age_max_s: Option<u64>,
    pub durability: Durability,
    /// What may be written to the flash, in bytes a day: beyond it batches are filled for longer than `linger_ms`.
    pub flash_bytes_per_day_max: Option<u64>,
    /// Whether a new buffer takes all of the disk that it may ever need at once.
    pub preallocate: bool,
    /// What the records of one priority may take of `buffer_bytes`, in bytes.
    pub caps: Caps,
}

impl Default for BufferSettings {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            age_max_s: None,
            durability: Durability::default(),
            flash_bytes_per_day_max: None,
            preallocate: true,
            caps: Caps::default(),
        }
    }
}

/// The same, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferConfig {
    pub policy: Policy,
    pub age_max: Option<Duration>,
    pub durability: Durability,
    pub flash_bytes_per_day_max: Option<u64>,
    pub is_preallocated: bool,
    pub caps: Caps,
}

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BufferSettingsError {
    #[error("buffer.age_max_s: nothing would be kept, it must be at least 1")]
    Age,
    #[error(
        "buffer.flash_bytes_per_day_max: {0} is less than {FLASH_BYTES_PER_DAY_MIN}, with which nothing can be kept"
    )]
    Flash(u64),
    #[error("buffer.caps.{0}: a priority needs at least {CAP_BYTES_MIN} bytes")]
    Cap(&'static str),
}

/// A commit an hour, and as much again for what comes with it.
const FLASH_BYTES_PER_DAY_MIN: u64 = 1 << 20;
/// As for the whole buffer: its largest batch, and the gaps beside it.
const CAP_BYTES_MIN: u64 = BUFFER_BYTES_MIN;

impl BufferSettings {
    pub fn validate(self) -> Result<BufferConfig, BufferSettingsError> {
        if self.age_max_s == Some(0) {
            return Err(BufferSettingsError::Age);
        }
        if let Some(bytes) = self.flash_bytes_per_day_max.filter(|bytes| *bytes < FLASH_BYTES_PER_DAY_MIN) {
            return Err(BufferSettingsError::Flash(bytes));
        }
        let caps = [("alarm", self.caps.alarm), ("telemetry", self.caps.telemetry), ("bulk", self.caps.bulk)];
        let small = caps.into_iter().find(|(_, cap)| cap.is_some_and(|cap| cap < CAP_BYTES_MIN));
        if let Some((name, _)) = small {
            return Err(BufferSettingsError::Cap(name));
        }
        Ok(BufferConfig {
            policy: self.policy,
            age_max: self.age_max_s.map(Duration::from_secs),
            durability: self.durability,
            flash_bytes_per_day_max: self.flash_bytes_per_day_max,
            is_preallocated: self.preallocate,
            caps: self.caps,
        })
    }
}

impl BufferConfig {
    /// What of it an open buffer cannot change.
    pub fn is_opened_like(&self, other: &Self) -> bool {
        (self.durability, self.is_preallocated) == (other.durability, other.is_preallocated)
    }

    pub fn retention(&self, cap_bytes: u64) -> Retention {
        Retention { cap_bytes, caps: self.caps, policy: self.policy, age_max: self.age_max }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(settings: serde_json::Value) -> Result<BufferConfig, String> {
        let settings: BufferSettings = serde_json::from_value(settings).map_err(|error| error.to_string())?;
        settings.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_is_strict_and_keeps_the_newest() {
        let config = checked(json!({})).unwrap();
        assert_eq!((config.policy, config.durability), (Policy::DropOldest, Durability::Strict));
        assert!(config.is_preallocated && config.age_max.is_none());
    }

    #[test]
    fn everything_can_be_said() {
        let settings = json!({
            "policy": "drop-newest",
            "age_max_s": 3600,
            "durability": "relaxed",
            "flash_bytes_per_day_max": 50_000_000,
            "preallocate": false,
            "caps": { "bulk": 100_000_000 },
        });
        let config = checked(settings).unwrap();
        assert_eq!((config.policy, config.durability), (Policy::DropNewest, Durability::Relaxed));
        assert_eq!(config.retention(1 << 30).age_max, Some(Duration::from_secs(3600)));
        assert_eq!((config.caps.bulk, config.caps.alarm), (Some(100_000_000), None));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for wrong in [
            json!({ "age_max_s": 0 }),
            json!({ "flash_bytes_per_day_max": 1000 }),
            json!({ "caps": { "alarm": 1 } }),
            json!({ "policy": "keep" }),
            json!({ "durability": "off" }),
            json!({ "cap": 1 }),
        ] {
            assert!(checked(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
