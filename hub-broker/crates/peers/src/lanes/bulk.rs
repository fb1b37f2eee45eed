//! Requests and answers: first in first out within a kind, the kinds in turn.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

use super::{batch::Batch, transfer::Transfer};
use crate::limits::OPEN_TRANSFERS_MAX;

/// Requests of one kind, or answers to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Channel {
    pub is_answer: bool,
    pub kind: u8,
}

#[derive(Default)]
pub(super) struct Bulk {
    /// No queue is empty.
    queues: BTreeMap<Channel, VecDeque<Transfer>>,
    /// The one that sent last.
    last: Option<Channel>,
    /// Bodies of which a part is sent.
    open: usize,
    bytes: usize,
}

impl Bulk {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    pub fn push(&mut self, channel: Channel, transfer: Transfer) {
        self.bytes += transfer.bytes();
        self.queues.entry(channel).or_default().push_back(transfer);
    }

    /// Puts one chunk into `batch`; false when nothing waits.
    pub fn chunk(&mut self, batch: &mut Batch) -> bool {
        let Some(channel) = self.next() else { return false };
        let Some(queue) = self.queues.get_mut(&channel) else { return false };
        let Some(front) = queue.front_mut() else { return false };
        let was_begun = front.is_begun();
        let (bytes, is_last) = front.chunk(batch);
        if is_last {
            queue.pop_front();
        }
        if queue.is_empty() {
            self.queues.remove(&channel);
        }
        self.bytes -= bytes;
        match (was_begun, is_last) {
            (false, false) => self.open += 1,
            (true, true) => self.open -= 1,
            _ => {}
        }
        self.last = Some(channel);
        true
    }

    /// The next channel in turn that may send.
    fn next(&self) -> Option<Channel> {
        let is_room = self.open < OPEN_TRANSFERS_MAX;
        let may = |queue: &VecDeque<Transfer>| {
            queue.front().is_some_and(|front| is_room || front.is_begun() || front.is_one_frame())
        };
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.queues.range((after, Bound::Unbounded));
        behind.chain(&self.queues).find(|(_, queue)| may(queue)).map(|(channel, _)| *channel)
    }
}
