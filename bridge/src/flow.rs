//! What is under way, partition by partition: a state machine with no clock, no socket and no Kafka inside.
//!
//! A partition has at most one batch at its sink; what arrives meanwhile waits and becomes the next batch, so
//! batches grow by themselves when a sink is slow. A partition that holds too much is paused until its sink has
//! caught up; others go on.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::{Batch, Carried, Partition};

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Records of one batch.
    pub batch_records_max: usize,
    /// A partition that holds more than this is paused.
    pub partition_bytes_max: usize,
}

#[derive(Default)]
struct Lane {
    /// Which of the partition's assignments this is; what belongs to an earlier one changes nothing here.
    life: u64,
    waiting: Vec<Carried>,
    waiting_bytes: usize,
    /// The offset behind the batch at the sink.
    under_way: Option<i64>,
    paused: bool,
    /// The offset behind what the sink has, not yet committed.
    done: Option<i64>,
    /// What the sink had before: nothing below this is given to it again.
    from: i64,
}

/// All partitions that this consumer has been given.
pub struct Flow {
    limits: Limits,
    lanes: BTreeMap<Partition, Lane>,
    /// Batches still at their sink whose partition was given up meanwhile.
    strays: BTreeSet<(Partition, u64)>,
    lives: u64,
}

impl Flow {
    pub fn new(limits: Limits) -> Self {
        Self { limits, lanes: BTreeMap::new(), strays: BTreeSet::new(), lives: 0 }
    }

    /// A partition is ours from now on; its sink already has everything below `from`.
    pub fn assigned(&mut self, partition: Partition, from: i64) {
        self.revoked(&partition);
        self.lives += 1;
        self.lanes.insert(partition, Lane { life: self.lives, from, ..Lane::default() });
    }

    /// A partition is no longer ours; what waits belongs to its next owner.
    pub fn revoked(&mut self, partition: &Partition) {
        if let Some(lane) = self.lanes.remove(partition)
            && lane.under_way.is_some()
        {
            self.strays.insert((partition.clone(), lane.life));
        }
    }

    /// Whether a batch may still be offered to its sink: its partition was not given up since.
    pub fn is_current(&self, partition: &Partition, life: u64) -> bool {
        self.lanes.get(partition).is_some_and(|lane| lane.life == life)
    }

    /// Whether a batch of an earlier assignment is still at the partition's sink.
    pub fn has_stray(&self, partition: &Partition) -> bool {
        self.strays.iter().any(|(stray, _)| stray == partition)
    }

    /// Takes a record; answers whether its partition shall be paused now.
    pub fn received(&mut self, partition: &Partition, record: Carried) -> bool {
        let Some(lane) = self.lanes.get_mut(partition) else { return false };
        if record.offset < lane.from {
            lane.done = lane.done.max(Some(record.offset + 1));
            return false;
        }
        lane.waiting_bytes += record.bytes;
        lane.waiting.push(record);
        let pause = !lane.paused && lane.waiting_bytes > self.limits.partition_bytes_max;
        lane.paused |= pause;
        pause
    }

    /// The batches that can go to their sinks now.
    pub fn ready(&mut self) -> Vec<Batch> {
        let most = self.limits.batch_records_max;
        let mut ready = Vec::new();
        for (partition, lane) in &mut self.lanes {
            if lane.under_way.is_some() || lane.waiting.is_empty() {
                continue;
            }
            let rest = lane.waiting.split_off(lane.waiting.len().min(most));
            let records = std::mem::replace(&mut lane.waiting, rest);
            lane.waiting_bytes = lane.waiting.iter().map(|record| record.bytes).sum();
            let batch = Batch { partition: partition.clone(), life: lane.life, records };
            lane.under_way = Some(batch.last_offset() + 1);
            ready.push(batch);
        }
        ready
    }

    /// The sink has the partition's batch; answers whether a paused partition goes on.
    pub fn stored(&mut self, partition: &Partition, life: u64) -> bool {
        let resume_below = self.limits.partition_bytes_max / 2;
        let Some(lane) = self.ended(partition, life) else { return false };
        lane.done = lane.under_way.take().max(lane.done);
        let resume = lane.paused && lane.waiting_bytes <= resume_below;
        lane.paused &= !resume;
        resume
    }

    /// The sink did not take the partition's batch, and will not be asked again by this owner.
    pub fn given_up(&mut self, partition: &Partition, life: u64) {
        if let Some(lane) = self.ended(partition, life) {
            lane.under_way = None;
        }
    }

    /// What can be committed and has not been: the offset to go on from.
    pub fn committable(&self) -> Vec<(Partition, i64)> {
        let done = |(partition, lane): (&Partition, &Lane)| Some((partition.clone(), lane.done?));
        self.lanes.iter().filter_map(done).collect()
    }

    /// These offsets are committed; what was done since is not.
    pub fn committed(&mut self, offsets: &[(Partition, i64)]) {
        for (partition, offset) in offsets {
            if let Some(lane) = self.lanes.get_mut(partition) {
                lane.done = lane.done.filter(|done| done > offset);
            }
        }
    }

    /// The lane of a batch that has ended; none where it belonged to an earlier assignment.
    fn ended(&mut self, partition: &Partition, life: u64) -> Option<&mut Lane> {
        self.strays.remove(&(partition.clone(), life));
        self.lanes.get_mut(partition).filter(|lane| lane.life == life)
    }

    /// Whether nothing is at a sink.
    pub fn is_idle(&self) -> bool {
        self.lanes.values().all(|lane| lane.under_way.is_none())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemas::{Content, DecodedRecord};

    use super::*;

    const BYTES: usize = 100;

    fn partition(index: i32) -> Partition {
        Partition { topic: "t".into(), index }
    }

    fn record(offset: i64) -> Carried {
        let decoded = DecodedRecord {
            device: None,
            timestamp_ms: 0,
            content: Content::Measurements(vec![]),
            tags: BTreeMap::new(),
            untimed: false,
            untimed_since_boot: None,
            stream_start: None,
        };
        Carried { offset, timestamp_ms: 0, key: None, decoded, bytes: BYTES }
    }

    fn flow() -> Flow {
        let mut flow = Flow::new(Limits { batch_records_max: 3, partition_bytes_max: 4 * BYTES });
        flow.assigned(partition(0), 0);
        flow.assigned(partition(1), 0);
        flow
    }

    fn offsets(batches: &[Batch]) -> Vec<Vec<i64>> {
        batches.iter().map(|batch| batch.records.iter().map(|record| record.offset).collect()).collect()
    }

    /// Offers what is ready and has the sink take all of it.
    fn store_all(flow: &mut Flow) {
        for batch in flow.ready() {
            flow.stored(&batch.partition, batch.life);
        }
    }

    #[test]
    fn one_batch_a_partition_is_under_way_and_the_rest_waits() {
        let mut flow = flow();
        (0..5).for_each(|offset| assert_eq!(flow.received(&partition(0), record(offset)), offset == 4));
        let batches = flow.ready();
        assert_eq!(offsets(&batches), [[0, 1, 2]]);
        assert!(flow.ready().is_empty() && !flow.is_idle());
        assert!(flow.committable().is_empty(), "nothing is stored yet");
        assert!(flow.stored(&partition(0), batches[0].life), "it was paused and goes on");
        assert_eq!(flow.committable(), [(partition(0), 3)]);
        assert_eq!(offsets(&flow.ready()), [[3, 4]]);
    }

    #[test]
    fn a_slow_partition_does_not_hold_up_another() {
        let mut flow = flow();
        flow.received(&partition(0), record(0));
        assert_eq!(flow.ready().len(), 1);
        flow.received(&partition(1), record(7));
        store_all(&mut flow);
        assert_eq!(flow.committable(), [(partition(1), 8)]);
    }

    #[test]
    fn what_the_sink_had_before_is_committed_and_not_written_again() {
        let mut flow = flow();
        flow.assigned(partition(0), 5);
        (3..7).for_each(|offset| {
            flow.received(&partition(0), record(offset));
        });
        assert_eq!(flow.committable(), [(partition(0), 5)]);
        assert_eq!(offsets(&flow.ready()), [[5, 6]]);
    }

    #[test]
    fn a_commit_that_failed_is_offered_again_and_one_that_came_through_is_not() {
        let mut flow = flow();
        flow.received(&partition(0), record(0));
        store_all(&mut flow);
        let offered = flow.committable();
        assert_eq!(flow.committable(), offered, "nobody said that it came through");
        flow.received(&partition(0), record(1));
        store_all(&mut flow);
        flow.committed(&offered);
        assert_eq!(flow.committable(), [(partition(0), 2)], "what was stored meanwhile is still to come");
        flow.committed(&[(partition(0), 2)]);
        assert!(flow.committable().is_empty());
    }

    #[test]
    fn a_revoked_partition_commits_nothing_more() {
        let mut flow = flow();
        flow.received(&partition(0), record(0));
        let batches = flow.ready();
        flow.revoked(&partition(0));
        assert!(!flow.is_current(&partition(0), batches[0].life) && flow.has_stray(&partition(0)));
        assert!(!flow.stored(&partition(0), batches[0].life));
        assert!(flow.committable().is_empty() && flow.is_idle() && !flow.has_stray(&partition(0)));
    }

    #[test]
    fn a_batch_of_an_earlier_assignment_does_not_pass_for_the_new_one_s() {
        let mut flow = flow();
        flow.received(&partition(0), record(0));
        let old = flow.ready();
        flow.revoked(&partition(0));
        flow.assigned(partition(0), 0);
        (0..3).for_each(|offset| {
            flow.received(&partition(0), record(offset));
        });
        let new = flow.ready();
        flow.stored(&partition(0), old[0].life);
        assert!(flow.committable().is_empty(), "the new batch is still at the sink");
        flow.stored(&partition(0), new[0].life);
        assert_eq!(flow.committable(), [(partition(0), 3)]);
    }
}
