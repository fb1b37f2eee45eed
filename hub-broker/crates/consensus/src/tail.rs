//! The end of a group's log in memory: what raft-rs reads as its storage.
//!
//! Everything that is not applied is here; of what is applied, as many bytes as followers may still want. What came
//! before can perhaps be read back: raft-rs is told that it comes later, and whoever drives it asks for it.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

use crate::read_back::ReadBack;
use crate::{ReplicaId, SnapshotMark};

/// What an entry costs besides its payload.
const ENTRY_OVERHEAD_BYTES: usize = 96;
/// A checkpoint that so much was written since is as good as a new one.
const FRESH_BYTES_MAX: usize = 64 * 1024;

pub(crate) struct Tail {
    initial: RaftState,
    /// Index and term of the entry before the first one held.
    before: (u64, u64),
    entries: VecDeque<Entry>,
    bytes: usize,
    /// From here on, what is not held can perhaps be read back.
    reach: u64,
    read_back: Option<ReadBack>,
    /// Entries that raft-rs wanted for followers and that are not held.
    missed: RefCell<BTreeSet<u64>>,
    /// The newest checkpoint, and which followers it was made for.
    checkpoint: Option<(SnapshotMark, BTreeSet<ReplicaId>)>,
    /// Followers that raft-rs wanted a snapshot for when there was none for them.
    wanted: RefCell<BTreeSet<ReplicaId>>,
}

/// How much of the log stays in memory although it is applied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keep {
    /// The first entry that somebody is known to want.
    pub wanted_from: Option<u64>,
    pub wanted_bytes_max: usize,
    /// What is kept in case somebody wants it.
    pub idle_bytes_max: usize,
}

impl Tail {
    /// A log that begins at or before `applied` gives its first entry away: it stands for the one before.
    pub(crate) fn new(
        hard_state: HardState,
        members: ConfState,
        applied: (u64, u64),
        entries: Vec<Entry>,
    ) -> Self {
        let mut entries = VecDeque::from(entries);
        let mut before = applied;
        if let Some(first) = entries.front().filter(|first| first.index <= applied.0) {
            before = (first.index, first.term);
            entries.pop_front();
        }
        let bytes = entries.iter().map(cost).sum();
        Self {
            initial: RaftState::new(hard_state, members),
            before,
            entries,
            bytes,
            reach: u64::MAX,
            read_back: None,
            missed: RefCell::default(),
            checkpoint: None,
            wanted: RefCell::default(),
        }
    }

    /// A snapshot takes the place of everything.
    pub(crate) fn reset(&mut self, index: u64, term: u64) {
        self.before = (index, term);
        self.entries.clear();
        self.bytes = 0;
        self.reach = self.reach.max(index + 1);
        self.read_back = None;
    }

    /// From now on what is not held can perhaps be read back, but for entry 1: that is given away for good.
    pub(crate) fn reach_back(&mut self) {
        self.reach = 2;
    }

    /// This entry, and what is before it, cannot be read back.
    pub(crate) fn end_reach(&mut self, index: u64) {
        self.reach = self.reach.max(index + 1);
    }

    /// Takes what was read back. False if it is not how the log goes on.
    pub(crate) fn take_back(&mut self, read: ReadBack) -> bool {
        let fits = read.leads_to(self.before);
        if fits {
            self.read_back = Some(read);
        }
        fits
    }

    pub(crate) fn forget_read(&mut self) {
        self.read_back = None;
    }

    /// The entries that were asked for since the last call and are not held.
    pub(crate) fn take_missed(&mut self) -> BTreeSet<u64> {
        std::mem::take(self.missed.get_mut())
    }

    /// From now on followers are sent this, made for those who are named.
    pub(crate) fn offer(&mut self, mark: SnapshotMark, made_for: BTreeSet<ReplicaId>) {
        self.checkpoint = Some((mark, made_for));
    }

    /// The checkpoint is of no use any more.
    pub(crate) fn withdraw(&mut self) {
        self.checkpoint = None;
    }

    pub(crate) fn take_wanted(&mut self) -> BTreeSet<ReplicaId> {
        std::mem::take(self.wanted.get_mut())
    }

    /// The first entry that is held.
    pub(crate) fn first(&self) -> u64 {
        self.before.0 + 1
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn last(&self) -> u64 {
        self.before.0 + self.entries.len() as u64
    }

    /// Puts entries at the end, over what was there from their first index on. Returns that index if something
    /// had to give way.
    pub(crate) fn append(&mut self, entries: &[Entry]) -> Option<u64> {
        let first = entries.first()?.index;
        let truncated = first <= self.last();
        while self.last() >= first && !self.entries.is_empty() {
            self.bytes -= self.entries.pop_back().as_ref().map_or(0, cost);
        }
        self.bytes += entries.iter().map(cost).sum::<usize>();
        self.entries.extend(entries.iter().cloned());
        truncated.then_some(first)
    }

    /// Drops applied entries beyond what is to be kept, and entry 1 in any case: a replica without any state can then
    /// never be led through the log from its beginning.
    pub(crate) fn compact(&mut self, applied: u64, keep: Keep) {
        while let Some(entry) = self.entries.front()
            && entry.index <= applied
        {
            let wanted = keep.wanted_from.is_some_and(|from| entry.index >= from);
            let bytes_max = if wanted { keep.wanted_bytes_max } else { keep.idle_bytes_max };
            if self.bytes <= bytes_max && entry.index > 1 {
                return;
            }
            self.before = (entry.index, entry.term);
            self.bytes -= cost(entry);
            self.entries.pop_front();
        }
    }

    /// A follower can go on from the checkpoint, knows itself to belong to the group by it, and does not fetch what is
    /// long out of date: a little behind, or made for it.
    fn suits(&self, mark: &SnapshotMark, made_for: &BTreeSet<ReplicaId>, to: ReplicaId) -> bool {
        let fresh = || {
            let since = self.entries.iter().rev().take_while(|entry| entry.index > mark.index);
            since.map(cost).sum::<usize>() <= FRESH_BYTES_MAX
        };
        mark.index >= self.before.0 && mark.membership.contains(to) && (made_for.contains(&to) || fresh())
    }

    fn position(&self, index: u64) -> Result<usize> {
        if index <= self.before.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        Ok((index - self.before.0 - 1) as usize)
    }

    /// Entries that are not held: those that were read back, or none yet.
    fn earlier(&self, low: u64, high: u64, max_size: u64, can_wait: bool) -> Result<Vec<Entry>> {
        if let Some(found) = self.read_back.as_ref().and_then(|read| read.from(low)) {
            return Ok(limited(found.iter().take_while(|entry| entry.index < high), max_size));
        }
        if !can_wait || low < self.reach {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.missed.borrow_mut().insert(low);
        Err(Error::Store(StorageError::LogTemporarilyUnavailable))
    }
}

/// As many as fit, and at least one.
fn limited<'a>(entries: impl Iterator<Item = &'a Entry>, max_size: u64) -> Vec<Entry> {
    let mut size = 0u64;
    let mut found = Vec::new();
    for entry in entries {
        size = size.saturating_add(cost(entry) as u64);
        if size > max_size && !found.is_empty() {
            break;
        }
        found.push(entry.clone());
    }
    found
}

fn cost(entry: &Entry) -> usize {
    ENTRY_OVERHEAD_BYTES + entry.data.len()
}

impl Storage for Tail {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        let max_size = max_size.into().unwrap_or(u64::MAX);
        if low <= self.before.0 {
            return self.earlier(low, high, max_size, context.can_async());
        }
        let (low, high) = (self.position(low)?, self.position(high)?);
        if high > self.entries.len() {
            return Err(Error::Store(StorageError::Unavailable));
        }
        Ok(limited(self.entries.range(low..high), max_size))
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.before.0 {
            return Ok(self.before.1);
        }
        if index < self.before.0 {
            // What raft-rs takes for any entry that is not in the log.
            return Ok(self.read_back.as_ref().and_then(|read| read.term(index)).unwrap_or(0));
        }
        let position = self.position(index)?;
        self.entries.get(position).map(|e| e.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.reach.min(self.first()))
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, _request_index: u64, to: u64) -> Result<Snapshot> {
        let to = ReplicaId(to);
        match &self.checkpoint {
            Some((mark, made_for)) if self.suits(mark, made_for, to) => Ok(mark.to_raft()),
            _ => {
                self.wanted.borrow_mut().insert(to);
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

#[cfg(test)]
mod tests;
