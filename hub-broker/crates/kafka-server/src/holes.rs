//! Idempotent producers' batches that come before the one in front of them.
//!
//! A client that goes over to another leader may send a later batch there before the earlier one comes back to be sent
//! again. Told that a sequence is missing, librdkafka begins a new epoch for all of its partitions, and what it does not
//! know to be stored is stored twice (<https://github.com/confluentinc/librdkafka/issues/4953>). So the later batch is
//! refused for now, in words that have every client send both again, in order; that something is missing is said when it
//! has not come for a while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use schemas::{BatchHeader, ProducerEpoch, ProducerId, Sequence, TopicId};

use crate::limits::{HOLE_CLOSES_WITHIN, HOLE_FORGOTTEN_AFTER, HOLES_MAX};

/// Which batch of a producer was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    topic: TopicId,
    index: i32,
    producer: ProducerId,
    epoch: ProducerEpoch,
    base: Sequence,
}

/// What a partition waits for, from one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hole {
    topic: TopicId,
    index: i32,
    producer: ProducerId,
    epoch: ProducerEpoch,
    expected: Sequence,
}

impl Sent {
    /// `None` where the bytes do not begin as a batch.
    pub(crate) fn of(topic: TopicId, index: i32, batch: &[u8]) -> Option<Self> {
        let BatchHeader { producer_id, producer_epoch, base_sequence, .. } =
            BatchHeader::parse(batch).ok()?;
        let (producer, epoch) = (ProducerId(producer_id), ProducerEpoch(producer_epoch));
        Some(Self { topic, index, producer, epoch, base: Sequence(base_sequence) })
    }

    /// What is missing in front of it, where that is so.
    pub(crate) fn hole(self, expected: Sequence) -> Option<Hole> {
        let Self { topic, index, producer, epoch, base } = self;
        expected.is_before(base).then_some(Hole { topic, index, producer, epoch, expected })
    }
}

#[derive(Debug, Default)]
pub(crate) struct Holes(Mutex<HashMap<Hole, Met>>);

/// When it was met first and last.
#[derive(Debug)]
struct Met {
    first: Instant,
    last: Instant,
}

impl Holes {
    /// Somebody has met it: whether what is missing may still come.
    pub(crate) fn may_close(&self, hole: Hole, now: Instant) -> bool {
        let mut holes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_forgotten = |met: &Met| since(met.last, now) >= HOLE_FORGOTTEN_AFTER;
        if holes.len() >= HOLES_MAX && !holes.contains_key(&hole) {
            holes.retain(|_, met| !is_forgotten(met));
            if holes.len() >= HOLES_MAX {
                return false;
            }
        }
        let met = holes.entry(hole).or_insert(Met { first: now, last: now });
        if is_forgotten(met) {
            met.first = now;
        }
        met.last = now;
        since(met.first, now) < HOLE_CLOSES_WITHIN
    }
}

fn since(then: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(then)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn sent(producer: i64, base: i32) -> Sent {
        let (topic, base) = (TopicId(Uuid::nil()), Sequence(base));
        Sent { topic, index: 0, producer: ProducerId(producer), epoch: ProducerEpoch(0), base }
    }

    fn hole(expected: i32) -> Hole {
        sent(1, expected + 1).hole(Sequence(expected)).unwrap()
    }

    #[test]
    fn only_what_comes_too_early_has_a_hole_before_it() {
        assert_eq!(sent(1, 5).hole(Sequence(5)), None);
        assert_eq!(sent(1, 5).hole(Sequence(9)), None, "it overlaps, or is too old to be remembered");
        assert!(sent(1, 2).hole(Sequence(i32::MAX)).is_some(), "sequences begin anew");
    }

    #[test]
    fn each_producer_has_its_own_holes() {
        let (holes, start) = (Holes::default(), Instant::now());
        let met = |producer, at| holes.may_close(sent(producer, 7).hole(Sequence(0)).unwrap(), start + at);
        assert!(met(1, Duration::ZERO) && !met(1, HOLE_CLOSES_WITHIN));
        assert!(met(2, HOLE_CLOSES_WITHIN));
    }

    #[test]
    fn what_is_missing_may_come_for_a_while() {
        let (holes, start) = (Holes::default(), Instant::now());
        let met = |expected, at| holes.may_close(hole(expected), start + at);
        assert!(met(5, Duration::ZERO) && met(5, HOLE_CLOSES_WITHIN / 2));
        assert!(!met(5, HOLE_CLOSES_WITHIN) && !met(5, HOLE_CLOSES_WITHIN * 3 / 2));
        assert!(met(6, HOLE_CLOSES_WITHIN), "the partition got on");
        assert!(met(5, HOLE_CLOSES_WITHIN * 2 + HOLE_FORGOTTEN_AFTER), "another one at the same place");
    }

    #[test]
    fn many_holes_are_said_at_once_to_be_there() {
        let (holes, start) = (Holes::default(), Instant::now());
        assert!((0..HOLES_MAX as i32).all(|it| holes.may_close(hole(it), start)));
        let another = sent(2, 9).hole(Sequence(0)).unwrap();
        assert!(!holes.may_close(another, start));
        assert!(holes.may_close(hole(0), start), "it is known");
        assert!(holes.may_close(another, start + HOLE_FORGOTTEN_AFTER));
    }
}
