//! Which files are still needed, and by whom. Pure bookkeeping: every frame that is written or recovered is noted
//! here in order.
//!
//! A file keeps, per group, only the highest live index among its entries: entries are released from below and
//! truncated from above, so that one number says whether any is left. It may be too high after a truncation, which
//! keeps a file a little longer than needed and never shorter. Beside it stands which entries lie there at all, for
//! those who read them back.

use crate::{
    codec::{FrameHeader, Kind},
    frame::{Frame, GroupId, HardState, Lsn},
    limits::{IDLE_FILES, REWRITE_FILES},
    span::{Span, Spans},
};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileUse {
    pub id: u64,
    pub first_lsn: Lsn,
    pub bytes: u64,
    groups: BTreeMap<GroupId, Held>,
}

/// What a file has of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    /// The highest index that was not truncated; 0 where all was written again.
    highest: u64,
    span: Span,
}

impl FileUse {
    /// Which entries lie here, needed or not.
    pub fn spans(&self) -> Spans {
        self.groups.iter().map(|(&group, held)| (group, held.span)).collect()
    }
}

#[derive(Clone, Debug, Default)]
struct GroupUse {
    released: u64,
    /// The highest live index in any file.
    last: u64,
    hard_state: Option<(HardState, u64)>,
    /// The newest file with an entry that is not a copy.
    newest_file: u64,
    /// Entries in frames up to here were voided by a barrier.
    void_through: Lsn,
}

/// What its owner says about a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Durable checkpoints hold its entries up to the index.
    Release(GroupId, u64),
    /// A barrier is about to be written: nothing older may be copied behind it, nor be let go.
    Hold(GroupId),
    /// The barrier voids the group's entries.
    ForgetEntries(GroupId),
    /// The barrier voids all of the group.
    Forget(GroupId),
    /// What the group has from this index on is wanted for reading, though it may be released; `None`: nothing is.
    Keep(GroupId, Option<u64>),
    /// There is little room: something of what is only kept for reading shall go.
    GiveWay,
}

/// What pins the oldest file and shall be written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RewritePlan {
    pub file: u64,
    pub hard_states: Vec<(GroupId, HardState)>,
    pub entries: BTreeMap<GroupId, Live>,
}

/// The live entries of a group in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Their indexes lie above this one,
    pub above: u64,
    /// and up to this one,
    pub up_to: u64,
    /// in frames behind this one.
    pub behind: Lsn,
}

#[derive(Debug, Default)]
pub struct Ledger {
    files: VecDeque<FileUse>,
    groups: HashMap<GroupId, GroupUse>,
    /// Groups between a barrier and the word that it holds.
    held: BTreeSet<GroupId>,
}

impl Ledger {
    /// The next file is the current one from now on.
    pub fn open_file(&mut self, id: u64, bytes: u64, first_lsn: Lsn) {
        self.files.push_back(FileUse { id, first_lsn, bytes, groups: BTreeMap::new() });
    }

    /// Notes a frame in the current file.
    pub fn note(&mut self, header: &FrameHeader, hard_state: Option<HardState>) {
        match header.kind {
            Kind::Entry { copy, .. } => self.note_entry(header, copy),
            Kind::Truncate => self.truncate(header.group, header.index),
            Kind::HardState => self.note_hard_state(header.group, hard_state.unwrap_or_default()),
            Kind::Commit => {}
        }
    }

    fn note_entry(&mut self, header: &FrameHeader, copy: bool) {
        let (group, index) = (header.group, header.index);
        let Some(current) = self.files.back().map(|file| file.id) else { return };
        let state = self.groups.entry(group).or_default();
        let replaces = !copy && state.last >= index;
        if !copy {
            state.newest_file = current;
        }
        if replaces {
            self.truncate(group, index);
        }
        if let Some(state) = self.groups.get_mut(&group).filter(|state| state.last < index) {
            state.last = index;
        }
        let Some(file) = self.files.back_mut() else { return };
        let held = file.groups.entry(group).or_default();
        held.highest = index.max(held.highest);
        held.span.add(index, header.frame_bytes());
    }

    fn note_hard_state(&mut self, group: GroupId, hard_state: HardState) {
        let Some(file) = self.files.back() else { return };
        self.groups.entry(group).or_default().hard_state = Some((hard_state, file.id));
    }

    fn truncate(&mut self, group: GroupId, from_index: u64) {
        let state = self.groups.entry(group).or_default();
        if state.last < from_index {
            return;
        }
        state.last = from_index.saturating_sub(1);
        for file in &mut self.files {
            if let Some(held) = file.groups.get_mut(&group) {
                held.highest = state.last.min(held.highest);
            }
        }
    }

    /// `last`: the last sequence number that was given away. What the owner says is about frames up to there.
    pub fn change(&mut self, change: Change, last: Lsn) {
        match change {
            Change::Release(group, through_index) => self.release(group, through_index),
            Change::Hold(group) => drop(self.held.insert(group)),
            Change::ForgetEntries(group) => self.forget_entries(group, last),
            Change::Forget(group) => {
                self.groups.remove(&group);
                self.forget_entries(group, last);
            }
            // Nothing that must be kept.
            Change::Keep(..) | Change::GiveWay => {}
        }
    }

    /// Entries of the group in frames up to `through` count for nothing.
    pub fn forget_entries(&mut self, group: GroupId, through: Lsn) {
        self.held.remove(&group);
        self.groups.entry(group).or_default().void_through = through;
        for file in &mut self.files {
            file.groups.remove(&group);
        }
        if let Some(state) = self.groups.get_mut(&group) {
            state.last = 0;
        }
    }

    pub fn void_through(&self, group: GroupId) -> Lsn {
        self.groups.get(&group).map_or(Lsn(0), |state| state.void_through)
    }

    fn release(&mut self, group: GroupId, through_index: u64) {
        let state = self.groups.entry(group).or_default();
        state.released = state.released.max(through_index);
    }

    /// True while what `frame` says is live and lies in `file`, and may be copied.
    pub fn holds(&self, file: u64, frame: &Frame) -> bool {
        if self.held.contains(&frame.group()) {
            return false;
        }
        match frame {
            Frame::Entry { group, index, .. } => {
                let used = self.files.iter().find(|used| used.id == file);
                let held = used.and_then(|used| used.groups.get(group));
                held.is_some_and(|held| *index <= held.highest) && *index > self.released(*group)
            }
            Frame::HardState { group, .. } => {
                let state = self.groups.get(group).and_then(|state| state.hard_state);
                state.is_some_and(|(_, id)| id == file)
            }
            Frame::Truncate { .. } => false,
        }
    }

    fn released(&self, group: GroupId) -> u64 {
        self.groups.get(&group).map_or(0, |state| state.released)
    }

    fn live_groups<'a>(&'a self, file: &'a FileUse) -> impl Iterator<Item = GroupId> + 'a {
        let live = file.groups.iter().filter(|&(&group, held)| held.highest > self.released(group));
        live.map(|(&group, _)| group)
    }

    fn is_needed(&self, file: &FileUse) -> bool {
        self.live_groups(file).next().is_some()
            || self.groups.values().any(|state| state.hard_state.is_some_and(|(_, id)| id == file.id))
    }

    /// The first file that something needs; the current one always counts.
    pub fn first_needed(&self) -> Option<&FileUse> {
        let needed = self.files.iter().find(|file| self.is_needed(file));
        needed.or(self.files.back())
    }

    /// All files, the oldest first.
    pub fn files(&self) -> impl Iterator<Item = &FileUse> {
        self.files.iter()
    }

    /// The first file that there is.
    pub fn oldest(&self) -> Option<u64> {
        self.files.front().map(|file| file.id)
    }

    /// Forgets the files before `id` and returns their ids.
    pub fn drop_before(&mut self, id: u64) -> Vec<FileUse> {
        let count = self.files.iter().take_while(|file| file.id < id).count();
        self.files.drain(..count).collect()
    }

    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The groups whose entries keep the oldest file.
    pub fn pinned_by(&self) -> Vec<GroupId> {
        let oldest = self.files.front().filter(|_| self.files.len() > 1);
        oldest.map(|file| self.live_groups(file).collect()).unwrap_or_default()
    }

    /// What to write again so that the oldest file is free. Nothing while few files are in use, or while a busy group
    /// needs it: its next checkpoint releases it.
    pub fn rewrite_plan(&self) -> Option<RewritePlan> {
        let oldest = self.first_needed()?;
        let current = self.files.back()?;
        let count = self.files.iter().filter(|file| file.id >= oldest.id).count();
        if count <= REWRITE_FILES {
            return None;
        }
        let mut plan = RewritePlan { file: oldest.id, hard_states: Vec::new(), entries: BTreeMap::new() };
        for (&group, &Held { highest, .. }) in &oldest.groups {
            let state = self.groups.get(&group)?;
            if highest > state.released {
                if self.held.contains(&group) || state.newest_file + IDLE_FILES > current.id {
                    return None;
                }
                let (above, behind) = (state.released, state.void_through);
                plan.entries.insert(group, Live { above, up_to: highest, behind });
            }
        }
        let pinned = self.groups.iter().filter_map(|(&group, state)| Some((group, state.hard_state?)));
        plan.hard_states = pinned
            .filter(|(group, (_, id))| *id == oldest.id && !self.held.contains(group))
            .map(|(group, (state, _))| (group, state))
            .collect();
        plan.hard_states.sort_by_key(|(group, _)| *group);
        Some(plan)
    }

    /// All live entries of `file` have been written again, but those of groups that are held.
    pub fn rewritten(&mut self, file: u64) {
        let held = &self.held;
        if let Some(used) = self.files.iter_mut().find(|used| used.id == file) {
            for (_, written) in used.groups.iter_mut().filter(|(group, _)| !held.contains(group)) {
                written.highest = 0;
            }
        }
    }
}
