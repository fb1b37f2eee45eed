//! Kafka's rule (KIP-98, `ProducerAppendInfo` and `ProducerStateEntry`): the last five batches of a producer
//! are known by their exact ranges, the next must follow without a hole, an older epoch is fenced off.

use std::collections::{HashMap, VecDeque};

use schemas::{Offset, ProducerEpoch, ProducerId, Sequence};

use super::{Range, SequenceError, SequenceVerdict};
use crate::limits::PRODUCER_BATCHES;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    pub base: Sequence,
    pub count: u32,
    pub base_offset: Offset,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    pub epoch: ProducerEpoch,
    /// The stamp of its last append, from which expiry counts.
    pub last_stamp_ms: i64,
    /// Never empty; the newest at the back.
    pub batches: VecDeque<ProducerBatch>,
}

impl Producer {
    fn next(&self) -> Option<Sequence> {
        self.batches.back().map(|batch| batch.base.plus(batch.count))
    }

    fn remembered(&self, range: Range) -> Option<&ProducerBatch> {
        self.batches.iter().find(|batch| batch.base == range.base && batch.count == range.count)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Producers {
    by_id: HashMap<ProducerId, Producer>,
}

impl Producers {
    pub fn insert(&mut self, id: ProducerId, producer: Producer) {
        self.by_id.insert(id, producer);
    }

    /// In the order of their ids, so that equal states have equal bytes.
    pub fn sorted(&self) -> Vec<(ProducerId, &Producer)> {
        let mut all: Vec<_> = self.by_id.iter().map(|(id, producer)| (*id, producer)).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    /// A producer that is not known may begin anywhere, as in Kafka: its state may have expired.
    pub fn check(&self, id: ProducerId, epoch: ProducerEpoch, range: Range) -> SequenceVerdict {
        let Some(producer) = self.by_id.get(&id) else {
            return SequenceVerdict::Append;
        };
        if epoch < producer.epoch {
            return SequenceVerdict::Refuse(SequenceError::ProducerFenced);
        }
        if epoch > producer.epoch {
            return expect_next(range, Sequence(0));
        }
        if let Some(known) = producer.remembered(range) {
            return SequenceVerdict::Duplicate { base_offset: Some(known.base_offset) };
        }
        let next = producer.next().unwrap_or(range.base);
        if range.is_below(next) {
            return SequenceVerdict::Refuse(SequenceError::DuplicateButForgotten);
        }
        expect_next(range, next)
    }

    pub fn appended(
        &mut self,
        id: ProducerId,
        epoch: ProducerEpoch,
        range: Range,
        base_offset: Offset,
        stamp_ms: i64,
    ) {
        let producer = self.by_id.entry(id).or_insert_with(|| Producer {
            epoch,
            last_stamp_ms: stamp_ms,
            batches: VecDeque::with_capacity(PRODUCER_BATCHES),
        });
        if producer.epoch != epoch {
            producer.batches.clear();
        }
        if producer.batches.len() == PRODUCER_BATCHES {
            producer.batches.pop_front();
        }
        producer.epoch = epoch;
        producer.last_stamp_ms = stamp_ms;
        producer.batches.push_back(ProducerBatch { base: range.base, count: range.count, base_offset });
    }

    /// Forgets who has not appended for `after_ms`, and says how many these were.
    pub fn expire(&mut self, stamp_ms: i64, after_ms: i64) -> usize {
        let before = self.by_id.len();
        self.by_id.retain(|_, producer| stamp_ms.saturating_sub(producer.last_stamp_ms) < after_ms);
        before - self.by_id.len()
    }
}

fn expect_next(range: Range, expected: Sequence) -> SequenceVerdict {
    if range.base == expected {
        SequenceVerdict::Append
    } else {
        SequenceVerdict::Refuse(SequenceError::OutOfOrder { expected })
    }
}
