//! What a part of a forwarded request failed with, in words that every kind of request has.
//!
//! ```text
//! failure   1 unknown partition   2 not leader | leader u32, 0 unknown   3 sequence | kind u8 | number i64
//!           4 no space   5 overloaded   6 too large | bytes u64 | max u64   7 malformed   8 stopped
//! sequence  1 out of order, expected   2 unknown stream   3 fork, expected   4 producer fenced
//!           5 producer expired, log start   6 wrong producer id   7 empty range       number 0 where none is named
//! ```
//!
//! A leader that stops is no leader any more for those who asked it from elsewhere.

use bytes::{Buf, BufMut, Bytes};
use partition_log::SequenceError;
use schemas::{NodeId, Offset, Sequence};

use super::wire::Unknown;
use crate::{AppendError, CommandError, ProposeError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    UnknownPartition,
    NotLeader { leader: Option<NodeId> },
    Sequence(SequenceError),
    NoSpace,
    Overloaded,
    TooLarge { bytes: u64, max: u64 },
    Malformed,
    Stopped,
}

impl Failure {
    /// The rest of a failure whose kind was taken off the front.
    pub(super) fn read(kind: u8, body: &mut Bytes) -> Result<Self, Unknown> {
        Ok(match kind {
            1 => Self::UnknownPartition,
            2 => {
                let leader = body.try_get_u32()?;
                Self::NotLeader { leader: (leader != 0).then_some(NodeId(leader)) }
            }
            3 => Self::Sequence(read_sequence(body)?),
            4 => Self::NoSpace,
            5 => Self::Overloaded,
            6 => Self::TooLarge { bytes: body.try_get_u64()?, max: body.try_get_u64()? },
            7 => Self::Malformed,
            8 => Self::Stopped,
            _ => return Err(Unknown),
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::UnknownPartition => out.put_u8(1),
            Self::NotLeader { leader } => {
                out.put_u8(2);
                out.put_u32(leader.map_or(0, |node| node.0));
            }
            Self::Sequence(error) => {
                out.put_u8(3);
                write_sequence(out, *error);
            }
            Self::NoSpace => out.put_u8(4),
            Self::Overloaded => out.put_u8(5),
            Self::TooLarge { bytes, max } => {
                out.put_u8(6);
                out.put_u64(*bytes);
                out.put_u64(*max);
            }
            Self::Malformed => out.put_u8(7),
            Self::Stopped => out.put_u8(8),
        }
    }
}

fn write_sequence(out: &mut Vec<u8>, error: SequenceError) {
    let (kind, number) = match error {
        SequenceError::OutOfOrder { expected } => (1, i64::from(expected.0)),
        SequenceError::UnknownStream => (2, 0),
        SequenceError::Fork { expected } => (3, i64::from(expected.0)),
        SequenceError::ProducerFenced => (4, 0),
        SequenceError::ProducerExpired { log_start } => (5, log_start.0),
        SequenceError::WrongProducerId => (6, 0),
        SequenceError::EmptyRange => (7, 0),
    };
    out.put_u8(kind);
    out.put_i64(number);
}

fn read_sequence(body: &mut Bytes) -> Result<SequenceError, Unknown> {
    let (kind, number) = (body.try_get_u8()?, body.try_get_i64()?);
    let expected = || i32::try_from(number).map(Sequence).map_err(|_| Unknown);
    Ok(match kind {
        1 => SequenceError::OutOfOrder { expected: expected()? },
        2 => SequenceError::UnknownStream,
        3 => SequenceError::Fork { expected: expected()? },
        4 => SequenceError::ProducerFenced,
        5 => SequenceError::ProducerExpired { log_start: Offset(number) },
        6 => SequenceError::WrongProducerId,
        7 => SequenceError::EmptyRange,
        _ => return Err(Unknown),
    })
}

const GONE: Failure = Failure::NotLeader { leader: None };

impl From<&AppendError> for Failure {
    fn from(error: &AppendError) -> Self {
        match error {
            AppendError::UnknownPartition => Self::UnknownPartition,
            AppendError::NotLeader { leader } => Self::NotLeader { leader: *leader },
            AppendError::Sequence(error) => Self::Sequence(*error),
            AppendError::NoSpace => Self::NoSpace,
            AppendError::Overloaded => Self::Overloaded,
            AppendError::Stopping => GONE,
            AppendError::TooLarge { bytes, max } => Self::TooLarge { bytes: *bytes as u64, max: *max as u64 },
            AppendError::Malformed => Self::Malformed,
            AppendError::Stopped => Self::Stopped,
        }
    }
}

impl From<&CommandError> for Failure {
    fn from(error: &CommandError) -> Self {
        match error {
            // Compaction is each replica's own and is never asked of another hub.
            CommandError::UnknownPartition | CommandError::NotCompacted => Self::UnknownPartition,
            CommandError::NotLeader { leader } => Self::NotLeader { leader: *leader },
            CommandError::NoSpace => Self::NoSpace,
            CommandError::Overloaded => Self::Overloaded,
            CommandError::Stopping => GONE,
            CommandError::Stopped => Self::Stopped,
        }
    }
}

impl From<&ProposeError> for Failure {
    fn from(error: &ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { leader } => Self::NotLeader { leader: *leader },
            ProposeError::NoSpace => Self::NoSpace,
            ProposeError::Overloaded => Self::Overloaded,
            ProposeError::Stopping => GONE,
            ProposeError::TooLarge { bytes, max } => {
                Self::TooLarge { bytes: *bytes as u64, max: *max as u64 }
            }
            ProposeError::Stopped => Self::Stopped,
        }
    }
}

impl From<Failure> for AppendError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::UnknownPartition => Self::UnknownPartition,
            Failure::NotLeader { leader } => Self::NotLeader { leader },
            Failure::Sequence(error) => Self::Sequence(error),
            Failure::NoSpace => Self::NoSpace,
            Failure::Overloaded => Self::Overloaded,
            Failure::TooLarge { bytes, max } => {
                Self::TooLarge { bytes: saturating(bytes), max: saturating(max) }
            }
            Failure::Malformed => Self::Malformed,
            Failure::Stopped => Self::Stopped,
        }
    }
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotLeader { leader } => Self::NotLeader { leader },
            Failure::NoSpace => Self::NoSpace,
            Failure::Overloaded => Self::Overloaded,
            Failure::Stopped => Self::Stopped,
            Failure::UnknownPartition
            | Failure::Sequence(_)
            | Failure::TooLarge { .. }
            | Failure::Malformed => Self::UnknownPartition,
        }
    }
}

impl From<Failure> for ProposeError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotLeader { leader } => Self::NotLeader { leader },
            Failure::NoSpace => Self::NoSpace,
            Failure::Overloaded => Self::Overloaded,
            Failure::TooLarge { bytes, max } => {
                Self::TooLarge { bytes: saturating(bytes), max: saturating(max) }
            }
            Failure::UnknownPartition | Failure::Sequence(_) | Failure::Malformed | Failure::Stopped => {
                Self::Stopped
            }
        }
    }
}

fn saturating(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
