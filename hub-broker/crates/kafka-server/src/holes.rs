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

use schemas::{Sequence, TopicId};

use crate::limits::{HOLE_CLOSES_WITHIN, HOLE_FORGOTTEN_AFTER, HOLES_MAX};

/// What a partition waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Hole {
    pub(crate) topic: TopicId,
    pub(crate) index: i32,
    pub(crate) expected: Sequence,
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
        holes.retain(|_, met| since(met.last, now) < HOLE_FORGOTTEN_AFTER);
        if holes.len() >= HOLES_MAX && !holes.contains_key(&hole) {
            return false;
        }
        let met = holes.entry(hole).or_insert(Met { first: now, last: now });
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

    fn hole(expected: i32) -> Hole {
        Hole { topic: TopicId(Uuid::nil()), index: 0, expected: Sequence(expected) }
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
        assert!(!holes.may_close(hole(-1), start));
        assert!(holes.may_close(hole(0), start), "it is known");
        assert!(holes.may_close(hole(-1), start + HOLE_FORGOTTEN_AFTER));
    }
}
