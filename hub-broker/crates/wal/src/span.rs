//! Which entries of a group a file may hold.

use crate::frame::GroupId;
use std::collections::BTreeMap;

/// Per group, the entries that a file may hold.
pub type Spans = BTreeMap<GroupId, Span>;

/// The lowest and the highest index that was written, and how many bytes. Not all between need be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub first: u64,
    pub last: u64,
    pub bytes: u64,
}

impl Span {
    pub fn add(&mut self, index: u64, bytes: u64) {
        self.first = if self.bytes == 0 { index } else { self.first.min(index) };
        self.last = self.last.max(index);
        self.bytes += bytes;
    }

    pub fn contains(&self, index: u64) -> bool {
        (self.first..=self.last).contains(&index)
    }
}
