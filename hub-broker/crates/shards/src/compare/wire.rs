//! The request by which replicas are compared, kind 5.
//!
//! ```text
//! question  version u8 = 1 | flags u8 (1 decided) | group u32 | from u64 | to u64 | index u64
//!           count u32 | (topic uuid 16 | partition index i32 | end offset i64 | running hash u32) × count
//! answer    version u8 = 1 | verdict u8: 0 same, 1 differs, 2 later, 3 unknown                      all big-endian
//! ```

use bytes::{Buf, BufMut, Bytes};
use consensus::ReplicaId;
use schemas::Offset;

use super::{Mark, PartitionHash, Question, Verdict};
use crate::entry::{read_partition, write_partition};
use crate::limits::{COMPARED_BYTES, COMPARED_PARTITIONS_MAX};

/// The request's kind.
pub(crate) const COMPARE: u8 = 5;

const VERSION: u8 = 1;
const DECIDED: u8 = 1;
const HEADER_BYTES: usize = 1 + 1 + 4 + 3 * 8 + 4;

const SAME: u8 = 0;
const DIFFERS: u8 = 1;
const LATER: u8 = 2;
const UNKNOWN: u8 = 3;

const _: () = assert!(HEADER_BYTES + COMPARED_PARTITIONS_MAX * COMPARED_BYTES < peers::REQUEST_BYTES_MAX);

pub(crate) fn encode(question: &Question) -> Bytes {
    let Question { group, from, to, mark, decided } = question;
    let mut out = Vec::with_capacity(HEADER_BYTES + mark.hashes.len() * COMPARED_BYTES);
    out.put_u8(VERSION);
    out.put_u8(if *decided { DECIDED } else { 0 });
    out.put_u32(*group);
    out.put_u64(from.0);
    out.put_u64(to.0);
    out.put_u64(mark.index);
    out.put_u32(u32::try_from(mark.hashes.len()).expect("a mark is bounded far below 2^32"));
    for PartitionHash { partition, end, hash } in mark.hashes.iter() {
        write_partition(&mut out, *partition);
        out.put_i64(end.0);
        out.put_u32(*hash);
    }
    out.into()
}

/// `None` if the bytes are something else.
pub(crate) fn decode(mut bytes: Bytes) -> Option<Question> {
    bytes.try_get_u8().ok().filter(|version| *version == VERSION)?;
    let flags = bytes.try_get_u8().ok().filter(|flags| flags & !DECIDED == 0)?;
    let group = bytes.try_get_u32().ok()?;
    let from = ReplicaId(bytes.try_get_u64().ok()?);
    let to = ReplicaId(bytes.try_get_u64().ok()?);
    let index = bytes.try_get_u64().ok()?;
    let count = bytes.try_get_u32().ok()? as usize;
    if count > COMPARED_PARTITIONS_MAX || bytes.len() != count * COMPARED_BYTES {
        return None;
    }
    let hashes = (0..count).map(|_| decode_hash(&mut bytes)).collect::<Option<_>>()?;
    Some(Question { group, from, to, mark: Mark { index, hashes }, decided: flags & DECIDED != 0 })
}

fn decode_hash(bytes: &mut Bytes) -> Option<PartitionHash> {
    let partition = read_partition(bytes).ok()?;
    let end = Offset(bytes.try_get_i64().ok()?);
    Some(PartitionHash { partition, end, hash: bytes.try_get_u32().ok()? })
}

pub(crate) fn encode_verdict(verdict: Verdict) -> Bytes {
    let verdict = match verdict {
        Verdict::Same => SAME,
        Verdict::Differs => DIFFERS,
        Verdict::Later => LATER,
        Verdict::Unknown => UNKNOWN,
    };
    Bytes::copy_from_slice(&[VERSION, verdict])
}

/// `None` if the bytes are something else.
pub(crate) fn decode_verdict(bytes: &[u8]) -> Option<Verdict> {
    match bytes {
        [VERSION, SAME] => Some(Verdict::Same),
        [VERSION, DIFFERS] => Some(Verdict::Differs),
        [VERSION, LATER] => Some(Verdict::Later),
        [VERSION, UNKNOWN] => Some(Verdict::Unknown),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use schemas::{PartitionId, PartitionIndex, TopicId};
    use uuid::Uuid;

    use super::*;

    fn question() -> Question {
        let hash = |index, end, hash| PartitionHash {
            partition: PartitionId { topic: TopicId(Uuid::from_u128(0x0102)), index: PartitionIndex(index) },
            end: Offset(end),
            hash,
        };
        Question {
            group: 3,
            from: ReplicaId::new(1, 1),
            to: ReplicaId::new(2, 7),
            mark: Mark { index: 99, hashes: [hash(0, 10, 0xdead_beef), hash(1, 0, 0)].into() },
            decided: true,
        }
    }

    #[test]
    fn version_1_stays_what_it_is() {
        let golden = include_bytes!("../../tests/golden/compare-v1.bin");
        assert_eq!(encode(&question()), &golden[..]);
        assert_eq!(decode(Bytes::from_static(golden)), Some(question()));
        let verdicts = [Verdict::Same, Verdict::Differs, Verdict::Later, Verdict::Unknown];
        for (at, verdict) in (0..).zip(verdicts) {
            assert_eq!(encode_verdict(verdict), &[1, at][..]);
            assert_eq!(decode_verdict(&[1, at]), Some(verdict));
        }
    }

    #[test]
    fn what_is_cut_or_too_long_or_of_another_version_is_no_question() {
        let whole = encode(&question());
        for length in 0..whole.len() {
            assert_eq!(decode(whole.slice(..length)), None, "cut at {length}");
        }
        let mut longer = whole.to_vec();
        longer.push(0);
        assert_eq!(decode(longer.into()), None);
        let mut other = whole.to_vec();
        other[0] = 2;
        assert_eq!(decode(other.into()), None);
        assert_eq!(decode_verdict(&[1, 4]), None);
        assert_eq!(decode_verdict(&[2, 0]), None);
        assert_eq!(decode_verdict(&[1]), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(bytes.into());
        }
    }
}
