//! Readers that follow a partition from its start, at one replica and then at another.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use schemas::{NodeId, Offset};
use shards::PartitionReader;

use crate::invariants::{Stored, Violation, read};
use crate::plan;
use crate::question::Question;

pub struct Consumer {
    pub partition: i32,
    pub node: NodeId,
    pub position: Offset,
    /// Whether the partition ends before its position.
    pub question: Question,
}

impl Consumer {
    pub fn new(partition: i32, node: NodeId) -> Self {
        Self {
            partition: partition % plan::COMPACTED_PARTITION,
            node,
            position: Offset(0),
            question: Question::default(),
        }
    }

    /// Now and then it turns to another hub.
    pub fn choose(&mut self, nodes: &[NodeId], random: &mut StdRng) -> NodeId {
        if random.gen_bool(0.3) {
            self.node = *nodes.choose(random).unwrap_or(&self.node);
        }
        self.node
    }

    /// Reads on; `None` if the replica ends before its position, which a follower may, and a leader until it has asked
    /// a majority. Where the replica is known to be damaged, what is whole is read.
    pub fn poll(
        &mut self,
        reader: &PartitionReader,
        is_damaged: bool,
    ) -> Result<Option<Vec<Stored>>, Violation> {
        if reader.high_watermark() < self.position {
            return Ok(None);
        }
        // What was let go is passed over, and a batch may be let go in part.
        self.position = self.position.max(reader.log_start());
        let (batches, _) = read(reader, self.position, is_damaged)?;
        for batch in &batches {
            let is_next = batch.base_offset <= self.position.0 && self.position.0 <= batch.last_offset;
            if !is_next || (batch.base_offset < self.position.0 && self.position != reader.log_start()) {
                return Err(Violation::Vanished(format!(
                    "partition {}: {} was to be read on hub {}, not {batch:?}",
                    self.partition, self.position, self.node
                )));
            }
            self.position = Offset(batch.last_offset + 1);
        }
        Ok(Some(batches))
    }
}
