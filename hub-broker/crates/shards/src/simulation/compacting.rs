//! Compaction on a simulated hub, in one step.

use partition_log::CompactOptions;
use schemas::{PartitionId, ShardId};
use tokio::sync::oneshot;

use super::disk::files;
use super::hub::Hub;
use crate::message::Message;

impl Hub {
    /// Rewrites the closed segments of the hub's replica with the last record of each key. False if there is nothing to
    /// do, or no room, or the segments cannot be read.
    pub fn compact(&mut self, shard: ShardId, partition: PartitionId, tombstone_retention_ms: i64) -> bool {
        let options = CompactOptions { stamp_ms: self.now_ms(), tombstone_retention_ms };
        let slot = usize::from(shard.0) + 1;
        let (reply, mut told) = oneshot::channel();
        self.core.handle(Message::Compaction { slot, partition, options, reply });
        let Ok(Ok(Some(compaction))) = told.try_recv() else { return false };
        if self.is_full {
            return false;
        }
        let before = files(&self.ground.log);
        let Ok(compacted) = compaction.run() else { return false };
        // A compaction syncs what it writes.
        let new = files(&self.ground.log).into_iter().filter(|path| !before.contains(path));
        new.for_each(|path| self.durable.note(&path));
        let (reply, _told) = oneshot::channel();
        self.core.handle(Message::Install { slot, partition, compacted, reply });
        true
    }
}
