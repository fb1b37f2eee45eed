//! What a checkpoint is to its owner.

use bytes::Bytes;
use std::{collections::BTreeMap, fmt};

/// Names one state within a checkpoint, at most 255 bytes. Its meaning is the owner's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Bytes);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where in the group's log a checkpoint stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Index of the last entry that the states contain.
    pub applied: u64,
    /// Term of that entry.
    pub term: u64,
    pub commit: u64,
}

/// What to write: every key that exists, whether its state has changed or not. A key that is left out is gone.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    pub position: Position,
    /// Opaque: members of the group, and whatever else belongs to the group as a whole.
    pub membership: Bytes,
    pub states: BTreeMap<Key, State>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Changed(Bytes),
    /// As in the last checkpoint of this store.
    Unchanged,
}

/// The newest checkpoint that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Counts the checkpoints of this store, from 1.
    pub sequence: u64,
    pub position: Position,
    pub membership: Bytes,
    pub states: BTreeMap<Key, Bytes>,
}

/// What a durable checkpoint allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub sequence: u64,
    /// Entries up to here are in both checkpoints that are kept: the write-ahead log may release them. 0 while there
    /// is only one.
    pub release_through: u64,
}
