//! Going on without what a damaged write-ahead log has lost: explicitly, and without deleting anything.
//!
//! A group's entries are kept up to the first one that is missing behind its checkpoint: an entry counts on all
//! before it. That is right for the one voter of a group, whose entries are never replaced. With several voters there is
//! nothing to salvage, if the others are a majority: a replica that may have lost something is given up, and fetches
//! from them. One that they cannot do without is kept like a lone one: others may not have what it acknowledged.
//!
//! The new log is written in a directory of its own, and the two are exchanged in one step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use checkpoint::{OpenError, Position, Store};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use schemas::NodeId;
use wal::{Concerned, Corruption, Frame, GroupId, GroupLog, HardState, Lsn, PastDamage, Wal};

use crate::aside::Aside;
use crate::data_dir::{DataDir, sync_directory};
use crate::group_state::GroupState;
use crate::{DataDirError, StartError};

/// How often a write that waits for room is asked about it.
const ROOM_ASKED_EVERY: Duration = Duration::from_millis(500);

/// What can be kept of a damaged log, and what cannot. No hub starts in the directory while this lives.
pub struct Salvage {
    dir: DataDir,
    pub damage: Corruption,
    /// Of every group that has anything in the log or a checkpoint.
    pub groups: Vec<KeptGroup>,
    /// Groups whose replica here is given up, because others have everything.
    pub given_up: Vec<u32>,
    /// Where the damaged log will lie.
    pub set_aside: PathBuf,
    file_bytes: Option<u64>,
    last_lsn: Lsn,
    logs: Vec<(GroupId, GroupLog)>,
}

/// What a group's checkpoint says.
#[derive(Default)]
struct Stored {
    position: Position,
    void_entries_through: Lsn,
    /// The others are a majority of the group.
    is_spared: bool,
}

/// What becomes of one group; group 0 is the metadata's, group N + 1 that of shard N.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptGroup {
    pub group: u32,
    /// The last entry that is kept.
    pub through_index: u64,
    /// The last entry that is known of.
    pub known_index: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    #[error("no room for the new write-ahead log in {}", .0.display())]
    NoSpace(PathBuf),
    #[error(transparent)]
    Wal(#[from] wal::OpenError),
    #[error("cannot put {} in the place of {}: {source}", new.display(), old.display())]
    Exchange { new: PathBuf, old: PathBuf, source: std::io::Error },
    #[error(transparent)]
    GiveUp(#[from] DataDirError),
}

impl Salvage {
    /// Looks at the hub's data in `data_dir` and changes nothing. `None` where its write-ahead log is not damaged.
    pub fn examine(data_dir: &Path) -> Result<Option<Self>, StartError> {
        let (dir, shard_count) = DataDir::open_existing(data_dir)?;
        if !dir.wal().is_dir() {
            return Ok(None);
        }
        let mut stored = stored(&dir, u32::from(shard_count) + 1)?;
        let Some(past) = Wal::read_past_damage(&wal_config(&dir, &stored)?)? else { return Ok(None) };
        let PastDamage { corruption, groups, last_lsn, file_bytes } = past;
        for group in groups.keys() {
            stored.entry(*group).or_default();
        }
        let (mut kept, mut logs, mut given_up) = (Vec::new(), Vec::new(), Vec::new());
        for (group, stored) in stored {
            let log = groups.get(&group).cloned().unwrap_or_default();
            match (stored.is_spared, is_concerned(&corruption, group)) {
                (true, true) => given_up.push(group.0),
                (true, false) => logs.push((group, log)),
                (false, _) => {
                    let (log, summary) = keep(group, log, stored.position);
                    kept.push(summary);
                    logs.push((group, log));
                }
            }
        }
        let set_aside = free_name(dir.path());
        let damage = corruption;
        Ok(Some(Self { dir, damage, groups: kept, given_up, set_aside, file_bytes, last_lsn, logs }))
    }

    /// Writes what is kept into a new log and puts the damaged one aside.
    pub fn carry_out(self) -> Result<(), SalvageError> {
        let cluster = self.dir.cluster().filter(|_| !self.given_up.is_empty());
        if let Some(cluster) = cluster {
            let replicas = self.dir.replicas(&cluster)?;
            for group in &self.given_up {
                if let Some(number) = replicas.get(*group).current {
                    let path = self.dir.path();
                    let failed = |source| DataDirError::Io { path: path.to_owned(), source };
                    Aside::of(path, *group).prepare().map_err(failed)?;
                    replicas.give_up(*group, number, self.last_lsn)?;
                }
            }
        }
        replace(&self.dir, self.logs, self.file_bytes, Lsn(self.last_lsn.0 + 1)).map(drop)
    }
}

fn is_concerned(damage: &Corruption, group: GroupId) -> bool {
    match &damage.groups {
        Concerned::Groups(groups) => groups.contains(&group),
        Concerned::All => true,
    }
}

/// What of the log is another replica's, or was replaced by a snapshot, is not read.
fn wal_config(dir: &DataDir, stored: &BTreeMap<GroupId, Stored>) -> Result<wal::Config, DataDirError> {
    let void = match dir.cluster() {
        Some(cluster) => dir.replicas(&cluster)?.void(),
        None => BTreeMap::new(),
    };
    let void_entries = stored.iter().map(|(group, stored)| (*group, stored.void_entries_through));
    Ok(wal::Config {
        void: void.into_iter().map(|(group, lsn)| (GroupId(group), lsn)).collect(),
        void_entries: void_entries.filter(|(_, lsn)| *lsn > Lsn(0)).collect(),
        ..wal::Config::new(dir.wal())
    })
}

/// Puts a new log with these groups in the place of the damaged one; returns where that lies now.
pub(crate) fn replace(
    dir: &DataDir,
    logs: impl IntoIterator<Item = (GroupId, GroupLog)>,
    file_bytes: Option<u64>,
    first_lsn: Lsn,
) -> Result<PathBuf, SalvageError> {
    let (old, new) = (dir.wal(), free_name(dir.path()));
    let mut config = wal::Config { first_lsn, ..wal::Config::new(&new) };
    if let Some(bytes) = file_bytes {
        config.file_bytes = bytes;
    }
    let (wal, _) = Wal::open(config)?;
    for (group, log) in logs {
        write(&wal, frames(group, log)).map_err(|NoRoom| SalvageError::NoSpace(new.clone()))?;
    }
    wal.close();
    renameat_with(CWD, &old, CWD, &new, RenameFlags::EXCHANGE)
        .map_err(std::io::Error::from)
        .and_then(|()| sync_directory(dir.path()))
        .map_err(|source| SalvageError::Exchange { new: new.clone(), old, source })?;
    Ok(new)
}

/// What every group's checkpoint says.
fn stored(dir: &DataDir, groups: u32) -> Result<BTreeMap<GroupId, Stored>, StartError> {
    let mut all = BTreeMap::new();
    for group in 0..groups {
        let path = dir.checkpoint(group);
        if path.is_dir() {
            let loaded = match Store::open(&path) {
                Ok((_, loaded, _)) => loaded,
                Err(OpenError::Damaged { membership: Some(membership), .. })
                    if is_spared(dir.identity().node, &membership) =>
                {
                    all.insert(GroupId(group), Stored { is_spared: true, ..Stored::default() });
                    continue;
                }
                Err(source) => return Err(StartError::Checkpoint { group, source }),
            };
            let Some(loaded) = loaded else { continue };
            let what = || "not a group's state".to_owned();
            let state = GroupState::decode_of(dir.identity().node, &loaded.membership)
                .ok_or_else(|| StartError::State { group, what: what() })?;
            let stored = Stored {
                position: loaded.position,
                void_entries_through: state.origin.void_entries_through,
                is_spared: state.membership.can_spare(state.own(dir.identity().node)),
            };
            all.insert(GroupId(group), stored);
        }
    }
    Ok(all)
}

/// The others are a majority of the group, by what its checkpoint says of it.
fn is_spared(node: NodeId, membership: &[u8]) -> bool {
    let state = GroupState::decode_of(node, membership);
    state.is_some_and(|state| state.membership.can_spare(state.own(node)))
}

/// The part of a group's log that has no hole behind its checkpoint.
fn keep(group: GroupId, mut log: GroupLog, position: Position) -> (GroupLog, KeptGroup) {
    let hard_state = log.hard_state.unwrap_or_default();
    let last = log.entries.last().map_or(0, |entry| entry.index);
    let known_index = last.max(hard_state.commit).max(position.applied);
    let (mut through, mut term) = (position.applied, position.term);
    let mut is_whole = true;
    log.entries.retain(|entry| {
        if entry.index > position.applied {
            is_whole = is_whole && entry.index == through + 1 && entry.term >= term;
            if is_whole {
                (through, term) = (entry.index, entry.term);
            }
            return is_whole;
        }
        true
    });
    // The last hard state may have been lost: it is never behind what is kept, nor ahead of it.
    let vote = if hard_state.term < term { 0 } else { hard_state.vote };
    log.hard_state =
        Some(HardState { term: hard_state.term.max(term), vote, commit: hard_state.commit.min(through) });
    (log, KeptGroup { group: group.0, through_index: through, known_index })
}

/// What a new log is to begin with.
pub(crate) fn frames(group: GroupId, log: GroupLog) -> Vec<Frame> {
    let entry = |entry: wal::Entry| Frame::Entry {
        group,
        index: entry.index,
        term: entry.term,
        entry_kind: entry.entry_kind,
        payload: entry.payload,
    };
    let hard_state =
        log.hard_state.map(|HardState { term, vote, commit }| Frame::HardState { group, term, vote, commit });
    log.entries.into_iter().map(entry).chain(hard_state).collect()
}

struct NoRoom;

/// Writes and waits until it is durable.
fn write(wal: &Wal, frames: Vec<Frame>) -> Result<(), NoRoom> {
    let (done, durable) = channel();
    // Nobody listens any more only where the answer is not wanted any more.
    wal.write(frames, Box::new(move |_| done.send(()).unwrap_or_default()));
    loop {
        match durable.recv_timeout(ROOM_ASKED_EVERY) {
            Ok(()) => return Ok(()),
            Err(RecvTimeoutError::Timeout) if wal.has_room() => {}
            Err(_) => return Err(NoRoom),
        }
    }
}

/// A name that is not in use.
fn free_name(dir: &Path) -> PathBuf {
    let taken: BTreeSet<PathBuf> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    let names = (1..).map(|number| dir.join(format!("wal-damaged-{number}")));
    let mut free = names.skip_while(|path| taken.contains(path));
    free.next().expect("the numbers do not end")
}
