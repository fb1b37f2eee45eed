//! A snapshot that has been copied and waits to take a state's place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use checkpoint::{Key, Position};
use partition_log::PartitionLog;

/// A snapshot whose files are here, durable, verified or known to be damaged, and in no manifest yet. Dropped, its files stay for the
/// next attempt.
pub(crate) struct Arrived {
    pub generation: u32,
    pub position: Position,
    pub last_stamp_ms: i64,
    pub states: BTreeMap<Key, Bytes>,
    pub machine: ArrivedMachine,
    /// Files of its partitions that are as damaged as those that they were copied from; the others are whole.
    pub damaged: Vec<PathBuf>,
}

/// What the group's machine becomes once the snapshot is installed.
pub(crate) enum ArrivedMachine {
    /// For `StateMachine::restore`.
    Metadata(Bytes),
    /// For `PartitionSet::replace`.
    Partitions(Vec<PartitionLog>),
}
