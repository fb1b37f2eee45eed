//! Streams: an agent's producer ids, and the serial arithmetic of their sequences.
//!
//! A stream id is random in [2⁶², 2⁶³), so that no hub's producer id can ever equal it and no handshake is
//! needed to get one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::ProducerId;
use crate::limits::STREAM_ID_MIN;

/// Whether this producer id names an agent's stream.
pub fn is_stream_id(id: ProducerId) -> bool {
    id.0 >= STREAM_ID_MIN
}

/// A stream id from 64 random bits, of which 62 are used.
pub fn stream_id(random: u64) -> ProducerId {
    let low = i64::try_from(random & (STREAM_ID_MIN as u64 - 1)).expect("62 bits fit an i64");
    ProducerId(STREAM_ID_MIN | low)
}

const MODULUS: u32 = 1 << 31;
const MASK: u32 = MODULUS - 1;

/// A record's number within its stream: 0 ≤ n < 2³¹, going on at 0 after 2³¹ − 1 as Kafka's does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub i32);

impl Sequence {
    pub const ZERO: Sequence = Sequence(0);

    /// The sequence `records` further.
    pub fn plus(self, records: u32) -> Sequence {
        Sequence(to_i32((self.0 as u32).wrapping_add(records) & MASK))
    }

    /// How far `self` is beyond `earlier`, in [−2³⁰, 2³⁰): negative where it is before it.
    pub fn distance(self, earlier: Sequence) -> i32 {
        let forward = (self.0 as u32).wrapping_sub(earlier.0 as u32) & MASK;
        if forward < MODULUS / 2 { to_i32(forward) } else { -to_i32(MODULUS - forward) }
    }

    /// Serial order: whether `self` comes before `other`.
    pub fn is_before(self, other: Sequence) -> bool {
        self.distance(other) < 0
    }
}

fn to_i32(masked: u32) -> i32 {
    i32::try_from(masked).expect("31 bits fit an i32")
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stream_ids_and_producer_ids_never_meet() {
        for random in [0, 1, u64::MAX, 1 << 62, 1 << 63, 0x1234_5678_9abc_def0] {
            assert!(is_stream_id(stream_id(random)));
        }
        assert!(!is_stream_id(ProducerId(STREAM_ID_MIN - 1)));
        assert!(!is_stream_id(ProducerId::NONE));
        assert!(!is_stream_id(ProducerId(i64::MIN)));
        assert_ne!(stream_id(1), stream_id(2));
    }

    #[test]
    fn sequences_go_on_at_zero_after_the_last() {
        let last = Sequence(i32::MAX);
        assert_eq!(last.plus(1), Sequence(0));
        assert_eq!(Sequence(0).distance(last), 1);
        assert_eq!(last.distance(Sequence(0)), -1);
        assert!(last.is_before(Sequence(3)));
        assert!(!Sequence(3).is_before(Sequence(3)));
    }

    proptest! {
        #[test]
        fn a_step_forward_is_measured_as_itself(start in 0..=i32::MAX, step in 0u32..1 << 30) {
            let there = Sequence(start).plus(step);
            prop_assert!(there.0 >= 0);
            prop_assert_eq!(there.distance(Sequence(start)), step as i32);
            prop_assert_eq!(Sequence(start).distance(there), -(step as i32));
        }
    }
}
