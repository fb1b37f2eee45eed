//! What is under way, partition by partition: a state machine with no clock, no socket and no Kafka inside.
//!
//! A partition has at most one batch at its sink; what arrives meanwhile waits and becomes the next batch, so
//! batches grow by themselves when a sink is slow. A partition that holds too much is paused until its sink has
//! caught up; others go on.

use std::collections::BTreeMap;

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
}

impl Flow {
    pub fn new(limits: Limits) -> Self {
        Self { limits, lanes: BTreeMap::new() }
    }

    /// A partition is ours from now on; its sink already has everything below `from`.
    pub fn assigned(&mut self, partition: Partition, from: i64) {
        self.lanes.insert(partition, Lane { from, ..Lane::default() });
    }

    /// A partition is no longer ours; what waits belongs to its next owner.
    pub fn revoked(&mut self, partition: &Partition) {
        self.lanes.remove(partition);
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
            let batch = Batch { partition: partition.clone(), records };
            lane.under_way = Some(batch.last_offset() + 1);
            ready.push(batch);
        }
        ready
    }

    /// The sink has the partition's batch; answers whether a paused partition goes on.
    pub fn stored(&mut self, partition: &Partition) -> bool {
        let Some(lane) = self.lanes.get_mut(partition) else { return false };
        lane.done = lane.under_way.take().max(lane.done);
        let resume = lane.paused && lane.waiting_bytes <= self.limits.partition_bytes_max / 2;
        lane.paused &= !resume;
        resume
    }

    /// The sink did not take the partition's batch, and will not be asked again by this owner.
    pub fn given_up(&mut self, partition: &Partition) {
        if let Some(lane) = self.lanes.get_mut(partition) {
            lane.under_way = None;
        }
    }

    /// What can be committed and has not been: the offset to go on from.
    pub fn take_committable(&mut self) -> Vec<(Partition, i64)> {
        let take = |(partition, lane): (&Partition, &mut Lane)| Some((partition.clone(), lane.done.take()?));
        self.lanes.iter_mut().filter_map(take).collect()
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

    #[test]
    fn one_batch_a_partition_is_under_way_and_the_rest_waits() {
        let mut flow = flow();
        (0..5).for_each(|offset| assert_eq!(flow.received(&partition(0), record(offset)), offset == 4));
        assert_eq!(offsets(&flow.ready()), [[0, 1, 2]]);
        assert!(flow.ready().is_empty() && !flow.is_idle());
        assert!(flow.take_committable().is_empty(), "nothing is stored yet");
        assert!(flow.stored(&partition(0)), "it was paused and goes on");
        assert_eq!(flow.take_committable(), [(partition(0), 3)]);
        assert_eq!(offsets(&flow.ready()), [[3, 4]]);
    }

    #[test]
    fn a_slow_partition_does_not_hold_up_another() {
        let mut flow = flow();
        flow.received(&partition(0), record(0));
        assert_eq!(flow.ready().len(), 1);
        flow.received(&partition(1), record(7));
        assert_eq!(offsets(&flow.ready()), [[7]]);
        flow.stored(&partition(1));
        assert_eq!(flow.take_committable(), [(partition(1), 8)]);
    }

    #[test]
    fn what_the_sink_had_before_is_committed_and_not_written_again() {
        let mut flow = flow();
        flow.assigned(partition(0), 5);
        (3..7).for_each(|offset| {
            flow.received(&partition(0), record(offset));
        });
        assert_eq!(flow.take_committable(), [(partition(0), 5)]);
        assert_eq!(offsets(&flow.ready()), [[5, 6]]);
    }

    #[test]
    fn a_revoked_partition_commits_nothing_more() {
        let mut flow = flow();
        flow.received(&partition(0), record(0));
        flow.ready();
        flow.revoked(&partition(0));
        assert!(!flow.stored(&partition(0)));
        assert!(flow.take_committable().is_empty() && flow.is_idle());
    }
}
