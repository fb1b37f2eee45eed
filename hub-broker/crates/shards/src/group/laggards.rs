//! Replicas of the group that are behind: what of the log is kept for them, and what is read back.

use consensus::Event;
use wal::EntriesWanted;

use super::{Group, Machine};
use crate::limits::LOG_READ_WORTH_MIN;
use crate::log_reads::OldEntries;
use crate::outbox::{Outbox, Wish};

impl Group {
    /// Says from where on the log is wanted, if that is news.
    pub(crate) fn keep_log(&mut self, outbox: &mut Outbox) {
        let from = self.replica.log_wanted_from();
        if std::mem::replace(&mut self.log_kept_from, from) != from {
            outbox.wishes.push(Wish::KeepLog { group: self.id, from });
        }
    }

    pub(super) fn read_log(&self, from: u64, through: u64, bytes_max: u64, outbox: &mut Outbox) {
        // Entries are ready to be read; a snapshot has to be made, and what is written meanwhile is to be sent besides.
        let worth_bytes = self.snapshot_bytes().saturating_mul(2).max(LOG_READ_WORTH_MIN);
        let wanted = EntriesWanted { group: self.id, from, through, bytes_max, worth_bytes };
        outbox.wishes.push(Wish::ReadLog(wanted));
    }

    /// The most that copying the group's whole state could take.
    fn snapshot_bytes(&self) -> u64 {
        match &self.machine {
            Machine::Partitions(partitions) => {
                partitions.iter().map(|partition| partition.log.reader().size_bytes()).sum()
            }
            // Nobody knows before it is made; its log is never long.
            Machine::Metadata(_) => u64::MAX,
        }
    }

    pub(crate) fn log_read(&mut self, from: u64, found: Option<OldEntries>, outbox: &mut Outbox) {
        let event = match found {
            Some(OldEntries { before_term, entries }) => Event::EntriesRead { from, before_term, entries },
            None => Event::EntriesGone { from },
        };
        self.step(event, outbox);
    }
}
