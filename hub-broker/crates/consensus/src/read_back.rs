//! Entries that were in memory once, and have been read back for followers that are behind.

use raft::eraftpb::Entry;

use crate::LogEntry;

/// Entries without holes, at least one, and the term of the one before them.
#[derive(Debug, Clone)]
pub(crate) struct ReadBack {
    before_term: u64,
    entries: Vec<Entry>,
}

impl ReadBack {
    /// `None` if these are not entries from `from` on, one behind the other.
    pub(crate) fn new(from: u64, before_term: u64, entries: Vec<LogEntry>) -> Option<Self> {
        let (mut next, mut term) = (from, before_term);
        for entry in &entries {
            if entry.index != next || entry.term < term {
                return None;
            }
            (next, term) = (next + 1, entry.term);
        }
        let entries: Vec<_> = entries.into_iter().map(LogEntry::into_raft).collect();
        (!entries.is_empty() && before_term > 0).then_some(Self { before_term, entries })
    }

    fn first(&self) -> u64 {
        self.entries.first().map_or(0, |first| first.index)
    }

    pub(crate) fn last(&self) -> u64 {
        self.entries.last().map_or(0, |last| last.index)
    }

    /// Whether the log can have gone on from these to the entry with this index and term.
    pub(crate) fn leads_to(&self, (index, term): (u64, u64)) -> bool {
        self.entries.last().is_some_and(|last| {
            last.index <= index && last.term <= term && (last.index < index || last.term == term)
        })
    }

    /// The entries from `index` on, if that is one of them.
    pub(crate) fn from(&self, index: u64) -> Option<&[Entry]> {
        let skip = usize::try_from(index.checked_sub(self.first())?).ok()?;
        self.entries.get(skip..).filter(|entries| !entries.is_empty())
    }

    /// The term of one of them, or of the one before.
    pub(crate) fn term(&self, index: u64) -> Option<u64> {
        match index + 1 == self.first() {
            true => Some(self.before_term),
            false => self.from(index)?.first().map(|entry| entry.term),
        }
    }
}

#[cfg(test)]
mod tests;
