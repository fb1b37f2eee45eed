//! What opening a log finds in it.

use crate::{
    codec::{FrameHeader, Kind, u64_at},
    config::Config,
    frame::{Entry, GroupId, HardState, Lsn},
};
use bytes::Bytes;
use std::{collections::BTreeMap, path::PathBuf};

/// The state of every group that the log holds something of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    pub groups: BTreeMap<GroupId, GroupLog>,
    /// Unacknowledged frames that the last run left half written, and that were cut off.
    pub torn_tail: Option<TornTail>,
    /// The last sequence number in the log.
    pub last_lsn: Lsn,
}

/// One group's frames, played in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupLog {
    pub hard_state: Option<HardState>,
    /// Ascending, all above `Config::replay_after`, and without holes above what was released. At or below what was
    /// released, entries may or may not be there.
    pub entries: Vec<Entry>,
}

/// Where the log was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    pub file: PathBuf,
    pub position: u64,
    /// The first sequence number that was lost; it was never acknowledged.
    pub lsn: Lsn,
}

/// What counts for nothing, though it lies in the log.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Per group, entries up to this index are in its checkpoint.
    pub after: BTreeMap<GroupId, u64>,
    /// See `Config::void`.
    pub void: BTreeMap<GroupId, Lsn>,
    /// See `Config::void_entries`.
    pub void_entries: BTreeMap<GroupId, Lsn>,
}

impl Past {
    pub fn of(config: &Config) -> Self {
        Past {
            after: config.replay_after.clone(),
            void: config.void.clone(),
            void_entries: config.void_entries.clone(),
        }
    }

    /// True when a frame lies before the barrier that voids it.
    pub fn voids(&self, header: &FrameHeader) -> bool {
        let before = |barriers: &BTreeMap<GroupId, Lsn>| {
            barriers.get(&header.group).is_some_and(|&barrier| header.lsn <= barrier)
        };
        match header.kind {
            Kind::Commit => false,
            Kind::HardState => before(&self.void),
            Kind::Entry { .. } | Kind::Truncate => before(&self.void) || before(&self.void_entries),
        }
    }
}

/// Plays frames in order.
#[derive(Debug, Default)]
pub struct Replay {
    past: Past,
    groups: BTreeMap<GroupId, Playing>,
}

#[derive(Debug, Default)]
struct Playing {
    hard_state: Option<HardState>,
    entries: BTreeMap<u64, Entry>,
}

impl Replay {
    pub fn new(past: Past) -> Self {
        Replay { past, groups: BTreeMap::new() }
    }

    /// False where the frame is void: then it is needed no more.
    pub fn play(&mut self, header: &FrameHeader, payload: &[u8]) -> bool {
        if self.past.voids(header) {
            return false;
        }
        self.play_live(header, payload);
        true
    }

    fn play_live(&mut self, header: &FrameHeader, payload: &[u8]) {
        if header.kind == Kind::Commit {
            return;
        }
        let after = self.past.after.get(&header.group).copied().unwrap_or(0);
        let playing = self.groups.entry(header.group).or_default();
        match header.kind {
            Kind::Entry { entry_kind, copy } => {
                // A copy repeats an entry that was live when it was written: what follows the entry stays.
                if !copy {
                    playing.entries.split_off(&header.index);
                }
                if header.index > after {
                    let payload = Bytes::copy_from_slice(payload);
                    let entry = Entry { index: header.index, term: header.term, entry_kind, payload };
                    playing.entries.insert(header.index, entry);
                }
            }
            Kind::Truncate => drop(playing.entries.split_off(&header.index)),
            Kind::HardState => playing.hard_state = hard_state(header, payload),
            Kind::Commit => {}
        }
    }

    pub fn finish(self) -> BTreeMap<GroupId, GroupLog> {
        let finished = self.groups.into_iter().map(|(group, playing)| {
            let entries = playing.entries.into_values().collect();
            (group, GroupLog { hard_state: playing.hard_state, entries })
        });
        finished.collect()
    }
}

/// The hard state in a frame of that kind.
pub fn hard_state(header: &FrameHeader, payload: &[u8]) -> Option<HardState> {
    if header.kind != Kind::HardState {
        return None;
    }
    Some(HardState { term: header.term, vote: u64_at(payload, 0)?, commit: header.index })
}
