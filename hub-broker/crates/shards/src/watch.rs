//! Ends the process when the disk has not answered for too long. Whoever uses the disk cannot: it waits for an answer. So
//! the thread that watches touches no file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use wal::Wal;

use crate::fail;
use crate::limits::{EXECUTOR_STALL_MAX, STALL_LOOK, WAL_STALL_MAX};
use crate::shared::Shared;

/// What an executor has done so far, in steps of no meaning.
#[derive(Debug, Default)]
pub(crate) struct Steps(AtomicU64);

impl Steps {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// There will be no more.
    pub(crate) fn end(&self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }
}

pub(crate) struct Watch {
    wal: Wal,
    shared: Arc<Shared>,
    writing: Waiting,
    looking: Waiting,
    executors: Vec<(Arc<Steps>, Standstill)>,
}

impl Watch {
    pub(crate) fn new(wal: Wal, shared: Arc<Shared>, executors: Vec<Arc<Steps>>) -> Self {
        let executors = executors.into_iter().map(|steps| (steps, Standstill::default())).collect();
        Self { wal, shared, writing: Waiting::default(), looking: Waiting::default(), executors }
    }

    /// Until the other end of the channel is gone.
    pub(crate) fn run(mut self, stopped: &Receiver<()>) {
        while stopped.recv_timeout(STALL_LOOK) == Err(RecvTimeoutError::Timeout) {
            self.look();
        }
    }

    fn look(&mut self) {
        let what = "the disk does not answer";
        let stalled = self.wal.write_stall();
        if self.writing.is_over(stalled) {
            fail::stop(what, &format!("a write has been under way for {stalled:?}"));
        }
        let stalled = self.shared.space.look_stall();
        if self.looking.is_over(stalled) {
            fail::stop(what, &format!("a look for room has been under way for {stalled:?}"));
        }
        for (steps, standstill) in &mut self.executors {
            if standstill.is_over(steps.0.load(Ordering::Relaxed)) {
                fail::stop(what, &format!("a thread has waited for it for {EXECUTOR_STALL_MAX:?}"));
            }
        }
    }
}

/// How often a call was seen under way. While nobody looked, nothing went on: the process was stopped, or the machine.
#[derive(Debug, Default)]
struct Waiting {
    looks: u64,
    last: Duration,
}

impl Waiting {
    fn is_over(&mut self, stalled: Duration) -> bool {
        let is_same = stalled > self.last && stalled >= STALL_LOOK;
        self.looks = if is_same { self.looks + 1 } else { 0 };
        self.last = stalled;
        stalled > WAL_STALL_MAX && self.looks >= WAL_STALL_MAX.as_secs() / STALL_LOOK.as_secs()
    }
}

/// How often an executor was seen where it had been before.
#[derive(Debug, Default)]
struct Standstill {
    looks: u64,
    last: u64,
}

impl Standstill {
    fn is_over(&mut self, steps: u64) -> bool {
        self.looks = if steps == self.last && steps != u64::MAX { self.looks + 1 } else { 0 };
        self.last = steps;
        self.looks > EXECUTOR_STALL_MAX.as_secs() / STALL_LOOK.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many looks at a call that began so long before the first.
    fn looks(waiting: &mut Waiting, began: Duration, count: u32) -> Vec<bool> {
        (0..count).map(|at| waiting.is_over(began + at * STALL_LOOK)).collect()
    }

    #[test]
    fn a_call_that_is_seen_under_way_for_long_is_too_much() {
        let seen = looks(&mut Waiting::default(), Duration::from_millis(100), 40);
        assert_eq!(seen.iter().position(|is_over| *is_over), Some(30));
    }

    #[test]
    fn calls_that_end_are_not() {
        let mut waiting = Waiting::default();
        for _ in 0..10 {
            assert!(!looks(&mut waiting, Duration::from_millis(100), 29).contains(&true));
        }
    }

    #[test]
    fn time_in_which_nobody_looked_does_not_count() {
        let mut waiting = Waiting::default();
        assert!(!waiting.is_over(Duration::from_millis(10)));
        let seen = looks(&mut waiting, Duration::from_secs(3600), 29);
        assert!(!seen.contains(&true), "the process was stopped for an hour");
        assert!(waiting.is_over(Duration::from_secs(3630)), "the disk has not answered since");
    }

    #[test]
    fn an_executor_that_does_not_go_on_is_too_much_and_one_that_has_ended_is_not() {
        let mut standstill = Standstill::default();
        assert!(!(1..1000).any(|steps| standstill.is_over(steps)));
        assert!(!(0..120).any(|_| standstill.is_over(999)));
        assert!(standstill.is_over(999));
        assert!(!(0..1000).any(|_| standstill.is_over(u64::MAX)));
    }
}
