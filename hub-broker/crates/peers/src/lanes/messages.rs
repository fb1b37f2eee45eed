//! Large messages, first in first out.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{batch::Batch, groups::Groups, transfer::Transfer};
use crate::wire::{Kind, MessageHead};

#[derive(Default)]
pub(super) struct Messages {
    queue: VecDeque<(u32, Transfer)>,
    /// A small message of such a group must not overtake it.
    groups: Groups,
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
        self.groups.has(group)
    }

    pub fn push(&mut self, head: MessageHead, body: Bytes) {
        let transfer = Transfer::new(Kind::Message, 0, &head.encode(), body);
        self.bytes += transfer.bytes();
        self.groups.add(head.group);
        self.queue.push_back((head.group, transfer));
    }

    /// Puts one chunk into `batch`; false when nothing waits or may go. Small messages of the group that came first
    /// are `ahead`.
    pub fn chunk(&mut self, batch: &mut Batch, ahead: &Groups) -> bool {
        let Some((group, front)) = self.queue.front_mut() else { return false };
        let group = *group;
        if ahead.has(group) {
            return false;
        }
        let (bytes, is_last) = front.chunk(batch);
        self.bytes -= bytes;
        if is_last {
            self.queue.pop_front();
            self.groups.remove(group);
        }
        true
    }
}
