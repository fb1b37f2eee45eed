//! Records of which only the newest under each key counts: what one holds follows from who sent it, and its sequence.

use crate::plan::KEYS;

/// One in so many is a tombstone.
const TOMBSTONES: u64 = 4;
const VALUE_BYTES_MAX: u64 = 120;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    pub key: String,
    /// `None` deletes what was there.
    pub value: Option<String>,
}

pub fn record(producer: i64, sequence: i32) -> Keyed {
    let mixed = mix(producer.unsigned_abs() << 32 | u64::from(sequence.unsigned_abs()));
    let value = || {
        format!("{producer} {sequence} {}", "v".repeat((mixed >> 32 & 0x7f).min(VALUE_BYTES_MAX) as usize))
    };
    Keyed {
        key: format!("key-{}", mixed % KEYS),
        value: (!(mixed / KEYS).is_multiple_of(TOMBSTONES)).then(value),
    }
}

/// A splitmix.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
