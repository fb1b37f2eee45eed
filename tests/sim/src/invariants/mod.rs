//! What must hold at every moment, whatever goes wrong: one file each.

mod acknowledged;
mod agreement;
mod fresh_leader;
mod needless_loss;
mod nothing_vanishes;
mod one_leader;
mod watermark;

use std::collections::BTreeMap;

use schemas::{NodeId, Offset, RawBatch};
use shards::simulation::{Hub, ReplicaId};
use shards::{GroupStatus, PartitionReader};
use thiserror::Error;

use crate::client::Acknowledged;
use crate::plan;
use crate::question::Confirmed;

/// An invariant does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    #[error("an acknowledged batch is not in a later leader's log: {0}")]
    Acknowledged(String),
    #[error("two leaders in one term: {0}")]
    TwoLeaders(String),
    #[error("replicas differ after the same entry: {0}")]
    Disagreement(String),
    #[error("a record that was read is not there any more: {0}")]
    Vanished(String),
    #[error("a reader's high watermark went back: {0}")]
    WatermarkWentBack(String),
    #[error("a confirmed leader does not know what was acknowledged, or read: {0}")]
    StaleLeader(String),
    #[error("a replica was given up that nothing had happened to: {0}")]
    NeedlessLoss(String),
    #[error("a healed cluster does not come to rest: {0}")]
    NoRest(String),
    /// A hub refused to start or to answer as it must, or panicked: it noticed before the invariants did.
    #[error("a hub cannot go on: {0}")]
    Refused(String),
}

/// A batch in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    pub base_offset: i64,
    pub last_offset: i64,
    pub crc: u32,
    /// Producer and base sequence: no two batches that were sent have the same.
    pub sender: (i64, i32),
    /// The term in which it was stored.
    pub epoch: i32,
}

/// All invariants, and what they remember.
#[derive(Default)]
pub struct Invariants {
    acknowledged: acknowledged::Acknowledgements,
    agreement: agreement::Agreement,
    losses: needless_loss::Losses,
    seen: nothing_vanishes::Seen,
    leaders: one_leader::Leaders,
    watermarks: watermark::Watermarks,
}

impl Invariants {
    pub fn acknowledged(&mut self, batch: Acknowledged) -> Result<(), Violation> {
        self.acknowledged.add(batch)
    }

    /// How many batches were acknowledged.
    pub fn acknowledged_count(&self) -> usize {
        self.acknowledged.count()
    }

    /// Everything of the partition below this was acknowledged.
    pub fn acknowledged_end(&self, partition: i32) -> Offset {
        self.acknowledged.end(partition)
    }

    /// Somebody has read these.
    pub fn consumed(&mut self, partition: i32, batches: &[Stored], who: &str) -> Result<(), Violation> {
        batches.iter().try_for_each(|batch| self.seen.see(partition, *batch, who))
    }

    /// The replica was damaged on purpose.
    pub fn damaged(&mut self, group: u32, replica: ReplicaId) {
        self.losses.damaged(group, replica);
    }

    pub fn given_up(&self, group: u32, replica: ReplicaId) -> Result<(), Violation> {
        self.losses.look(group, replica)
    }

    /// A leader has confirmed its lead to somebody who knew of everything below `end` before.
    pub fn confirmed(
        &self,
        partition: i32,
        reader: &PartitionReader,
        it: Confirmed,
    ) -> Result<(), Violation> {
        fresh_leader::look(partition, reader, it)
    }

    /// Looks at one hub as it is now.
    pub fn look(&mut self, node: NodeId, hub: &mut Hub, statuses: &[GroupStatus]) -> Result<(), Violation> {
        self.leaders.look(statuses)?;
        for status in statuses.iter().filter(|status| status.own.is_some()) {
            self.agreement.look(node, status.group, hub)?;
        }
        for index in 0..plan::PARTITIONS {
            let Some(reader) = hub.partition(plan::partition(index)) else { continue };
            let group = plan::group(index);
            let own = statuses.iter().find(|status| status.group == group).and_then(|status| status.own);
            let Some(own) = own else { continue };
            let serving = hub.serving(group);
            if let Some(term) = serving {
                self.watermarks.look(index, &reader, term)?;
                self.acknowledged.look(index, &reader, node, term)?;
            }
            self.seen.look(index, &reader, own)?;
        }
        Ok(())
    }
}

/// The batches of a log from an offset on.
pub(crate) fn read(reader: &PartitionReader, from: Offset) -> Result<Vec<Stored>, Violation> {
    let mut found = Vec::new();
    let mut next = from.max(reader.log_start());
    let end = reader.high_watermark();
    while next < end {
        let at = next;
        let refused = |what: String| Violation::Refused(format!("{} at {at}: {what}", reader.id()));
        let mut bytes = reader.read(next, READ_BYTES).map_err(|error| refused(error.to_string()))?;
        while let Some(batch) =
            RawBatch::split_first(&mut bytes).map_err(|error| refused(error.to_string()))?
        {
            let header = batch.header();
            let (base_offset, last_offset) =
                (header.base_offset, header.base_offset + header.offset_span() - 1);
            let sender = (header.producer_id, header.base_sequence);
            let epoch = header.partition_leader_epoch;
            found.push(Stored { base_offset, last_offset, crc: header.crc, sender, epoch });
            next = Offset(last_offset + 1);
        }
    }
    Ok(found)
}

const READ_BYTES: usize = 1 << 20;

/// Batches by partition and base offset.
type Batches = BTreeMap<(i32, i64), Stored>;
