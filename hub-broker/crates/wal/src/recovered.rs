//! What opening a log finds in it.

use crate::{
    codec::{FrameHeader, Kind, u64_at},
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

/// Plays frames in order.
#[derive(Debug, Default)]
pub struct Replay {
    after: BTreeMap<GroupId, u64>,
    groups: BTreeMap<GroupId, Playing>,
}

#[derive(Debug, Default)]
struct Playing {
    hard_state: Option<HardState>,
    entries: BTreeMap<u64, Entry>,
}

impl Replay {
    pub fn new(after: BTreeMap<GroupId, u64>) -> Self {
        Replay { after, groups: BTreeMap::new() }
    }

    pub fn play(&mut self, header: &FrameHeader, payload: &[u8]) {
        if header.kind == Kind::Commit {
            return;
        }
        let after = self.after.get(&header.group).copied().unwrap_or(0);
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
