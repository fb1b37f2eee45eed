//! An acknowledged batch is in every later leader's log, at its offset, once.

use std::collections::BTreeMap;

use schemas::{NodeId, Offset, Term};
use shards::PartitionReader;

use super::{Stored, Violation, read};
use crate::client::Acknowledged;

#[derive(Default)]
pub(super) struct Acknowledgements {
    batches: BTreeMap<(i32, i64), Acknowledged>,
    /// Where each batch was stored: a second place is a second copy.
    places: BTreeMap<(i64, i32), i64>,
    /// Per partition, the newest leader's log that was gone through, and how far.
    checked: BTreeMap<(i32, NodeId, Term), Offset>,
}

impl Acknowledgements {
    pub fn add(&mut self, batch: Acknowledged) -> Result<(), Violation> {
        let mut known = batch;
        if let Some(before) = self.batches.get(&(batch.partition, batch.base_offset)) {
            // Sent again, the term of the first time is not said.
            known.term = before.term.or(batch.term);
            if (Acknowledged { term: known.term, ..*before }) != known {
                return Err(Violation::Acknowledged(format!(
                    "{before:?} and {batch:?} were both acknowledged"
                )));
            }
        }
        self.batches.insert((batch.partition, batch.base_offset), known);
        Ok(())
    }

    pub fn count(&self) -> usize {
        self.batches.len()
    }

    /// Everything of the partition below this was acknowledged.
    pub fn end(&self, partition: i32) -> Offset {
        let mut own = self.batches.range((partition, 0)..(partition + 1, 0));
        Offset(own.next_back().map_or(0, |(_, batch)| batch.last_offset + 1))
    }

    /// Goes through a serving leader's log: from its start when it is new, then what has come since.
    pub fn look(
        &mut self,
        partition: i32,
        reader: &PartitionReader,
        (node, term): (NodeId, Term),
        is_damaged: bool,
    ) -> Result<(), Violation> {
        let from = self.checked.get(&(partition, node, term)).copied();
        let end = reader.high_watermark();
        if from == Some(end) {
            return Ok(());
        }
        let (batches, read_to) = read(reader, from.unwrap_or(Offset(0)), is_damaged)?;
        if read_to < end {
            // Looked at again when the damage is mended, or another leads.
            return Ok(());
        }
        if from.is_none() {
            self.look_for_all(partition, &batches, reader, node)?;
        }
        for stored in batches {
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

    fn look_for_all(
        &self,
        partition: i32,
        batches: &[Stored],
        reader: &PartitionReader,
        node: NodeId,
    ) -> Result<(), Violation> {
        let log: BTreeMap<i64, &Stored> = batches.iter().map(|stored| (stored.base_offset, stored)).collect();
        let own = self.batches.range((partition, 0)..(partition + 1, 0));
        for (_, acknowledged) in own {
            let found = log.get(&acknowledged.base_offset);
            let is_let_go = acknowledged.last_offset < reader.log_start().0;
            if !is_let_go && !found.is_some_and(|found| is_it(acknowledged, found)) {
                return Err(Violation::Acknowledged(format!(
                    "partition {partition} on hub {node}: {acknowledged:?}, found {found:?}, end {}",
                    reader.high_watermark()
                )));
            }
        }
        Ok(())
    }
}

fn is_it(acknowledged: &Acknowledged, found: &Stored) -> bool {
    let Acknowledged { last_offset, crc, sender, term, .. } = *acknowledged;
    let in_term = term.is_none_or(|term| u64::try_from(found.epoch).is_ok_and(|epoch| epoch == term.0));
    (last_offset, crc, sender) == (found.last_offset, found.crc, found.sender) && in_term
}
