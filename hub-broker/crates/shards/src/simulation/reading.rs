//! Old entries for simulated hubs that are behind: what is asked for is read on the spot.

use wal::{EntriesWanted, GroupId};

use super::hub::Hub;
use crate::message::Message;

/// Bytes of applied entries that a simulated replica keeps in memory: few, so that some is behind now and then.
pub(super) const TAIL_BYTES_MAX: usize = 8 * 1024;

impl Hub {
    /// Entries that were read back from this hub's log, for replicas that are behind.
    pub fn entries_read_back(&self) -> usize {
        self.read_back
    }

    /// Entries of the group that checkpoints hold and that are kept for replicas that are behind.
    pub fn kept_entries(&self, group: u32) -> usize {
        self.journal.kept_entries(GroupId(group))
    }

    pub(super) fn read_log(&mut self, wanted: &EntriesWanted) {
        let found = self.journal.read(wanted);
        self.read_back += found.as_ref().map_or(0, |found| found.entries.len());
        let (slot, from) = (wanted.group.0 as usize, wanted.from);
        self.core.handle(Message::LogRead { slot, from, found });
    }
}
