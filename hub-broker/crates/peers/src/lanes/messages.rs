//! Large messages, first in first out.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{batch::Batch, transfer::Transfer};
use crate::wire::{Kind, MessageHead};

#[derive(Default)]
pub(super) struct Messages {
    queue: VecDeque<(u32, Transfer)>,
    /// Messages that wait, by group: a small message of the group must not overtake them.
    groups: BTreeMap<u32, usize>,
    bytes: usize,
}

impl Messages {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn has_of(&self, group: u32) -> bool {
        self.groups.contains_key(&group)
    }

    pub fn push(&mut self, head: MessageHead, body: Bytes) {
        let transfer = Transfer::new(Kind::Message, 0, &head.encode(), body);
        self.bytes += transfer.bytes();
        *self.groups.entry(head.group).or_default() += 1;
        self.queue.push_back((head.group, transfer));
    }

    /// Puts one chunk into `batch`; false when nothing waits.
    pub fn chunk(&mut self, batch: &mut Batch) -> bool {
        let Some((group, front)) = self.queue.front_mut() else { return false };
        let group = *group;
        let (bytes, is_last) = front.chunk(batch);
        self.bytes -= bytes;
        if is_last {
            self.queue.pop_front();
            self.gone(group);
        }
        true
    }

    fn gone(&mut self, group: u32) {
        if let Some(count) = self.groups.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                self.groups.remove(&group);
            }
        }
    }
}
