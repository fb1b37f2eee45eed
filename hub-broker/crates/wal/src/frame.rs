//! What the log stores, as its users see it.

use bytes::Bytes;
use std::fmt;

/// A group that shares the log. Its meaning is the owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// Log sequence number: one per frame, without holes, across all groups and files. The first frame has 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One frame as it is handed to [`crate::Wal::write`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A log entry. Takes the place of the group's entries from `index` on, if there are any.
    Entry { group: GroupId, index: u64, term: u64, entry_kind: u8, payload: Bytes },
    /// Takes the place of the group's earlier hard state.
    HardState { group: GroupId, term: u64, vote: u64, commit: u64 },
    /// Removes the group's entries from `from_index` on.
    Truncate { group: GroupId, from_index: u64, term: u64 },
}

impl Frame {
    pub fn group(&self) -> GroupId {
        match self {
            Frame::Entry { group, .. } | Frame::HardState { group, .. } | Frame::Truncate { group, .. } => {
                *group
            }
        }
    }
}

/// An entry as recovery returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub index: u64,
    pub term: u64,
    pub entry_kind: u8,
    pub payload: Bytes,
}

/// A group's last hard state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    pub term: u64,
    pub vote: u64,
    pub commit: u64,
}
