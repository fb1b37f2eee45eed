//! Kafka's rule (KIP-98, `ProducerAppendInfo` and `ProducerStateEntry`): the last five batches of a producer
//! are known by their exact ranges, the next must follow without a hole, an older epoch is fenced off.
//!
//! Where Kafka lets a producer without state begin anywhere, it must begin at 0 here: clients send several batches
//! ahead, so the second may come alone when the first was refused. Stored, it would be in the first one's place.

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
    /// The highest id that has expired. Ids are given out in rising blocks, so this tells most producers that were
    /// forgotten from those that never wrote here, at the price of one number.
    expired: Option<ProducerId>,
}

impl Producers {
    pub fn insert(&mut self, id: ProducerId, producer: Producer) {
        self.by_id.insert(id, producer);
    }

    pub fn expired(&self) -> Option<ProducerId> {
        self.expired
    }

    pub fn set_expired(&mut self, highest: Option<ProducerId>) {
        self.expired = highest;
    }

    /// In the order of their ids, so that equal states have equal bytes.
    pub fn sorted(&self) -> Vec<(ProducerId, &Producer)> {
        let mut all: Vec<_> = self.by_id.iter().map(|(id, producer)| (*id, producer)).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all
    }

    /// `log_start` is for the sender of a batch that is refused because its producer may have expired.
    pub fn check(
        &self,
        id: ProducerId,
        epoch: ProducerEpoch,
        range: Range,
        log_start: Offset,
    ) -> SequenceVerdict {
        let Some(producer) = self.by_id.get(&id) else {
            return match expect_next(range, Sequence::ZERO) {
                SequenceVerdict::Refuse(_) if Some(id) <= self.expired => {
                    SequenceVerdict::Refuse(SequenceError::ProducerExpired { log_start })
                }
                verdict => verdict,
            };
        };
        if epoch < producer.epoch {
            return SequenceVerdict::Refuse(SequenceError::ProducerFenced);
        }
        if epoch > producer.epoch {
            return expect_next(range, Sequence::ZERO);
        }
        if let Some(known) = producer.remembered(range) {
            return SequenceVerdict::Duplicate { base_offset: Some(known.base_offset) };
        }
        // Below `next` it is no duplicate for that: clients take a duplicate for stored.
        expect_next(range, producer.next().unwrap_or(range.base))
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
        let Self { by_id, expired } = self;
        let before = by_id.len();
        by_id.retain(|id, producer| {
            let kept = stamp_ms.saturating_sub(producer.last_stamp_ms) < after_ms;
            if !kept {
                *expired = (*expired).max(Some(*id));
            }
            kept
        });
        before - by_id.len()
    }
}

fn expect_next(range: Range, expected: Sequence) -> SequenceVerdict {
    if range.base == expected {
        SequenceVerdict::Append
    } else {
        SequenceVerdict::Refuse(SequenceError::OutOfOrder { expected })
    }
}
