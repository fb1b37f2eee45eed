//! What a checkpoint of one group consists of, taken between two entries.

use std::path::PathBuf;

use bytes::{BufMut, Bytes};
use checkpoint::{Key, Position};
use partition_log::{DirtyFile, LogError, ObsoleteFiles, PartitionState};
use schemas::{PartitionId, PartitionIndex, TopicId};
use uuid::Uuid;

use crate::group::{Group, Machine};
pub(crate) use crate::group_state::{GroupState, StateOrigin};
use crate::partitions::PartitionSet;

/// A group as of its applied index.
pub(crate) struct Captured {
    pub position: Position,
    pub group: GroupState,
    /// `None` if the disk is too full even for what is held back, or too many files are open: then there is only something to sync and to
    /// remove, and the next capture brings the states.
    pub states: Option<States>,
    /// Written since the last capture, and to be synced before anything refers to it.
    pub dirty: Vec<DirtyFile>,
    /// Needed no more, once no manifest that is kept names them.
    pub obsolete: Vec<ObsoleteFiles>,
    pub closed: Vec<PathBuf>,
}

pub(crate) enum States {
    /// The machine's whole state.
    Metadata(Bytes),
    /// Every partition; with its state if that is another than at the last capture.
    Partitions(Vec<(PartitionId, Option<PartitionState>)>),
}

/// `None` if there is no news and none was asked for, or if an entry is half applied.
pub(crate) fn capture(group: &mut Group, force: bool) -> Option<Captured> {
    if !group.is_between_entries() || !(group.changed || force) {
        return None;
    }
    let mut captured = Captured {
        position: Position { applied: group.applied.0, term: group.applied.1, commit: group.commit() },
        group: GroupState {
            origin: group.origin,
            membership: group.membership.clone(),
            last_stamp_ms: group.last_stamp_ms,
            is_installed: false,
        },
        states: None,
        dirty: Vec::new(),
        obsolete: Vec::new(),
        closed: Vec::new(),
    };
    captured.states = match &mut group.machine {
        Machine::Metadata(machine) => Some(States::Metadata(machine.snapshot())),
        Machine::Partitions(partitions) => capture_partitions(partitions, &mut captured),
    };
    group.changed = captured.states.is_none();
    Some(captured)
}

pub(crate) fn capture_partitions(partitions: &mut PartitionSet, captured: &mut Captured) -> Option<States> {
    captured.closed = partitions.take_closed();
    for partition in partitions.iter_mut().filter(|partition| partition.changed) {
        match partition.log.take_dirty() {
            Ok(dirty) => captured.dirty.extend(dirty),
            Err(LogError::NoSpace { .. }) => return None,
            Err(error) => crate::fail::stop("a partition's log failed", &error),
        }
        captured.obsolete.extend(partition.log.take_obsolete());
    }
    let states = partitions.iter_mut().map(|partition| {
        let changed = std::mem::take(&mut partition.changed);
        (partition.log.id(), changed.then(|| partition.log.state()))
    });
    Some(States::Partitions(states.collect()))
}

/// The key of the metadata machine's snapshot.
pub(crate) fn metadata_key() -> Key {
    Key(Bytes::from_static(b"metadata"))
}

/// The key of a partition's state: its topic's UUID and its index, big-endian.
pub(crate) fn partition_key(id: PartitionId) -> Key {
    let mut bytes = Vec::with_capacity(20);
    bytes.put_slice(id.topic.0.as_bytes());
    bytes.put_i32(id.index.0);
    Key(Bytes::from(bytes))
}

/// The partition that a key names.
pub(crate) fn key_partition(key: &Key) -> Option<PartitionId> {
    let (topic, index) = key.0.split_at_checked(16)?;
    let index = i32::from_be_bytes(index.try_into().ok()?);
    Some(PartitionId { topic: TopicId(Uuid::from_slice(topic).ok()?), index: PartitionIndex(index) })
}

#[cfg(test)]
mod tests;
