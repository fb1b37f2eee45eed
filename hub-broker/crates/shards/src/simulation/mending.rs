//! Bytes that change on a simulated hub's disk, and segments that are made again from other hubs'.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use consensus::ReplicaId;
use schemas::{PartitionId, ShardId};

use super::hub::Hub;
use crate::group::Machine;
use crate::limits::SCRUB_STEP_BYTES;
use crate::mend::wire::Range;
use crate::mend::{Damaged, Given, Mended, answer, mend};
use crate::message::Message;
use crate::partitions::generation_directory;

/// A damaged segment that is to be made again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentDamaged(pub(super) Damaged);

impl Hub {
    /// The segments that the hub's replicas want made again.
    pub fn take_damaged(&mut self) -> Vec<SegmentDamaged> {
        std::mem::take(&mut self.damaged)
    }

    /// Makes one again from what these hubs have, or finds out that it cannot. It takes no time.
    pub fn mend(&mut self, damaged: SegmentDamaged, others: &[&Self]) {
        let SegmentDamaged(damaged) = damaged;
        let mut is_asked_for = false;
        let mut ask = |of: ReplicaId, range: Range| {
            is_asked_for = true;
            let Some(other) = others.iter().find(|other| other.node.0 == of.node()) else {
                return Given::NoAnswer;
            };
            answer(&other.ground.readers, range.encode()).map_or(Given::Nothing, Given::Batches)
        };
        let outcome = match self.ground.readers.get(damaged.partition) {
            Some(_) if self.is_full => Mended::Awaited,
            Some(reader) => mend(&damaged, &reader, &mut |_| true, &mut ask),
            None => Mended::Whole,
        };
        if outcome == Mended::Whole && is_asked_for {
            self.durable.note(&damaged.file);
        }
        self.core.handle(Message::Mended { slot: damaged.group as usize, file: damaged.file, outcome });
    }

    /// Reads all of a partition through, as the scrub does in its time.
    pub fn scrub(&self, partition: PartitionId) {
        let Some(reader) = self.partition(partition) else { return };
        let mut next = Some(reader.log_start());
        while let Some(from) = next {
            // What is damaged is told by the reader.
            let step = reader.scrub(from, SCRUB_STEP_BYTES).ok();
            next = step.and_then(|step| step.next).filter(|next| *next > from);
        }
    }

    /// Whether all of the partition that is here can be read.
    pub fn is_sound(&self, partition: PartitionId) -> bool {
        let Some(reader) = self.partition(partition) else { return true };
        let mut next = reader.log_start();
        while next < reader.high_watermark() {
            match reader.scrub(next, SCRUB_STEP_BYTES) {
                Ok(step) if step.damage.is_some() => return false,
                Ok(step) => next = step.next.unwrap_or(reader.high_watermark()),
                Err(_) => return false,
            }
        }
        true
    }

    /// A byte of a segment changes on the disk: `pick` draws which, below a bound. False if there is none.
    pub fn rot(
        &mut self,
        (shard, partition): (ShardId, PartitionId),
        pick: &mut dyn FnMut(u64) -> u64,
    ) -> bool {
        let files = self.segments(u32::from(shard.0) + 1, partition);
        let Some(at) = (files.len() as u64).checked_sub(1).map(|last| pick(last + 1)) else { return false };
        let Some((path, bytes)) = usize::try_from(at).ok().and_then(|at| files.get(at)) else { return false };
        let position = pick(u64::from(*bytes));
        let file = File::options().read(true).write(true).open(path).expect("a segment's file is there");
        let mut byte = [0];
        file.read_exact_at(&mut byte, position).expect("it is as long as its state says");
        file.write_all_at(&[byte[0] ^ 1], position).expect("a byte can be changed");
        true
    }

    /// The files of a partition's segments that have any, and how many bytes of each are in use.
    fn segments(&self, group: u32, partition: PartitionId) -> Vec<(PathBuf, u32)> {
        let Some(group) = self.group(group).filter(|group| group.is_between_entries()) else {
            return Vec::new();
        };
        let Machine::Partitions(partitions) = &group.machine else { return Vec::new() };
        let Some(open) = partitions.iter().find(|open| open.log.id() == partition) else { return Vec::new() };
        let directory = generation_directory(&self.ground.log, partition, group.origin.generation);
        let segments = open.log.state().segments.into_iter().filter(|segment| segment.bytes > 0);
        segments.map(|segment| (directory.join(segment.file_name()), segment.bytes)).collect()
    }
}
