//! The end of a group's log in memory: what raft-rs reads as its storage.
//!
//! Everything that is not applied is here; of what is applied, as many bytes as followers may still want.

use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, Storage, StorageError};

/// What an entry costs besides its payload.
const ENTRY_OVERHEAD_BYTES: usize = 96;

pub(crate) struct Tail {
    initial: RaftState,
    /// Index and term of the entry before the first one held.
    before: (u64, u64),
    entries: VecDeque<Entry>,
    bytes: usize,
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
        Self { initial: RaftState::new(hard_state, members), before, entries, bytes }
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

    /// Drops applied entries, but keeps the last `keep_bytes` of the log.
    pub(crate) fn compact(&mut self, applied: u64, keep_bytes: usize) {
        while self.bytes > keep_bytes {
            match self.entries.front() {
                Some(entry) if entry.index <= applied => {
                    self.before = (entry.index, entry.term);
                    self.bytes -= cost(entry);
                    self.entries.pop_front();
                }
                _ => return,
            }
        }
    }

    fn position(&self, index: u64) -> Result<usize> {
        if index <= self.before.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        Ok((index - self.before.0 - 1) as usize)
    }
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
        _context: GetEntriesContext,
    ) -> Result<Vec<Entry>> {
        let (low, high) = (self.position(low)?, self.position(high)?);
        if high > self.entries.len() {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let max_size = max_size.into().unwrap_or(u64::MAX);
        let mut size = 0u64;
        let mut found = Vec::new();
        for entry in self.entries.range(low..high) {
            size = size.saturating_add(cost(entry) as u64);
            if size > max_size && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.before.0 {
            return Ok(self.before.1);
        }
        let position = self.position(index)?;
        self.entries.get(position).map(|e| e.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.before.0 + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> Result<Snapshot> {
        Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}
