//! Of a compacted partition every replica has the newest record under each key, and nothing under a key whose newest is
//! a tombstone that went; of everything that was acknowledged, every later leader.

use std::collections::BTreeMap;

use schemas::{Offset, RawBatch, Term};
use shards::PartitionReader;
use shards::simulation::ReplicaId;

use super::{Violation, read_batches};
use crate::client::Acknowledged;
use crate::keyed::{self, Keyed};
use crate::plan;

/// A record's offset, and whether it is a tombstone.
type Place = (i64, bool);

#[derive(Default)]
pub(super) struct Newest {
    /// By key, of what was acknowledged.
    acknowledged: BTreeMap<String, Place>,
    /// Who sent the record at an offset, and its sequence: of every record that was ever read.
    records: BTreeMap<i64, (i64, i32)>,
    /// What each replica's log looked like when it was gone through last: where it ended, how many bytes it had, and
    /// in which term it was a leader's.
    looked: BTreeMap<ReplicaId, (Offset, u64, Option<Term>)>,
}

impl Newest {
    pub fn add(&mut self, batch: Acknowledged) {
        for (offset, sequence) in (batch.base_offset..=batch.last_offset).zip(batch.sender.1..) {
            let Keyed { key, value } = keyed::record(batch.sender.0, sequence);
            let newest = self.acknowledged.entry(key).or_insert((offset, value.is_none()));
            *newest = (*newest).max((offset, value.is_none()));
        }
    }

    /// `serving`: the term in which the replica leads.
    pub fn look(
        &mut self,
        reader: &PartitionReader,
        replica: ReplicaId,
        serving: Option<Term>,
        is_damaged: bool,
    ) -> Result<(), Violation> {
        let end = reader.high_watermark();
        let now = (end, reader.size_bytes(), serving);
        if self.looked.get(&replica) == Some(&now) {
            return Ok(());
        }
        let (batches, read_to) = read_batches(reader, Offset(0), is_damaged)?;
        let mut found = BTreeMap::new();
        for batch in &batches {
            self.see(batch, replica, &mut found)?;
        }
        if read_to < end {
            // What is damaged is not there for now.
            return Ok(());
        }
        self.looked.insert(replica, now);
        let mut wanted = self.known(end);
        if serving.is_some() {
            for (key, place) in &self.acknowledged {
                let newest = wanted.entry(key.clone()).or_insert(*place);
                *newest = (*newest).max(*place);
            }
        }
        look_for(&wanted, &found, replica)
    }

    /// Takes note of a batch's records, as far as compaction has left them: they are what was sent.
    fn see(
        &mut self,
        batch: &RawBatch,
        replica: ReplicaId,
        found: &mut BTreeMap<String, Place>,
    ) -> Result<(), Violation> {
        let header = batch.header();
        let wrong = |what: String| Violation::NewestValue(format!("replica {replica}: {what}"));
        let records = batch.records().map_err(|error| wrong(error.to_string()))?;
        for record in records {
            let record = record.map_err(|error| wrong(error.to_string()))?;
            let offset = header.base_offset + i64::from(record.offset_delta);
            let sender = (header.producer_id, header.base_sequence + record.offset_delta);
            let sent = keyed::record(sender.0, sender.1);
            let has = |part: Option<&[u8]>, sent: Option<&String>| part == sent.map(String::as_bytes);
            let is_it = has(record.key.as_deref(), Some(&sent.key))
                && has(record.value.as_deref(), sent.value.as_ref());
            let known = *self.records.entry(offset).or_insert(sender);
            if !is_it || known != sender {
                return Err(wrong(format!(
                    "at {offset}: {record:?}, {sender:?} sent {sent:?}, there was {known:?}"
                )));
            }
            // Offsets rise.
            found.insert(sent.key, (offset, sent.value.is_none()));
        }
        Ok(())
    }

    /// The newest under each key that there was up to `end`.
    fn known(&self, end: Offset) -> BTreeMap<String, Place> {
        let place = |(offset, (producer, sequence)): (&i64, &(i64, i32))| {
            let Keyed { key, value } = keyed::record(*producer, *sequence);
            (key, (*offset, value.is_none()))
        };
        self.records.range(..end.0).map(place).collect()
    }
}

fn look_for(
    wanted: &BTreeMap<String, Place>,
    found: &BTreeMap<String, Place>,
    replica: ReplicaId,
) -> Result<(), Violation> {
    for (key, newest @ (offset, is_tombstone)) in wanted {
        let own = found.get(key);
        let is_there = own.is_some_and(|(own, _)| own >= offset);
        // A tombstone goes after a while, with everything that it has deleted.
        let may_be_gone = *is_tombstone && own.is_none();
        if !is_there && !may_be_gone {
            return Err(Violation::NewestValue(format!(
                "partition {}, replica {replica}: {key} has {own:?}, its newest is {newest:?}",
                plan::COMPACTED_PARTITION
            )));
        }
    }
    Ok(())
}
