//! A read of another hub's partition: request 48 between hubs. All numbers are big-endian.
//!
//! ```text
//! request  version u8 = 1 | topic 16 | index i32 | from i64 (−1: only say where the end is) | bytes max u32
//!          | wait u32 (ms, for something to read)
//! answer   version u8 = 1 | log start i64 | next i64 | whole batches
//! refusal  version u8 = 1 | reason u8: 1 not here, 2 busy, 3 cannot be read, 4 not understood, 5 damaged for good,
//!          6 not here, but set aside | past i64 (with 5 only: the offset from which it can be read again)
//! ```
//!
//! `next` is the offset to go on from; below `from`, this hub's replica has not come so far.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use schemas::{Offset, PartitionId, PartitionIndex, TopicId};
use thiserror::Error;
use uuid::Uuid;

/// The number by which hubs know such requests.
pub(crate) const KIND: u8 = 48;

const VERSION: u8 = 1;
const ASK_BYTES: usize = 1 + 16 + 4 + 8 + 4 + 4;
const ANSWER_HEADER_BYTES: usize = 1 + 8 + 8;
const END: i64 = -1;
const REFUSAL_BYTES: usize = 1 + 1;
const DAMAGED: u8 = 5;
const DAMAGED_BYTES: usize = REFUSAL_BYTES + 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ask {
    pub partition: PartitionId,
    /// `None`: only say where the end is.
    pub from: Option<Offset>,
    pub bytes_max: u32,
    pub wait_ms: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub log_start: Offset,
    pub next: Offset,
    /// Whole batches.
    pub records: Bytes,
}

/// Why a hub that was asked does not answer. Another may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error("the partition is not there")]
    NotHere,
    /// Or it cannot be told whether it is.
    #[error("the partition is not there, but what a replica had of it may be set aside")]
    SetAside,
    #[error("the hub reads as much for others as it may")]
    Busy,
    #[error("the partition cannot be read there")]
    Unreadable,
    #[error("the request is not understood there")]
    NotUnderstood,
    /// It will not be whole there again. It can be read from `past` on.
    #[error("the partition is damaged there, up to offset {past}")]
    Damaged { past: Offset },
}

/// Not what a hub of this release sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum DecodeError {
    #[error("version {0}")]
    Version(u8),
    #[error("{0} bytes")]
    Length(usize),
    #[error("a field has a value that none has")]
    Value,
}

impl Ask {
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(ASK_BYTES);
        bytes.put_u8(VERSION);
        bytes.put_slice(self.partition.topic.0.as_bytes());
        bytes.put_i32(self.partition.index.0);
        bytes.put_i64(self.from.map_or(END, |from| from.0));
        bytes.put_u32(self.bytes_max);
        bytes.put_u32(self.wait_ms);
        bytes.freeze()
    }

    pub fn decode(mut bytes: Bytes) -> Result<Self, DecodeError> {
        check(&bytes, |length| length == ASK_BYTES)?;
        bytes.advance(1);
        let mut topic = [0; 16];
        bytes.copy_to_slice(&mut topic);
        let partition =
            PartitionId { topic: TopicId(Uuid::from_bytes(topic)), index: PartitionIndex(bytes.get_i32()) };
        let from = match bytes.get_i64() {
            END => None,
            from if from >= 0 => Some(Offset(from)),
            _ => return Err(DecodeError::Value),
        };
        Ok(Self { partition, from, bytes_max: bytes.get_u32(), wait_ms: bytes.get_u32() })
    }
}

impl Answer {
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(ANSWER_HEADER_BYTES + self.records.len());
        bytes.put_u8(VERSION);
        bytes.put_i64(self.log_start.0);
        bytes.put_i64(self.next.0);
        bytes.put_slice(&self.records);
        bytes.freeze()
    }

    pub fn decode(mut bytes: Bytes) -> Result<Self, DecodeError> {
        check(&bytes, |length| length >= ANSWER_HEADER_BYTES)?;
        bytes.advance(1);
        let (log_start, next) = (Offset(bytes.get_i64()), Offset(bytes.get_i64()));
        Ok(Self { log_start, next, records: bytes })
    }
}

impl Refusal {
    pub fn encode(self) -> Bytes {
        let reason = match self {
            Self::NotHere => 1,
            Self::Busy => 2,
            Self::Unreadable => 3,
            Self::NotUnderstood => 4,
            Self::SetAside => 6,
            Self::Damaged { .. } => DAMAGED,
        };
        let mut bytes = BytesMut::with_capacity(DAMAGED_BYTES);
        bytes.put_slice(&[VERSION, reason]);
        if let Self::Damaged { past } = self {
            bytes.put_i64(past.0);
        }
        bytes.freeze()
    }

    pub fn decode(mut bytes: Bytes) -> Result<Self, DecodeError> {
        let is_damaged = bytes.get(1) == Some(&DAMAGED);
        check(&bytes, |length| length == if is_damaged { DAMAGED_BYTES } else { REFUSAL_BYTES })?;
        bytes.advance(1);
        match bytes.get_u8() {
            1 => Ok(Self::NotHere),
            2 => Ok(Self::Busy),
            3 => Ok(Self::Unreadable),
            4 => Ok(Self::NotUnderstood),
            6 => Ok(Self::SetAside),
            DAMAGED => Ok(Self::Damaged { past: Offset(bytes.get_i64()) }),
            _ => Err(DecodeError::Value),
        }
    }
}

fn check(bytes: &Bytes, is_length: impl Fn(usize) -> bool) -> Result<(), DecodeError> {
    match bytes.first() {
        Some(&VERSION) if is_length(bytes.len()) => Ok(()),
        Some(&VERSION) | None => Err(DecodeError::Length(bytes.len())),
        Some(&other) => Err(DecodeError::Version(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASK: &[u8] = b"\x01\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\
        \x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x01\x02\x00\x04\x00\x00\x00\x00\x03\xe8";
    const ANSWER: &[u8] = b"\x01\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x01\x03batches";

    fn ask() -> Ask {
        let topic = TopicId(Uuid::from_u128(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f));
        let partition = PartitionId { topic, index: PartitionIndex(7) };
        Ask { partition, from: Some(Offset(258)), bytes_max: 256 << 10, wait_ms: 1_000 }
    }

    fn answer() -> Answer {
        Answer { log_start: Offset(5), next: Offset(259), records: Bytes::from_static(b"batches") }
    }

    #[test]
    fn the_bytes_are_those_of_the_first_version() {
        assert_eq!(&ask().encode()[..], ASK);
        assert_eq!(&answer().encode()[..], ANSWER);
        assert_eq!(&Refusal::Unreadable.encode()[..], b"\x01\x03");
        assert_eq!(&Refusal::SetAside.encode()[..], b"\x01\x06");
        let damaged = Refusal::Damaged { past: Offset(258) };
        assert_eq!(&damaged.encode()[..], b"\x01\x05\0\0\0\0\0\0\x01\x02");
    }

    #[test]
    fn what_was_written_is_read() {
        let end = Ask { from: None, ..ask() };
        for ask in [ask(), end] {
            assert_eq!(Ask::decode(ask.encode()), Ok(ask));
        }
        assert_eq!(Answer::decode(answer().encode()), Ok(answer()));
        let damaged = Refusal::Damaged { past: Offset(258) };
        let others = [Refusal::NotHere, Refusal::Busy, Refusal::Unreadable, Refusal::NotUnderstood];
        for refusal in others.into_iter().chain([Refusal::SetAside, damaged]) {
            assert_eq!(Refusal::decode(refusal.encode()), Ok(refusal));
        }
    }

    #[test]
    fn what_is_cut_or_of_another_version_is_refused() {
        for length in 0..ASK.len() {
            assert_eq!(Ask::decode(ASK.slice_of(length)), Err(DecodeError::Length(length)));
        }
        for length in 0..ANSWER_HEADER_BYTES {
            assert_eq!(Answer::decode(ANSWER.slice_of(length)), Err(DecodeError::Length(length)));
        }
        let mut other = ASK.to_vec();
        other[0] = 2;
        assert_eq!(Ask::decode(other.into()), Err(DecodeError::Version(2)));
        let mut negative = ASK.to_vec();
        negative[21] = 0x80;
        assert_eq!(Ask::decode(negative.into()), Err(DecodeError::Value));
        for (bytes, error) in [
            (b"\x01\x09".as_slice(), DecodeError::Value),
            (b"\x01\x05", DecodeError::Length(2)),
            (b"\x01\x03\0\0\0\0\0\0\x01\x02", DecodeError::Length(10)),
            (b"\x01", DecodeError::Length(1)),
        ] {
            assert_eq!(Refusal::decode(Bytes::from_static(bytes)), Err(error));
        }
    }

    trait SliceOf {
        fn slice_of(&self, length: usize) -> Bytes;
    }

    impl SliceOf for [u8] {
        fn slice_of(&self, length: usize) -> Bytes {
            Bytes::copy_from_slice(&self[..length])
        }
    }
}
