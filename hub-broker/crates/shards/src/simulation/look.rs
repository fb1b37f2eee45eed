//! What a simulated hub's groups have come to, for comparison with other hubs'.

use std::path::Path;

use consensus::ReplicaId;
use partition_log::{PartitionReader, PartitionState};
use schemas::{PartitionId, Term};
use tokio::sync::oneshot;

use super::hub::Hub;
use crate::group::{Group, Machine};
use crate::message::Message;
use crate::{GroupStatus, Leader};

/// Checksums over a group's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of all that does not depend on the segments that it lies in.
    pub contents: u32,
    /// Of the segments, too.
    pub segments: u32,
}

impl Hub {
    pub fn status(&mut self) -> Vec<GroupStatus> {
        let (reply, mut told) = oneshot::channel();
        self.core.handle(Message::Status { reply });
        told.try_recv().unwrap_or_default()
    }

    /// The term in which this hub serves the group.
    pub fn serving(&self, group: u32) -> Option<Term> {
        self.leaders.serving(group)
    }

    pub fn leader(&self, group: u32) -> Option<Leader> {
        self.leaders.leader(group)
    }

    pub fn partition(&self, id: PartitionId) -> Option<PartitionReader> {
        self.ground.readers.get(id)
    }

    /// Replicas that this hub has given up and that were not replaced.
    pub fn given_up(&self) -> Vec<(u32, ReplicaId)> {
        self.replicas.lost().borrow().clone()
    }

    /// Whether readers are told that nobody has this file of the group whole.
    pub fn is_lost(&self, group: u32, file: &Path) -> bool {
        self.leaders.is_lost(group, file)
    }

    /// The last entry that the group's replica here has applied.
    pub fn applied(&self, group: u32) -> Option<u64> {
        self.group(group).map(|group| group.applied.0)
    }

    /// The stamp of the last entry that the group's replica here has applied or proposed.
    pub fn last_stamp_ms(&self, group: u32) -> Option<i64> {
        self.group(group).map(|group| group.last_stamp_ms).filter(|stamp_ms| *stamp_ms != i64::MIN)
    }

    /// The hub's wall clock is not believed.
    pub fn is_clock_held(&self) -> bool {
        self.clock.is_held()
    }

    /// Sums up the group's state; `None` while an entry is half applied. Which segments a partition that is compacted
    /// has is each replica's own affair.
    pub fn fingerprint(&self, group: u32, is_compacted: impl Fn(PartitionId) -> bool) -> Option<Fingerprint> {
        let group = self.group(group).filter(|group| group.is_between_entries())?;
        match &group.machine {
            Machine::Metadata(machine) => {
                let sum = crc32c::crc32c(&machine.snapshot());
                Some(Fingerprint { contents: sum, segments: 0 })
            }
            Machine::Partitions(partitions) => {
                let mut states: Vec<_> = partitions.iter().map(|partition| partition.log.state()).collect();
                states.sort_by_key(|state| state.id);
                let summed = |sum, state: &PartitionState| crc32c::crc32c_append(sum, &state.encode());
                let segments = states.iter().filter(|state| !is_compacted(state.id)).fold(0, summed);
                for state in &mut states {
                    state.next_segment_id = 0;
                    state.segments.clear();
                }
                Some(Fingerprint { contents: states.iter().fold(0, summed), segments })
            }
        }
    }

    /// Counts the snapshots that took the place of the replica's state.
    pub fn generation(&self, group: u32) -> Option<u32> {
        self.group(group).map(|group| group.origin.generation)
    }

    /// The hub's own time.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    pub(super) fn group(&self, group: u32) -> Option<&Group> {
        self.core.groups().find(|known| known.id.0 == group)
    }
}
