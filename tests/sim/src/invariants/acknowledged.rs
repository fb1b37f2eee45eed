//! An acknowledged batch is in every later leader's log, at its offset, once.

use std::collections::BTreeMap;

use schemas::{NodeId, Offset, Term};
use shards::PartitionReader;

use super::{Batches, Stored, Violation, read};
use crate::client::Acknowledged;

#[derive(Default)]
pub(super) struct Acknowledgements {
    batches: Batches,
    /// Where each batch was stored: a second place is a second copy.
    places: BTreeMap<(i64, i32), i64>,
    /// Per partition, the newest leader's log that was gone through, and how far.
    checked: BTreeMap<(i32, NodeId, Term), Offset>,
}

impl Acknowledgements {
    pub fn add(&mut self, batch: Acknowledged) -> Result<(), Violation> {
        let Acknowledged { partition, base_offset, last_offset, crc, sender } = batch;
        let stored = Stored { base_offset, last_offset, crc, sender };
        let before = self.batches.insert((partition, base_offset), stored);
        match before {
            Some(before) if before != stored => Err(Violation::Acknowledged(format!(
                "partition {partition}: {before:?} and {stored:?} were both acknowledged"
            ))),
            _ => Ok(()),
        }
    }

    pub fn count(&self) -> usize {
        self.batches.len()
    }

    /// Goes through a serving leader's log: from its start when it is new, then what has come since.
    pub fn look(
        &mut self,
        partition: i32,
        reader: &PartitionReader,
        node: NodeId,
        term: Term,
    ) -> Result<(), Violation> {
        let from = self.checked.get(&(partition, node, term)).copied();
        let end = reader.high_watermark();
        if from == Some(end) {
            return Ok(());
        }
        if from.is_none() {
            self.look_for_all(partition, reader, node)?;
        }
        for stored in read(reader, from.unwrap_or(Offset(0)))? {
            let place = *self.places.entry(stored.sender).or_insert(stored.base_offset);
            if place != stored.base_offset {
                return Err(Violation::Acknowledged(format!(
                    "partition {partition}: a batch lies at {place} and at {}",
                    stored.base_offset
                )));
            }
        }
        self.checked.insert((partition, node, term), end);
        Ok(())
    }

    fn look_for_all(&self, partition: i32, reader: &PartitionReader, node: NodeId) -> Result<(), Violation> {
        let log: BTreeMap<i64, Stored> =
            read(reader, Offset(0))?.into_iter().map(|stored| (stored.base_offset, stored)).collect();
        let own = self.batches.range((partition, 0)..(partition + 1, 0));
        for (_, acknowledged) in own {
            let found = log.get(&acknowledged.base_offset);
            if found != Some(acknowledged) {
                return Err(Violation::Acknowledged(format!(
                    "partition {partition} on hub {node}: {acknowledged:?}, found {found:?}, end {}",
                    reader.high_watermark()
                )));
            }
        }
        Ok(())
    }
}
