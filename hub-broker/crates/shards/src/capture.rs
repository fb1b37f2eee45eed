//! What a checkpoint of one group consists of, taken between two entries.

use std::path::PathBuf;

use bytes::Bytes;
use checkpoint::Position;
use partition_log::{DirtyFile, LogError, ObsoleteFiles, PartitionState};
use schemas::PartitionId;

use crate::group_state::GroupState;
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
    /// Files of segments that nobody is known to have whole.
    pub damaged: Vec<PathBuf>,
}

pub(crate) enum States {
    /// The machine's whole state.
    Metadata(Bytes),
    /// Every partition; with its state if that is another than at the last capture.
    Partitions(Vec<(PartitionId, Option<PartitionState>)>),
}

impl Captured {
    /// A partition is another than at the last capture.
    pub(crate) fn has_news(&self) -> bool {
        match &self.states {
            Some(States::Partitions(states)) => states.iter().any(|(_, state)| state.is_some()),
            Some(States::Metadata(_)) | None => false,
        }
    }
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
