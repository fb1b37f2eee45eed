//! Files that nothing in the log needs any more, kept because somebody may still want to read entries in them. Pure
//! bookkeeping.
//!
//! They are always the newest of those that were let go, without a gap, so that whoever finds an entry in one of them
//! knows that no later version of it is missing. When there are too many bytes of them, the oldest goes.

use crate::{frame::GroupId, ledger::FileUse, span::Spans};
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug)]
pub struct Retention {
    bytes_max: u64,
    files: VecDeque<Kept>,
    bytes: u64,
    /// Per group, the first index that is wanted.
    wanted: BTreeMap<GroupId, u64>,
    /// Files found at the start are kept until others join them: nobody has said yet what is wanted.
    settled: bool,
    /// So many are to go, wanted or not.
    give_way: usize,
}

#[derive(Debug)]
struct Kept {
    id: u64,
    bytes: u64,
    /// `None`: nobody has looked yet what it holds.
    spans: Option<Spans>,
}

impl Retention {
    /// `found`: id and size of the files before the log's first, the oldest first.
    pub fn new(bytes_max: u64, found: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let files: VecDeque<Kept> =
            found.into_iter().map(|(id, bytes)| Kept { id, bytes, spans: None }).collect();
        let bytes = files.iter().map(|file| file.bytes).sum();
        Retention { bytes_max, files, bytes, wanted: BTreeMap::new(), settled: false, give_way: 0 }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The log needs these no more.
    pub fn retire(&mut self, files: Vec<FileUse>) {
        for file in files {
            self.bytes += file.bytes;
            self.files.push_back(Kept { id: file.id, bytes: file.bytes, spans: Some(file.spans()) });
        }
        self.settled = true;
    }

    /// Entries of the group are wanted from this one on, or none.
    pub fn keep(&mut self, group: GroupId, from: Option<u64>) {
        match from {
            Some(from) => drop(self.wanted.insert(group, from)),
            None => drop(self.wanted.remove(&group)),
        }
    }

    /// Nothing that was written of the group so far counts any more.
    pub fn forget(&mut self, group: GroupId) {
        for spans in self.files.iter_mut().filter_map(|file| file.spans.as_mut()) {
            spans.remove(&group);
        }
    }

    pub fn give_way(&mut self) {
        self.give_way = (self.give_way + 1).min(self.files.len());
    }

    /// Takes out what is to be kept no longer, the oldest first.
    pub fn surplus(&mut self) -> Vec<u64> {
        let mut surplus = Vec::new();
        while let Some(oldest) = self.files.front() {
            let is_too_much = self.bytes > self.bytes_max || self.give_way > 0;
            if !is_too_much && (!self.settled || self.is_wanted(oldest)) {
                break;
            }
            surplus.push(oldest.id);
            self.bytes -= oldest.bytes;
            self.give_way = self.give_way.saturating_sub(1);
            self.files.pop_front();
        }
        surplus
    }

    fn is_wanted(&self, file: &Kept) -> bool {
        match &file.spans {
            None => !self.wanted.is_empty(),
            Some(spans) => self
                .wanted
                .iter()
                .any(|(group, from)| spans.get(group).is_some_and(|span| span.last >= *from)),
        }
    }
}
