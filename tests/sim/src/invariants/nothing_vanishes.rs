//! A record that a consumer has read, from any replica, is what every reader finds at its offset ever after.

use std::collections::BTreeMap;

use schemas::Offset;
use shards::PartitionReader;
use shards::simulation::ReplicaId;

use super::{Batches, Stored, Violation, read};

#[derive(Default)]
pub(super) struct Seen {
    batches: Batches,
    /// How far each replica's log was read.
    read: BTreeMap<(i32, ReplicaId), Offset>,
}

impl Seen {
    pub fn look(
        &mut self,
        partition: i32,
        reader: &PartitionReader,
        replica: ReplicaId,
        is_damaged: bool,
    ) -> Result<(), Violation> {
        let end = reader.high_watermark();
        let from = self.read.get(&(partition, replica)).copied().unwrap_or(Offset(0));
        // A replica that was restarted stands further back for a while: it is read again from there.
        let (batches, read_to) = read(reader, from.min(end), is_damaged)?;
        self.read.insert((partition, replica), read_to);
        for stored in batches {
            self.see(partition, stored, &format!("replica {replica}"))?;
        }
        Ok(())
    }

    /// Somebody has read this batch.
    pub fn see(&mut self, partition: i32, stored: Stored, who: &str) -> Result<(), Violation> {
        let before = *self.batches.entry((partition, stored.base_offset)).or_insert(stored);
        if before != stored {
            return Err(Violation::Vanished(format!(
                "partition {partition}, {who}: {before:?} was read, now {stored:?}"
            )));
        }
        Ok(())
    }
}
