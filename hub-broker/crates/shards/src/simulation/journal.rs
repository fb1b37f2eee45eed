//! A write-ahead log in memory: what is written is kept from its sync on, and before that as far as a crash lets it be.

use std::collections::BTreeMap;

use bytes::Bytes;
use wal::{EntriesWanted, Entry, Frame, GroupId, GroupLog, Lsn};

use crate::log_reads::{OldEntries, to_log_entry};

/// Bytes of released entries that are kept for replicas that are behind.
const KEPT_BYTES_MAX: usize = 128 * 1024;

/// What a hub's disk holds of its write-ahead log. It outlives the hub.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    pub(super) frames: Vec<(Lsn, Frame)>,
    last: u64,
    /// Per group, the entry up to which checkpoints hold everything.
    released: BTreeMap<GroupId, u64>,
    /// Per group, the first entry that is kept all the same. A hub that starts has said nothing of that yet.
    wanted: BTreeMap<GroupId, u64>,
    /// Per group, the barrier up to which its entries are not to be read.
    void: BTreeMap<GroupId, Lsn>,
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

    /// A hub begins with it.
    pub(super) fn begin(&mut self, config: &wal::Config) {
        self.wanted.clear();
        self.void.clear();
        for (group, through) in config.void.iter().chain(&config.void_entries) {
            self.void_entries(*group, *through);
        }
    }

    /// Drops what checkpoints hold, but for what is wanted.
    pub(super) fn release(&mut self, group: GroupId, through: u64) {
        let released = self.released.entry(group).or_default();
        *released = through.max(*released);
        self.let_go();
    }

    pub(super) fn keep(&mut self, group: GroupId, from: Option<u64>) {
        match from {
            Some(from) => drop(self.wanted.insert(group, from)),
            None => drop(self.wanted.remove(&group)),
        }
        self.let_go();
    }

    /// Of what is kept, the newest stays.
    fn let_go(&mut self) {
        let mut left = KEPT_BYTES_MAX;
        let mut is_needed = |frame: &Frame| {
            let Frame::Entry { group, index, payload, .. } = frame else { return true };
            if self.released.get(group).is_none_or(|released| index > released) {
                return true;
            }
            if self.wanted.get(group).is_none_or(|from| index < from) {
                return false;
            }
            let fits = payload.len() <= left;
            left = if fits { left - payload.len() } else { 0 };
            fits
        };
        let mut kept: Vec<_> = std::mem::take(&mut self.frames);
        kept.reverse();
        kept.retain(|(_, frame)| is_needed(frame));
        kept.reverse();
        self.frames = kept;
    }

    pub(super) fn kept_entries(&self, group: GroupId) -> usize {
        let released = self.released.get(&group).copied().unwrap_or_default();
        let is_kept = |(_, frame): &&(Lsn, Frame)| matches!(frame, Frame::Entry { group: of, index, .. } if *of == group && *index <= released);
        self.frames.iter().filter(is_kept).count()
    }

    pub(super) fn void_entries(&mut self, group: GroupId, through: Lsn) {
        let void = self.void.entry(group).or_default();
        *void = through.max(*void);
    }

    pub(super) fn forget(&mut self, group: GroupId, void: Lsn) {
        self.frames.retain(|(lsn, frame)| frame.group() != group || *lsn > void);
        self.released.remove(&group);
        self.void_entries(group, void);
    }

    /// What the log's reader would find: of each entry what was written last.
    pub(super) fn read(&self, wanted: &EntriesWanted) -> Option<OldEntries> {
        let void = self.void.get(&wanted.group).copied().unwrap_or_default();
        let mut newest: BTreeMap<u64, Entry> = BTreeMap::new();
        for (lsn, frame) in &self.frames {
            if let Frame::Entry { group, index, term, entry_kind, payload } = frame
                && *group == wanted.group
                && *lsn > void
            {
                let (term, entry_kind, payload) = (*term, *entry_kind, payload.clone());
                newest.insert(*index, Entry { index: *index, term, entry_kind, payload });
            }
        }
        let before_term = newest.get(&(wanted.from - 1))?.term;
        let (mut next, mut left) = (wanted.from, wanted.bytes_max);
        let mut entries = Vec::new();
        for (index, entry) in newest.split_off(&wanted.from) {
            let bytes = entry.payload.len() as u64;
            if index != next || index > wanted.through || (bytes > left && !entries.is_empty()) {
                break;
            }
            (next, left) = (index + 1, left.saturating_sub(bytes));
            entries.push(to_log_entry(entry));
        }
        (!entries.is_empty()).then_some(OldEntries { before_term, entries })
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
