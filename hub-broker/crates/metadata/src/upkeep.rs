//! What partitions need from time to time: retention, rolling and producer expiry are proposed to the partition's shard
//! by the hub that leads it; compaction is each replica's own affair. When something is due is decided by [`schedule`],
//! which knows no clock.

mod schedule;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use schemas::{PartitionId, ShardId};
use shards::{CommandError, PartitionCommand, PartitionReader, Retention, Shards};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::config::CleanupPolicy;
use crate::options::Config;
use crate::topic::Topic;
use crate::view::ViewSource;
use schedule::{Compacting, Entries, Observed};

pub(crate) struct Upkeep {
    shards: Shards,
    views: ViewSource,
    config: Config,
    started: Instant,
}

impl Upkeep {
    pub(crate) fn new(shards: &Shards, views: &ViewSource, config: &Config) -> Self {
        let (shards, views, config) = (shards.clone(), views.clone(), config.clone());
        Self { shards, views, config, started: Instant::now() }
    }

    pub(crate) async fn run(self) {
        tokio::join!(self.look_after_entries(), self.look_after_compaction());
    }

    /// Retention, rolling and producer expiry.
    async fn look_after_entries(&self) {
        let mut known: HashMap<PartitionId, Entries> = HashMap::new();
        let mut ticks = ticks(self.config.retention_interval);
        loop {
            ticks.tick().await;
            let mut seen = HashMap::with_capacity(known.len());
            for (topic, shard, reader) in
                self.partitions().into_iter().filter(|(_, shard, _)| self.leads(*shard))
            {
                let observed = self.observe(&reader);
                let mut entries =
                    known.remove(&reader.id()).unwrap_or_else(|| Entries::first_seen(&observed));
                self.entries(&topic, shard, &reader, &observed, &mut entries).await;
                seen.insert(reader.id(), entries);
            }
            known = seen;
        }
    }

    async fn entries(
        &self,
        topic: &Topic,
        shard: ShardId,
        reader: &PartitionReader,
        observed: &Observed,
        entries: &mut Entries,
    ) {
        let partition = reader.id();
        let expiration = self.config.producer_expiration;
        if entries.expiry_is_due(observed, expiration) {
            let after_ms = i64::try_from(expiration.as_millis()).unwrap_or(i64::MAX);
            let command = PartitionCommand::ExpireProducers { partition, after_ms };
            note(topic, partition, self.shards.command(shard, command).await);
        }
        if topic.config.cleanup_policy != CleanupPolicy::Delete {
            return;
        }
        if entries.roll_is_due(observed, topic.config.roll_after()) {
            let command = PartitionCommand::Roll { partition };
            note(topic, partition, self.shards.command(shard, command).await);
        }
        let retention = Retention { ms: topic.config.retention_ms, bytes: topic.config.retention_bytes };
        let is_empty = reader.log_start() >= reader.high_watermark();
        if retention == Retention::default() || is_empty {
            return;
        }
        match self.shards.enforce_retention(shard, partition, retention).await {
            Ok(Some(start)) => {
                tracing::info!(topic = %topic.name, partition = %partition.index, %start, "records went by retention");
            }
            result => note(topic, partition, result.map(|_| ())),
        }
    }

    async fn look_after_compaction(&self) {
        let mut known: HashMap<PartitionId, Compacting> = HashMap::new();
        let mut ticks = ticks(self.config.compaction_interval);
        loop {
            ticks.tick().await;
            let mut seen = HashMap::with_capacity(known.len());
            for (topic, shard, reader) in self.partitions() {
                if topic.config.cleanup_policy != CleanupPolicy::Compact {
                    continue;
                }
                let partition = reader.id();
                let mut compacting = known.remove(&partition).unwrap_or_default();
                if compacting.is_due(reader.size_bytes()) {
                    note(topic.as_ref(), partition, self.compact(shard, partition).await);
                    compacting.done(reader.size_bytes());
                }
                seen.insert(partition, compacting);
            }
            known = seen;
        }
    }

    async fn compact(&self, shard: ShardId, partition: PartitionId) -> Result<(), CommandError> {
        if self.leads(shard) {
            self.shards.command(shard, PartitionCommand::Roll { partition }).await?;
        }
        self.shards.compact(shard, partition).await
    }

    fn leads(&self, shard: ShardId) -> bool {
        self.shards.is_serving(shard).is_some()
    }

    /// The partitions that are open here, of all topics in turn.
    fn partitions(&self) -> Vec<(Arc<Topic>, ShardId, PartitionReader)> {
        let view = self.views.load();
        let placed =
            view.topics().flat_map(|topic| topic.placed().map(move |(id, shard)| (topic, id, shard)));
        placed
            .filter_map(|(topic, id, shard)| Some((topic.clone(), shard, self.shards.partition(id)?)))
            .collect()
    }

    fn observe(&self, reader: &PartitionReader) -> Observed {
        Observed {
            uptime: self.started.elapsed(),
            log_start: reader.log_start(),
            high_watermark: reader.high_watermark(),
        }
    }
}

/// The first tick comes after the first period: a hub that starts has better things to do.
fn ticks(period: Duration) -> Interval {
    let period = period.max(Duration::from_millis(1));
    let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What failed is due again at the next tick.
fn note(topic: &Topic, partition: PartitionId, result: Result<(), CommandError>) {
    match result {
        // Deleted or led elsewhere since this pass began, or stopping: none is news.
        Ok(())
        | Err(CommandError::UnknownPartition | CommandError::NotLeader { .. } | CommandError::Stopping) => {}
        Err(error) => {
            tracing::warn!(topic = %topic.name, partition = %partition.index, %error, "a partition's upkeep was put off");
        }
    }
}
