//! What opening a log finds in it.

use crate::frame::{Entry, GroupId, HardState, Lsn};
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
    /// Ascending and without holes above both what was released and `Config::replay_after`.
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
