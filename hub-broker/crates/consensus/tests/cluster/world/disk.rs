//! What survives a crash.

use std::collections::BTreeMap;

use consensus::*;

/// The state machine: all it knows is a digest of what was applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    pub applied: u64,
    pub term: u64,
    pub digest: u64,
    pub membership: Membership,
}

impl Checkpoint {
    pub fn first(membership: Membership) -> Self {
        Self { membership, ..Self::default() }
    }
}

#[derive(Clone, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub log: BTreeMap<u64, LogEntry>,
    /// The last two, oldest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Those that cannot be copied.
    pub unavailable: Vec<u64>,
}

impl Disk {
    pub fn newest(&self) -> &Checkpoint {
        self.checkpoints.last().expect("there is always one")
    }

    pub fn checkpoint_at(&self, index: u64) -> Option<Checkpoint> {
        let available = |checkpoint: &&Checkpoint| {
            checkpoint.applied == index && !self.unavailable.contains(&checkpoint.applied)
        };
        self.checkpoints.iter().find(available).cloned()
    }

    /// Entries from `from` on, and the term of the one before.
    pub fn read(&self, from: u64, through: u64, bytes_max: u64) -> Option<(u64, Vec<LogEntry>)> {
        let before = self.log.get(&(from - 1))?;
        let (mut bytes, mut next) = (0, from);
        let mut entries = Vec::new();
        for (index, entry) in self.log.range(from..=through) {
            bytes += entry.payload.len() as u64;
            if *index != next || (bytes > bytes_max && !entries.is_empty()) {
                break;
            }
            entries.push(entry.clone());
            next += 1;
        }
        (!entries.is_empty()).then_some((before.term, entries))
    }

    pub fn add(&mut self, checkpoint: Checkpoint, keep_entries: u64) {
        let first = (checkpoint.applied + 1).saturating_sub(keep_entries);
        self.log = self.log.split_off(&first);
        self.checkpoints.push(checkpoint);
        let surplus = self.checkpoints.len().saturating_sub(2);
        self.checkpoints.drain(..surplus);
    }

    pub fn install(&mut self, checkpoint: Checkpoint) {
        self.log.clear();
        self.checkpoints = vec![checkpoint];
    }

    pub fn restored(&self) -> Restored {
        let newest = self.newest();
        Restored {
            hard_state: self.hard_state,
            applied: newest.applied,
            applied_term: newest.term,
            entries: self.log.values().cloned().collect(),
            membership: newest.membership.clone(),
        }
    }
}

/// Not a good hash, but one that any change of any byte changes.
pub fn digest_of(before: u64, index: u64, term: u64, payload: &[u8]) -> u64 {
    let numbers = index.to_be_bytes().into_iter().chain(term.to_be_bytes());
    numbers
        .chain(payload.iter().copied())
        .fold(before, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3).rotate_left(5))
}
