//! A snapshot that has been copied and waits to take a state's place.

use std::collections::BTreeMap;

use bytes::Bytes;
use checkpoint::{Key, Position};
use partition_log::PartitionLog;

/// A snapshot whose files are here, verified and durable, and in no manifest yet. Dropped, its files stay for the
/// next attempt.
pub(crate) struct Arrived {
    pub generation: u32,
    pub position: Position,
    pub last_stamp_ms: i64,
    pub states: BTreeMap<Key, Bytes>,
    pub machine: ArrivedMachine,
}

/// What the group's machine becomes once the snapshot is installed.
pub(crate) enum ArrivedMachine {
    /// For `StateMachine::restore`.
    Metadata(Bytes),
    /// For `PartitionSet::replace`.
    Partitions(Vec<PartitionLog>),
}
