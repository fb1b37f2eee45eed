//! A write-ahead log in memory: what is written is kept from its sync on, and before that as far as a crash lets it be.

use std::collections::BTreeMap;

use bytes::Bytes;
use wal::{Entry, Frame, GroupId, GroupLog, Lsn};

/// What a hub's disk holds of its write-ahead log. It outlives the hub.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    frames: Vec<(Lsn, Frame)>,
    last: u64,
}

/// What is written and not synced yet, in order.
#[derive(Default)]
pub(super) struct Unsynced {
    pub writes: Vec<Write>,
}

pub(super) struct Write {
    pub frames: Vec<Frame>,
    pub then: Then,
}

/// What is to happen once a write is durable.
pub(super) enum Then {
    Persisted(Vec<(GroupId, u64)>),
    Barrier(GroupId),
}

impl Journal {
    /// Appends the frames, durably; returns the last one's number.
    pub(super) fn append(&mut self, frames: Vec<Frame>) -> Lsn {
        for frame in frames {
            self.last += 1;
            self.frames.push((Lsn(self.last), frame));
        }
        Lsn(self.last)
    }

    /// Drops what checkpoints hold, and what barriers void.
    pub(super) fn release(&mut self, group: GroupId, through: u64) {
        self.frames.retain(|(_, frame)| {
            !matches!(frame, Frame::Entry { group: of, index, .. } if *of == group && *index <= through)
        });
    }

    pub(super) fn forget(&mut self, group: GroupId, void: Lsn) {
        self.frames.retain(|(lsn, frame)| frame.group() != group || *lsn > void);
    }

    /// What recovery makes of it.
    pub(super) fn replay(&self, config: &wal::Config, skip_truncations: bool) -> BTreeMap<GroupId, GroupLog> {
        match skip_truncations {
            false => wal::replay(self.frames.iter().map(|(lsn, frame)| (*lsn, frame)), config),
            true => self.replay_all(config),
        }
    }

    /// The fault: an entry that gave way comes back behind the one that took its place.
    fn replay_all(&self, config: &wal::Config) -> BTreeMap<GroupId, GroupLog> {
        let mut logs = wal::replay(self.frames.iter().map(|(lsn, frame)| (*lsn, frame)), config);
        for (group, log) in &mut logs {
            let after = config.replay_after.get(group).copied().unwrap_or(0);
            let void = [&config.void, &config.void_entries].map(|barriers| barriers.get(group).copied());
            let mut entries: BTreeMap<u64, Entry> = BTreeMap::new();
            for (lsn, frame) in &self.frames {
                if let Frame::Entry { group: of, index, term, entry_kind, payload } = frame
                    && of == group
                    && *index > after
                    && !void.iter().flatten().any(|void| lsn <= void)
                {
                    let (term, entry_kind, payload) = (*term, *entry_kind, Bytes::clone(payload));
                    entries.insert(*index, Entry { index: *index, term, entry_kind, payload });
                }
            }
            log.entries = entries.into_values().collect();
        }
        logs
    }
}

impl Unsynced {
    pub(super) fn frames(&self) -> usize {
        self.writes.iter().map(|write| write.frames.len()).sum()
    }

    /// The first `kept` frames reach the disk after all; the rest never existed.
    pub(super) fn crash(self, journal: &mut Journal, kept: usize) {
        let frames = self.writes.into_iter().flat_map(|write| write.frames);
        journal.append(frames.take(kept).collect());
    }
}
