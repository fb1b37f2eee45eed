//! Whether a batch is the next one of its sender. Two rules, both pure: Kafka's for producers and hubs, the
//! streams' rule for agents.

mod producers;
mod streams;

use schemas::{Offset, Sequence};

pub use producers::{Producer, ProducerBatch, Producers};
pub use streams::{DeviceStreams, Sent, Stream, StreamBatch, Streams};

/// The sequence numbers of one batch: its first, and how many it uses up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub base: Sequence,
    pub count: u32,
}

impl Range {
    /// `None` where the batch uses up no sequence at all, which no validated batch does.
    pub fn of(header: &schemas::BatchHeader) -> Option<Self> {
        let count = u32::try_from(header.offset_span()).ok().filter(|count| *count > 0)?;
        Some(Self { base: Sequence(header.base_sequence), count })
    }

    /// The sequence that follows.
    pub fn next(self) -> Sequence {
        self.base.plus(self.count)
    }

    /// Whether every sequence of this range comes before `next`, by serial arithmetic.
    pub fn is_below(self, next: Sequence) -> bool {
        i64::from(next.distance(self.base)) >= i64::from(self.count)
    }
}

/// What is to be done with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceVerdict {
    Append,
    /// It is stored already. `None` where it is too long ago to remember at which offset.
    Duplicate {
        base_offset: Option<Offset>,
    },
    Refuse(SequenceError),
}

/// Why a batch is not the next one of its sender. None of them is cured by sending the same batch again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    #[error("sequence {expected} was expected")]
    OutOfOrder { expected: Sequence },
    /// The stream is not known here and the batch is not its first: sequence 0 is expected.
    #[error("the stream is not known and does not begin here")]
    UnknownStream,
    /// Another batch was stored under this sequence: two devices use one stream.
    #[error("another batch is stored under this sequence; {expected} is next")]
    Fork { expected: Sequence },
    /// A newer epoch of this producer has written.
    #[error("a newer epoch of the producer has written")]
    ProducerFenced,
    /// A producer that is not known and does not begin at 0, but may have been known once.
    #[error("the producer has not written for too long and is not known any more")]
    ProducerExpired { log_start: Offset },
    /// An agent's batch without a stream id, or another sender's with one.
    #[error("the producer id is not one for this kind of sender")]
    WrongProducerId,
    /// The batch's last offset delta is negative.
    #[error("the batch uses up no offsets")]
    EmptyRange,
}

#[cfg(test)]
mod tests;
