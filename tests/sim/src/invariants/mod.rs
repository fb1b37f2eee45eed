//! What must hold at every moment, whatever goes wrong: one file each.

mod acknowledged;
mod agreement;
mod fresh_leader;
mod goes_on;
mod needless_loss;
mod newest_value;
mod nothing_vanishes;
mod one_leader;
mod unnoticed;
mod watermark;

use std::collections::BTreeMap;

use schemas::{NodeId, Offset, RawBatch};
use shards::simulation::{Hub, ReadError, ReplicaId};
use shards::{GroupStatus, PartitionReader};
use thiserror::Error;

use crate::client::Acknowledged;
use crate::plan;
use crate::question::Confirmed;

pub use unnoticed::Alteration;

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
    #[error("the newest value of a key is not there any more: {0}")]
    NewestValue(String),
    #[error("bytes were changed, and that is not found: {0}")]
    Unnoticed(String),
    #[error("a hub does not go on although there is room again: {0}")]
    Stuck(String),
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
    newest: newest_value::Newest,
    unnoticed: unnoticed::Unnoticed,
    seen: nothing_vanishes::Seen,
    leaders: one_leader::Leaders,
    watermarks: watermark::Watermarks,
}

impl Invariants {
    pub fn acknowledged(&mut self, batch: Acknowledged) -> Result<(), Violation> {
        if batch.partition == plan::COMPACTED_PARTITION {
            self.newest.add(batch);
        }
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

    /// The replica's hub may have to give it up when it starts.
    pub fn doubtful(&mut self, group: u32, replica: ReplicaId) {
        self.losses.doubtful(group, replica);
    }

    /// The hub has started, and the replica is still there.
    pub fn sound(&mut self, group: u32, replica: ReplicaId) {
        self.losses.sound(group, replica);
    }

    /// Whether something has happened to the replica that it is to find.
    pub fn is_damaged(&self, group: u32, replica: ReplicaId) -> bool {
        self.losses.is_damaged(group, replica)
    }

    /// Something has happened to the replica that only others can find.
    pub fn altered(&mut self, alteration: Alteration) {
        self.losses.damaged(alteration.group, alteration.replica);
        self.unnoticed.altered(alteration);
    }

    /// What was altered and not found yet.
    pub fn alteration(&self) -> Option<Alteration> {
        self.unnoticed.now()
    }

    /// Whether what was altered is found, or the hub, if it is up, does not differ from the others at all.
    pub fn look_for_alteration(&mut self, now_ms: u64, hub: Option<&mut Hub>) -> Result<(), Violation> {
        self.unnoticed.look(now_ms, hub, &self.agreement)
    }

    /// The hub's disk has had room for a while.
    pub fn has_room(&self, node: NodeId, statuses: &[GroupStatus]) -> Result<(), Violation> {
        goes_on::look(node, statuses)
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
        let altered = self.alteration().map(|it| (it.group, it.replica));
        let is_altered = |group, own| altered == Some((group, own));
        for status in statuses {
            if status.own.is_some_and(|own| !is_altered(status.group, own)) {
                self.agreement.look(node, status.group, hub, self.losses.has_damage(status.group))?;
            }
        }
        for index in 0..plan::PARTITIONS {
            let Some(reader) = hub.partition(plan::partition(index)) else { continue };
            let group = plan::group(index);
            let own = statuses.iter().find(|status| status.group == group).and_then(|status| status.own);
            let Some(own) = own.filter(|own| !is_altered(group, *own)) else { continue };
            let (serving, is_damaged) = (hub.serving(group), self.is_damaged(group, own));
            if let Some(term) = serving {
                self.watermarks.look(index, &reader, term)?;
            }
            if index == plan::COMPACTED_PARTITION {
                self.newest.look(&reader, own, serving, is_damaged)?;
                continue;
            }
            if let Some(term) = serving {
                self.acknowledged.look(index, &reader, (node, term), is_damaged)?;
            }
            self.seen.look(index, &reader, own, is_damaged)?;
        }
        Ok(())
    }
}

impl Stored {
    fn of(batch: &RawBatch) -> Self {
        let header = batch.header();
        Self {
            base_offset: header.base_offset,
            last_offset: header.base_offset + header.offset_span() - 1,
            crc: header.crc,
            sender: (header.producer_id, header.base_sequence),
            epoch: header.partition_leader_epoch,
        }
    }
}

/// The batches of a log from an offset on, and how far they reach: to the end, or where the replica is known to be
/// damaged, to the first that cannot be read.
pub(crate) fn read(
    reader: &PartitionReader,
    from: Offset,
    is_damaged: bool,
) -> Result<(Vec<Stored>, Offset), Violation> {
    let (batches, read_to) = read_batches(reader, from, is_damaged)?;
    Ok((batches.iter().map(Stored::of).collect(), read_to))
}

fn read_batches(
    reader: &PartitionReader,
    from: Offset,
    is_damaged: bool,
) -> Result<(Vec<RawBatch>, Offset), Violation> {
    let mut found = Vec::new();
    let mut next = from.max(reader.log_start());
    let end = reader.high_watermark();
    while next < end {
        let at = next;
        let refused = |what: String| Violation::Refused(format!("{} at {at}: {what}", reader.id()));
        let mut bytes = match reader.read(next, READ_BYTES) {
            Ok(bytes) => bytes,
            Err(ReadError::Damaged(_)) if is_damaged => return Ok((found, next)),
            Err(error) => return Err(refused(error.to_string())),
        };
        if bytes.is_empty() {
            // Compaction has left nothing up to the end.
            break;
        }
        while let Some(batch) =
            RawBatch::split_first(&mut bytes).map_err(|error| refused(error.to_string()))?
        {
            next = Offset(batch.header().last_offset()).plus(1);
            found.push(batch);
        }
    }
    Ok((found, end))
}

const READ_BYTES: usize = 1 << 20;

/// Batches by partition and base offset.
type Batches = BTreeMap<(i32, i64), Stored>;
