//! One replica with its disk and its state machine.

use std::collections::VecDeque;
use std::fmt;

use consensus::*;

use super::disk::{Checkpoint, Disk};

pub struct Hub {
    pub disk: Disk,
    pub replica: Option<Replica>,
    /// What was applied, on the disk or not.
    pub state: Checkpoint,
    /// Handed out, not applied yet.
    pub committed: VecDeque<Committed>,
    pub stalled: bool,
    /// The disk says that it has written what it has not: this is what it has.
    pub truth: Option<Disk>,
    /// Somebody needs a checkpoint of it.
    pub checkpoint_wanted: bool,
    /// A snapshot that can be had, from whom and of what.
    pub offered: Option<(ReplicaId, u64, PeerMessage)>,
    /// Entries that are to be read back: from, through, and how many bytes.
    pub read_wanted: Option<(u64, u64, u64)>,
    /// The snapshot that was copied last.
    pub copied: Option<Checkpoint>,
    pub snapshots_installed: usize,
    unsynced: VecDeque<Action>,
}

impl Hub {
    pub fn new(first: Checkpoint) -> Self {
        Self {
            disk: Disk { checkpoints: vec![first.clone()], ..Disk::default() },
            replica: None,
            state: first,
            committed: VecDeque::new(),
            stalled: false,
            truth: None,
            checkpoint_wanted: false,
            offered: None,
            read_wanted: None,
            copied: None,
            snapshots_installed: 0,
            unsynced: VecDeque::new(),
        }
    }

    pub fn role(&self) -> Option<Role> {
        self.replica.as_ref().map(Replica::role)
    }

    pub fn go_down(&mut self) {
        self.replica = None;
        if let Some(truth) = &self.truth {
            self.disk = truth.clone();
        }
        self.unsynced.clear();
        self.committed.clear();
        self.stalled = false;
        self.checkpoint_wanted = false;
        self.offered = None;
        self.read_wanted = None;
        self.copied = None;
    }

    pub fn come_back(&mut self) -> Restored {
        self.state = self.disk.newest().clone();
        self.disk.restored()
    }

    /// What has to be done later.
    pub fn keep(&mut self, action: Action) {
        match action {
            persist @ Action::Persist { .. } => self.unsynced.push_back(persist),
            Action::Apply(entries) => self.committed.extend(entries),
            Action::WantSnapshot { from, index, message, .. } => self.offered = Some((from, index, message)),
            Action::NeedSnapshot { .. } => self.checkpoint_wanted = true,
            Action::ReadEntries { from, through, bytes_max } => {
                assert!(self.read_wanted.is_none(), "one such question at a time");
                assert!(through <= self.state.applied, "what is read back is applied");
                self.read_wanted = Some((from, through, bytes_max));
            }
            Action::RoleChanged { .. } => {}
            action => unreachable!("{action:?} is done at once"),
        }
    }

    /// Returns the newest ready that became durable.
    pub fn sync(&mut self, count: usize) -> Option<u64> {
        let mut last = None;
        for _ in 0..count.min(self.unsynced.len()) {
            let Some(Action::Persist { ready, hard_state, snapshot, truncate_from, entries }) =
                self.unsynced.pop_front()
            else {
                unreachable!("only persists are queued")
            };
            self.disk.hard_state = hard_state.unwrap_or(self.disk.hard_state);
            if let Some(mark) = snapshot {
                self.install(&mark);
            }
            if let Some(from) = truncate_from {
                self.disk.log.split_off(&from);
            }
            self.disk.log.extend(entries.into_iter().map(|entry| (entry.index, entry)));
            last = Some(ready);
        }
        last
    }

    fn install(&mut self, mark: &SnapshotMark) {
        let copied = self.copied.take().expect("what is installed was copied");
        assert_eq!((copied.applied, copied.term), (mark.index, mark.term));
        assert_eq!(copied.membership, mark.membership, "a snapshot's membership is that of its entry");
        self.disk.install(copied.clone());
        self.state = copied;
        self.committed.clear();
        self.snapshots_installed += 1;
    }

    /// Returns what can be offered to others from now on.
    pub fn checkpoint(&mut self, keep_entries: u64) -> Option<(u64, u64, Membership)> {
        self.checkpoint_wanted = false;
        let state = self.state.clone();
        if state.applied == 0 {
            return None;
        }
        if state.applied > self.disk.newest().applied {
            self.disk.add(state.clone(), keep_entries);
        }
        Some((state.applied, state.term, state.membership))
    }
}

impl fmt::Display for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(replica) = &self.replica else { return write!(f, "down") };
        write!(
            f,
            "{:?} in {} led by {:?}, applied {} commit {} last {}, {:?} {:?}",
            replica.role(),
            replica.term(),
            replica.leader(),
            self.state.applied,
            replica.commit(),
            replica.last_index(),
            replica.membership(),
            replica.progress(),
        )
    }
}
