//! The request for the batches of a partition from an offset on, kind 6.
//!
//! ```text
//! range   version u8 = 1 | topic uuid 16 | partition index i32 | offset i64 | bytes u32      all big-endian
//! answer  whole batches as they are stored, from the one that holds the offset on: at least one, else as many as fit
//!         into so many bytes; none where compaction has left nothing from there on
//! ```
//!
//! Refused without a reason where the hub does not reach so far, has let it go, or has found it damaged.

use bytes::{Buf, BufMut, Bytes};
use schemas::{Offset, PartitionId};

use crate::entry::{read_partition, write_partition};

/// The request's kind.
pub(crate) const RANGE: u8 = 6;

const VERSION: u8 = 1;
const RANGE_BYTES: usize = 1 + 16 + 4 + 8 + 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub partition: PartitionId,
    pub from: Offset,
    pub bytes: u32,
}

impl Range {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(RANGE_BYTES);
        out.put_u8(VERSION);
        write_partition(&mut out, self.partition);
        out.put_i64(self.from.0);
        out.put_u32(self.bytes);
        out.into()
    }

    /// `None` if the bytes are something else.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        bytes.try_get_u8().ok().filter(|version| *version == VERSION)?;
        let partition = read_partition(&mut bytes).ok()?;
        let from = Offset(bytes.try_get_i64().ok()?);
        let length = bytes.try_get_u32().ok()?;
        bytes.is_empty().then_some(Self { partition, from, bytes: length })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::{PartitionIndex, TopicId};
    use uuid::Uuid;

    use super::*;

    fn range() -> Range {
        let partition = PartitionId { topic: TopicId(Uuid::from_u128(0x0102)), index: PartitionIndex(3) };
        Range { partition, from: Offset(0x0405), bytes: 0x0607 }
    }

    #[test]
    fn version_1_stays_what_it_is() {
        let golden = include_bytes!("../../tests/golden/range-v1.bin");
        assert_eq!(range().encode(), &golden[..]);
        assert_eq!(Range::decode(Bytes::from_static(golden)), Some(range()));
    }

    #[test]
    fn what_is_cut_or_too_long_or_of_another_version_is_no_range() {
        let whole = range().encode();
        for length in 0..whole.len() {
            assert_eq!(Range::decode(whole.slice(..length)), None, "cut at {length}");
        }
        let mut longer = whole.to_vec();
        longer.push(0);
        assert_eq!(Range::decode(longer.into()), None);
        let mut other = whole.to_vec();
        other[0] = 2;
        assert_eq!(Range::decode(other.into()), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Range::decode(bytes.into());
        }
    }
}
