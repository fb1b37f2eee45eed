//! Batches that wait to go to another hub: one lane a shard, first in first out.

use std::collections::VecDeque;

use parking_lot::Mutex;
use schemas::ShardId;
use tokio::time::Instant;

use crate::Append;
use crate::answer::Answer;
use crate::limits::{FORWARD_BYTES_TARGET, FORWARD_COUNT_MAX};

/// What a batch costs in a request besides its bytes, roughly.
const APPEND_BYTES: usize = 192;

/// All lanes, by shard.
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
}

#[derive(Default)]
pub(crate) struct Lane {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Item>,
    /// Somebody takes things out, until nothing is left.
    running: bool,
}

/// A batch and who waits for it.
pub(crate) struct Item {
    pub append: Append,
    pub answer: Answer,
    /// It is not begun after this.
    pub deadline: Instant,
}

impl Lanes {
    pub(crate) fn new(shards: u16) -> Self {
        Self { lanes: (0..shards).map(|_| Lane::default()).collect() }
    }

    /// The shard MUST be one of the cluster's.
    pub(crate) fn of(&self, shard: ShardId) -> &Lane {
        &self.lanes[usize::from(shard.0)]
    }
}

impl Lane {
    /// Nothing waits, and nothing that came out is on its way.
    pub(crate) fn is_idle(&self) -> bool {
        !self.state.lock().running
    }

    /// True if nobody takes things out: the caller has to see to it.
    pub(crate) fn push(&self, items: Vec<Item>) -> bool {
        let mut state = self.state.lock();
        state.queue.extend(items);
        !std::mem::replace(&mut state.running, true)
    }

    /// Those at the front that have waited too long; and whether anything is left. Else whoever takes things out ends.
    pub(crate) fn take_late(&self, now: Instant) -> (Vec<Item>, bool) {
        let mut state = self.state.lock();
        let mut late = Vec::new();
        while state.queue.front().is_some_and(|item| item.deadline <= now) {
            late.extend(state.queue.pop_front());
        }
        state.running = !state.queue.is_empty();
        (late, state.running)
    }

    /// As much from the front as goes into one request, and at least one.
    pub(crate) fn take_request(&self) -> Vec<Item> {
        let mut state = self.state.lock();
        let (mut count, mut bytes) = (0, 0);
        for item in state.queue.iter().take(FORWARD_COUNT_MAX) {
            bytes += item.bytes();
            if count > 0 && bytes > FORWARD_BYTES_TARGET {
                break;
            }
            count += 1;
        }
        state.queue.drain(..count).collect()
    }

    /// What was taken is at the front again.
    pub(crate) fn put_back(&self, items: Vec<Item>) {
        let mut state = self.state.lock();
        for item in items.into_iter().rev() {
            state.queue.push_front(item);
        }
    }

    pub(crate) fn take_all(&self) -> VecDeque<Item> {
        std::mem::take(&mut self.state.lock().queue)
    }

    /// Takes everything, and lets nothing more in before `then` has seen to it.
    pub(crate) fn take_all_and<T>(&self, then: impl FnOnce(VecDeque<Item>) -> T) -> T {
        let mut state = self.state.lock();
        then(std::mem::take(&mut state.queue))
    }
}

impl Item {
    /// Its room in a request.
    pub(crate) fn bytes(&self) -> usize {
        APPEND_BYTES + self.append.batch.len()
    }
}
