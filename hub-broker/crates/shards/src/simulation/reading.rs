//! Old entries for simulated hubs that are behind: what is asked for is read on the spot.

use wal::EntriesWanted;

use super::hub::Hub;
use crate::message::Message;

/// Bytes of applied entries that a simulated replica keeps in memory: few, so that some is behind now and then.
pub(super) const TAIL_BYTES_MAX: usize = 8 * 1024;

impl Hub {
    /// Entries that were read back from this hub's log, for replicas that are behind.
    pub fn entries_read_back(&self) -> usize {
        self.read_back
    }

    /// Bytes of the log's files that are kept only for replicas that are behind.
    pub fn kept_bytes(&self) -> u64 {
        self.write_ahead.wal.stats().kept_bytes
    }

    pub(super) fn read_log(&mut self, wanted: &EntriesWanted) {
        let found = self.write_ahead.read(wanted);
        self.read_back += found.as_ref().map_or(0, |found| found.entries.len());
        let (slot, from) = (wanted.group.0 as usize, wanted.from);
        self.core.handle(Message::LogRead { slot, from, found });
    }
}
