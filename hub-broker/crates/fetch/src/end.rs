//! Where a partition ends, whichever hub leads it.

use metadata::Principal;
use schemas::{NodeId, Offset, PartitionId};

use crate::Fetch;
use crate::error::{EndError, PartitionError};
use crate::limits::REMOTE_WAIT_MS;
use crate::locate::{led, shard_of};
use crate::remote::{self, Ask};

impl Fetch {
    /// Everything that was acknowledged before the call lies before the offset that this returns. It is the leader's
    /// word, also where this hub has a replica: that may be behind.
    ///
    /// # Errors
    /// The leader is not known, cannot be reached or is being replaced. Except for a partition that is not there, a
    /// retry helps.
    pub async fn end(&self, _principal: &Principal, partition: PartitionId) -> Result<Offset, EndError> {
        let metadata = &self.inner.metadata;
        let (shard, shards) = (shard_of(metadata, partition)?, metadata.shards());
        let mut leadership = shards.leadership();
        leadership.mark_unchanged();
        if shards.is_serving(shard).is_some() {
            return Ok(led(metadata, shard, partition).await?.high_watermark());
        }
        let leader = shards.leader(shard).map(|leader| leader.node);
        let there = leader.filter(|node| *node != shards.identity().node);
        let Some(node) = there else { return Err(PartitionError::NotLeader { leader }.into()) };
        tokio::select! {
            told = self.end_there(node, partition) => told,
            // Whoever was asked may not lead any more, and may be silent for long.
            _ = leadership.changed() => Err(PartitionError::NotLeader { leader: None }.into()),
        }
    }

    async fn end_there(&self, node: NodeId, partition: PartitionId) -> Result<Offset, EndError> {
        let peers = self.inner.metadata.shards().peers();
        let ask = Ask { partition, from: None, bytes_max: 0, wait_ms: REMOTE_WAIT_MS };
        match remote::ask(peers, node, ask).await {
            Ok(answer) => Ok(answer.next),
            Err(error) => Err(EndError::NoAnswer { node, why: error.to_string() }),
        }
    }
}
