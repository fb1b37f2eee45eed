//! Amendments: what the uplink changes of entries that are not acknowledged yet.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use schemas::headers::{STREAM_START, StreamStart, StreamStartReason, UNTIMED, Untimed};
use schemas::limits::AGENT_BATCH_BYTES_MAX;
use schemas::{
    BatchBuilder, BuilderOptions, GapCount, GapReason, PartitionIndex, ProducerEpoch, ProducerId, RawBatch,
    Sequence, stream_id,
};

use super::entry::{EntryError, GapEntry, Kind, decode_batch, encode_batch};
use super::environment::Key;
use super::marker::MarkerFile;
use super::reader::patched;
use super::state::{Lane, Shipping, Wire};
use super::work::{Amendment, Work, WorkError};
use crate::limits::{BACKLOG_LANES_MAX, QUARANTINE_BYTES_MAX};

impl Work<'_> {
    pub fn amend(
        &mut self,
        amendment: &Amendment,
        marker: &mut MarkerFile,
        quarantine: &Path,
    ) -> Result<(), WorkError> {
        match *amendment {
            Amendment::Begin { lane, stored, stream, partition } => {
                self.begin_stream(lane, stored, stream, partition)
            }
            Amendment::Move { lane, number, whole, reason } => {
                self.move_stream(Key { lane, number }, whole, reason)?;
                Ok(marker.write(&self.state)?)
            }
            Amendment::Quarantine { lane, number } => self.quarantine(Key { lane, number }, quarantine),
            Amendment::CutGap { lane, number, at } => self.cut_gap(Key { lane, number }, at),
            Amendment::MarkUntimed { lane, number, arrival_ms, .. } => {
                self.mark_untimed(Key { lane, number }, arrival_ms)
            }
            Amendment::Repair { lane, number } => self.repair(Key { lane, number }),
            Amendment::Split { lane } => self.split(lane, marker),
            Amendment::StampBoot(told) => {
                self.state.set_offset(told);
                Ok(())
            }
        }
    }

    fn split(&mut self, id: u8, marker: &mut MarkerFile) -> Result<(), WorkError> {
        let live = self.state.lane(id).filter(|lane| !lane.is_backlog && !lane.is_empty());
        let Some(destination) = live.map(Lane::destination) else { return Ok(()) };
        let backlogs = self.state.lanes.iter().filter(|lane| lane.is_backlog && lane.is_for(&destination));
        if backlogs.count() >= BACKLOG_LANES_MAX {
            return Ok(());
        }
        if let Some(lane) = self.state.lane_mut(id) {
            (lane.is_backlog, lane.open) = (true, None);
        }
        self.add_lane(&destination, marker)?;
        Ok(())
    }

    fn begin_stream(
        &mut self,
        lane: u8,
        stored: ProducerId,
        stream: ProducerId,
        partition: PartitionIndex,
    ) -> Result<(), WorkError> {
        let Some(lane) = self.state.lane_mut(lane) else { return Ok(()) };
        let known = lane.shipping.as_mut().filter(|shipping| shipping.stream == stored);
        if let Some(shipping) = known {
            if let Some(wire) = shipping.wires.iter_mut().find(|wire| wire.stream == stream) {
                wire.partition.get_or_insert(partition);
            }
            return Ok(());
        }
        let own = Wire {
            stream,
            from: Sequence::ZERO,
            until: None,
            base: Sequence::ZERO,
            partition: Some(partition),
        };
        lane.shipping = Some(Shipping { stream: stored, acked: Sequence::ZERO, wires: vec![own] });
        Ok(())
    }

    /// The entry itself is encoded anew with the header that says where its stream comes from; what follows is
    /// only patched when it is shipped.
    fn move_stream(&mut self, key: Key, whole: bool, reason: StreamStartReason) -> Result<(), WorkError> {
        let head = self.head(key)?.ok_or(WorkError::NoEntry(key))?;
        let Some(lane) = self.state.lane_mut(key.lane) else { return Ok(()) };
        let old_stream = lane.placement(head.stream, head.base).stream;
        let wire = Wire {
            stream: stream_id(rand::random()),
            from: head.base,
            until: (!whole).then(|| head.end()),
            base: Sequence::ZERO,
            partition: None,
        };
        match lane.shipping.as_mut().filter(|shipping| shipping.stream == head.stream) {
            Some(shipping) => shipping.wires.push(wire),
            None => {
                let shipping = Shipping { stream: head.stream, acked: head.base, wires: vec![wire] };
                lane.shipping = Some(shipping);
            }
        }
        self.state.counters.moved_streams += 1;
        if head.kind == Kind::Batch {
            let batch = decode_batch(&self.value(key)?)?.into_bytes();
            let start = StreamStart { old_stream, reason };
            // A batch at the limit has no room for the header; its stream then begins without it.
            if let Ok(marked) = with_header(&batch, STREAM_START, &start.to_header()) {
                let value = encode_batch(head.appended_ms, None, &marked);
                self.replace(key, head.records, &value, head.records)?;
            }
        }
        Ok(())
    }

    fn quarantine(&mut self, key: Key, folder: &Path) -> Result<(), WorkError> {
        let Some(head) = self.head(key)?.filter(|head| !head.is_gap()) else { return Ok(()) };
        let batch = decode_batch(&self.value(key)?)?;
        if let Err(error) = keep_aside(folder, &batch) {
            tracing::warn!(%error, folder = %folder.display(), "a refused batch could not be kept aside");
        }
        let is_wall = head.kind == Kind::Batch;
        let gap = gap_of(&batch, head.stream, head.base, head.sequences, GapReason::Quarantined, is_wall);
        let value = gap.encode(head.appended_ms);
        self.replace(key, head.records, &value, 0)?;
        self.state.counters.dropped += u64::from(head.records);
        self.state.counters.quarantined += u64::from(head.records);
        Ok(())
    }

    fn cut_gap(&mut self, key: Key, at: Sequence) -> Result<(), WorkError> {
        let Some(head) = self.head(key)?.filter(super::entry::Head::is_gap) else { return Ok(()) };
        let mut gap = GapEntry::decode(&self.value(key)?)?;
        let Ok(known) = u32::try_from(at.distance(gap.base)) else { return Ok(()) };
        if known == 0 || known >= gap.sequences {
            return Ok(());
        }
        gap.base = at;
        gap.sequences -= known;
        if let GapCount::Known(count) = gap.gap.count {
            let left = count.min(gap.sequences);
            gap.gap.count = GapCount::Known(left);
            let found = u64::from(count - left);
            self.state.counters.dropped = self.state.counters.dropped.saturating_sub(found);
            self.state.counters.acknowledged += found;
        }
        self.replace(key, 0, &gap.encode(head.appended_ms), 0)
    }

    fn mark_untimed(&mut self, key: Key, arrival_ms: i64) -> Result<(), WorkError> {
        let Some(head) = self.head(key)? else { return Ok(()) };
        let Kind::Untimed { boot } = head.kind else { return Ok(()) };
        // Its time became known for good since it was read.
        if self.state.stamp_of(boot, boot).is_some() {
            return Ok(());
        }
        let stored = self.value(key)?;
        let batch = decode_batch(&stored)?;
        let header = batch.header();
        let marked = rebuild(&batch, |_, delta| {
            let boot_time_ms = header.base_timestamp.saturating_add(delta);
            let untimed = Untimed { boot_id: boot, boot_time_ms };
            (arrival_ms, Some((UNTIMED, untimed.to_header())))
        });
        // Where a record has no room for the header, the batch travels without it, its last record as one that was
        // measured when it arrived.
        let offset_ms = arrival_ms.saturating_sub(header.max_timestamp);
        let marked = marked.ok().or_else(|| patched(&stored, &batch, Some(offset_ms), None));
        let marked = marked.ok_or(EntryError::BatchFields)?;
        let value = encode_batch(head.appended_ms, None, &marked);
        self.replace(key, head.records, &value, head.records)
    }
}

/// The gap that stands for a batch.
pub(super) fn gap_of(
    batch: &RawBatch,
    stream: ProducerId,
    base: Sequence,
    sequences: u32,
    reason: GapReason,
    is_wall: bool,
) -> GapEntry {
    let header = batch.header();
    let gap = schemas::Gap {
        count: GapCount::Known(u32::try_from(header.record_count).unwrap_or(0)),
        from_ms: is_wall.then_some(header.base_timestamp.min(header.max_timestamp)),
        to_ms: is_wall.then_some(header.max_timestamp),
        reason,
    };
    GapEntry { stream, base, sequences, gap }
}

/// The batch with one more header on its first record.
pub(super) fn with_header(batch: &Bytes, name: &'static str, value: &str) -> Result<Bytes, EntryError> {
    let raw = RawBatch::parse(batch.clone())?;
    let base = raw.header().base_timestamp;
    rebuild(&raw, |index, delta| (base.saturating_add(delta), (index == 0).then(|| (name, value.to_owned()))))
}

/// Encodes a batch anew: for each record its time and perhaps one header more. Stream and sequences stay.
fn rebuild(
    batch: &RawBatch,
    change: impl Fn(usize, i64) -> (i64, Option<(&'static str, String)>),
) -> Result<Bytes, EntryError> {
    let header = batch.header();
    let mut builder = BatchBuilder::new(BuilderOptions {
        compression: header.attributes.compression()?,
        producer: Some((
            ProducerId(header.producer_id),
            ProducerEpoch(header.producer_epoch),
            Sequence(header.base_sequence),
        )),
        base_timestamp: None,
    });
    for (index, record) in batch.records()?.enumerate() {
        let record = record?;
        let (time_ms, more) = change(index, record.timestamp_delta);
        let own = record.headers.iter().filter_map(|(name, value)| {
            Some((std::str::from_utf8(name).ok()?, value.as_deref().unwrap_or_default()))
        });
        let more = more.as_ref().map(|(name, value)| (*name, value.as_bytes()));
        let headers: Vec<(&str, &[u8])> = own.chain(more).collect();
        builder
            .push(time_ms, record.key.as_deref(), record.value.as_deref(), &headers)
            .map_err(|_| EntryError::BatchFields)?;
    }
    let rebuilt = builder.finish().map_err(|_| EntryError::BatchFields)?;
    if rebuilt.len() > AGENT_BATCH_BYTES_MAX { Err(EntryError::BatchFields) } else { Ok(rebuilt) }
}

/// Keeps a refused batch for whoever wants to know, up to a bound for all of them.
fn keep_aside(folder: &Path, batch: &RawBatch) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut held = batch.bytes().len() as u64;
    for entry in fs::read_dir(folder)? {
        held += entry?.metadata()?.len();
    }
    if held > QUARANTINE_BYTES_MAX {
        return Err(std::io::Error::other("the quarantine is full"));
    }
    let header = batch.header();
    fs::write(folder.join(format!("{}-{}.batch", header.producer_id, header.base_sequence)), batch.bytes())
}
