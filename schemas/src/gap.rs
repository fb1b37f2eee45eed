//! What a gap says: how many records are missing, of which times, and why.
//!
//! The value of a gap record is a CBOR map with integer labels; the record's header `gap` repeats the version.
//!
//! ```text
//! 0 version  1
//! 1 count    unsigned, or null where unknown
//! 2 from     ms since 1970, left out where unknown
//! 3 to       ms since 1970, left out where unknown
//! 4 reason   text
//! ```

use crate::cbor::{self, Fields, Item, Label, MapIn, MapOut};
use crate::limits::GAP_VALUE_BYTES_MAX;

const VERSION: i128 = 1;
pub(crate) const VERSION_TEXT: &[u8] = b"1";

/// The map and a little more, for members that a later release may add.
const DEPTH_MAX: usize = 4;

/// How many records are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCount {
    Known(u32),
    Unknown,
}

/// Why they are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// The buffer was full and its policy drops.
    Dropped,
    /// Older than the agent was told to keep.
    TooOld,
    /// The buffer's bytes were damaged.
    Damaged,
    /// The hub refused them for what they contain.
    Quarantined,
    /// A reason that this release has no name for.
    Other,
}

impl GapReason {
    const NAMED: [GapReason; 4] = [Self::Dropped, Self::TooOld, Self::Damaged, Self::Quarantined];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::TooOld => "too-old",
            Self::Damaged => "damaged",
            Self::Quarantined => "quarantined",
            Self::Other => "other",
        }
    }

    fn named(text: &str) -> GapReason {
        Self::NAMED.into_iter().find(|reason| reason.as_str() == text).unwrap_or(Self::Other)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub count: GapCount,
    /// The earliest and the latest measurement that are missing, where known.
    pub from_ms: Option<i64>,
    pub to_ms: Option<i64>,
    pub reason: GapReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GapError {
    #[error("the gap's value is malformed")]
    Malformed,
    #[error("the gap is of version {0}, which this release does not know")]
    Version(i128),
}

pub(crate) fn encode_value(gap: &Gap) -> Vec<u8> {
    let count = match gap.count {
        GapCount::Known(count) => Item::Int(count.into()),
        GapCount::Unknown => Item::Null,
    };
    cbor::to_vec(&MapOut([
        Some((0, Item::Int(VERSION))),
        Some((1, count)),
        gap.from_ms.map(|ms| (2, Item::Int(ms.into()))),
        gap.to_ms.map(|ms| (3, Item::Int(ms.into()))),
        Some((4, Item::Text(gap.reason.as_str().into()))),
    ]))
}

pub(crate) fn decode_value(value: &[u8]) -> Result<Gap, GapError> {
    if value.len() > GAP_VALUE_BYTES_MAX {
        return Err(GapError::Malformed);
    }
    let MapIn(Members { version, count, from_ms, to_ms, reason, wrong }) =
        cbor::from_slice(value, DEPTH_MAX).map_err(|_| GapError::Malformed)?;
    match version {
        Some(VERSION) => {}
        Some(other) => return Err(GapError::Version(other)),
        None => return Err(GapError::Malformed),
    }
    match (count, reason, wrong) {
        (Some(count), Some(reason), false) => Ok(Gap { count, from_ms, to_ms, reason }),
        _ => Err(GapError::Malformed),
    }
}

#[derive(Default)]
struct Members {
    version: Option<i128>,
    count: Option<GapCount>,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
    reason: Option<GapReason>,
    wrong: bool,
}

impl Fields for Members {
    fn field(&mut self, label: Label, item: Item<'static>) {
        let first_and_right = match (label, item) {
            (Label::Int(0), Item::Int(version)) => self.version.replace(version).is_none(),
            (Label::Int(1), Item::Null) => self.count.replace(GapCount::Unknown).is_none(),
            (Label::Int(1), Item::Int(count)) => {
                u32::try_from(count).is_ok_and(|count| self.count.replace(GapCount::Known(count)).is_none())
            }
            (Label::Int(2), Item::Int(ms)) => {
                i64::try_from(ms).is_ok_and(|ms| self.from_ms.replace(ms).is_none())
            }
            (Label::Int(3), Item::Int(ms)) => {
                i64::try_from(ms).is_ok_and(|ms| self.to_ms.replace(ms).is_none())
            }
            (Label::Int(4), Item::Text(reason)) => self.reason.replace(GapReason::named(&reason)).is_none(),
            (Label::Int(0..=4), _) => false,
            _ => true,
        };
        self.wrong |= !first_and_right;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Gap {
        Gap {
            count: GapCount::Known(70_000),
            from_ms: Some(1_700_000_000_000),
            to_ms: Some(-5),
            reason: GapReason::TooOld,
        }
    }

    #[test]
    fn a_gap_survives_its_value() {
        let unknown =
            Gap { count: GapCount::Unknown, from_ms: None, to_ms: None, reason: GapReason::Damaged };
        for gap in [example(), unknown] {
            let value = encode_value(&gap);
            assert!(value.len() <= 64, "{}", value.len());
            assert_eq!(decode_value(&value), Ok(gap));
        }
    }

    #[test]
    fn a_cut_gap_is_malformed() {
        let value = encode_value(&example());
        for cut in 0..value.len() {
            assert_eq!(decode_value(&value[..cut]), Err(GapError::Malformed), "{cut}");
        }
    }

    #[test]
    fn a_later_release_may_add_members_and_reasons_but_not_change_the_version() {
        // {0: 1, 1: 7, 4: "stolen", 9: [[]], "x": 1}
        let later = b"\xa5\x00\x01\x01\x07\x04\x66stolen\x09\x81\x80\x61x\x01";
        let gap = Gap { count: GapCount::Known(7), from_ms: None, to_ms: None, reason: GapReason::Other };
        assert_eq!(decode_value(later), Ok(gap));
        assert_eq!(decode_value(b"\xa3\x00\x02\x01\x07\x04\x61x"), Err(GapError::Version(2)));
    }

    #[test]
    fn members_of_the_wrong_type_missing_or_twice_are_malformed() {
        let cases: [&[u8]; 6] = [
            b"\xa2\x00\x01\x04\x61x",
            b"\xa2\x00\x01\x01\x07",
            b"\xa2\x01\x07\x04\x61x",
            b"\xa3\x00\x01\x01\x61x\x04\x61x",
            b"\xa4\x00\x01\x01\x07\x01\x07\x04\x61x",
            b"\xa3\x00\x01\x01\x20\x04\x61x",
        ];
        for case in cases {
            assert_eq!(decode_value(case), Err(GapError::Malformed), "{case:02x?}");
        }
    }
}
