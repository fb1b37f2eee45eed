//! Making room: the oldest batches are dropped, and gaps take their place.
//!
//! What may have been sent keeps its own range, since the hub may have it; what was never sent is joined with
//! the gap before it.

use bytes::Bytes;
use schemas::limits::GAP_RECORDS_MAX;
use schemas::{GapCount, GapReason};

use super::amend::gap_of;
use super::entry::{GapEntry, Head, Kind, decode_batch};
use super::environment::{EnvironmentError, Key};
use super::state::NUMBER_STEP;
use super::work::{Work, WorkError};
use crate::limits::SHIP_SPAN_ENTRIES;

impl Work<'_> {
    /// Drops until `needed` more bytes fit below the cap; answers how many records went.
    pub fn make_room(&mut self, needed: u64, cap_bytes: u64) -> Result<u64, WorkError> {
        let mut dropped = 0;
        while self.state.cost() + needed > cap_bytes {
            dropped += self.drop_one()?.ok_or(WorkError::Full)?;
        }
        Ok(dropped)
    }

    /// Drops the batch that was appended first of all lanes, one in flight only where there is no other; `None`
    /// where there is none left.
    pub fn drop_one(&mut self) -> Result<Option<u64>, WorkError> {
        let Some((key, head)) =
            self.oldest_batch(true)?.map_or_else(|| self.oldest_batch(false), |found| Ok(Some(found)))?
        else {
            return Ok(None);
        };
        let records = u64::from(head.records);
        let gap = self.gap_for(key, &head)?;
        if !self.join(key, &gap)? {
            let value = gap.encode(head.appended_ms);
            self.replace(key, head.records, &value, 0)?;
        }
        self.state.counters.dropped += records;
        Ok(Some(records))
    }

    /// Also moves on where each lane's batches begin.
    fn oldest_batch(&mut self, sparing: bool) -> Result<Option<(Key, Head)>, WorkError> {
        let mut oldest: Option<(i64, Key, Head)> = None;
        for lane in &self.state.lanes {
            let spared = if sparing { (self.spare)(lane.id) } else { 0 };
            let from = lane.drop_from.max(spared);
            if let Some((key, head)) = self.first_batch(lane.id, from)?
                && oldest.as_ref().is_none_or(|(appended, _, _)| head.appended_ms < *appended)
            {
                oldest = Some((head.appended_ms, key, head));
            }
        }
        let Some((_, key, head)) = oldest else { return Ok(None) };
        let spared = if sparing { (self.spare)(key.lane) } else { 0 };
        if let Some(lane) = self.state.lane_mut(key.lane)
            && spared <= lane.drop_from
        {
            lane.drop_from = key.number;
        }
        Ok(Some((key, head)))
    }

    fn first_batch(&self, lane: u8, from: u64) -> Result<Option<(Key, Head)>, EnvironmentError> {
        for entry in self.environment.range(&self.txn, lane, from..=u64::MAX)? {
            let (number, value) = entry?;
            match Head::parse(value) {
                Ok(head) if !head.is_gap() => return Ok(Some((Key { lane, number }, head))),
                // What cannot be read is the uplink's to find and to repair; it holds few bytes of the cap.
                _ => {}
            }
        }
        Ok(None)
    }

    fn gap_for(&self, key: Key, head: &Head) -> Result<GapEntry, WorkError> {
        let is_wall = head.kind == Kind::Batch;
        let value: Bytes = self.value(key)?;
        // A batch whose bytes are damaged is dropped for that.
        Ok(match decode_batch(&value) {
            Ok(batch) => gap_of(&batch, head.stream, head.base, head.sequences, GapReason::Dropped, is_wall),
            Err(_) => GapEntry {
                stream: head.stream,
                base: head.base,
                sequences: head.sequences,
                gap: schemas::Gap {
                    count: GapCount::Known(head.records),
                    from_ms: None,
                    to_ms: None,
                    reason: GapReason::Damaged,
                },
            },
        })
    }

    /// Joins a gap with the one before it, if both were never sent and belong together.
    fn join(&mut self, key: Key, gap: &GapEntry) -> Result<bool, WorkError> {
        let Some(lane) = self.state.lane(key.lane) else { return Ok(false) };
        let never_sent_from = lane.first + SHIP_SPAN_ENTRIES * NUMBER_STEP;
        let Some((number, value)) = self.environment.before(&self.txn, key.lane, key.number)? else {
            return Ok(false);
        };
        let (Ok(before), Ok(head)) = (GapEntry::decode(value), Head::parse(value)) else { return Ok(false) };
        if number < never_sent_from {
            return Ok(false);
        }
        let Some(joined) = joined(&before, gap) else { return Ok(false) };
        let records = self.head(key)?.map_or(0, |head| head.records);
        self.remove(key, records)?;
        let joined = joined.encode(head.appended_ms);
        self.replace(Key { lane: key.lane, number }, 0, &joined, 0)?;
        Ok(true)
    }
}

fn joined(before: &GapEntry, after: &GapEntry) -> Option<GapEntry> {
    let sequences = before.sequences.checked_add(after.sequences)?;
    let (GapCount::Known(one), GapCount::Known(other)) = (before.gap.count, after.gap.count) else {
        return None;
    };
    let fits = before.stream == after.stream
        && before.base.plus(before.sequences) == after.base
        && before.gap.reason == after.gap.reason
        && sequences <= GAP_RECORDS_MAX;
    fits.then(|| GapEntry {
        stream: before.stream,
        base: before.base,
        sequences,
        gap: schemas::Gap {
            count: GapCount::Known(one + other),
            from_ms: before.gap.from_ms.zip(after.gap.from_ms).map(|(one, other)| one.min(other)),
            to_ms: before.gap.to_ms.zip(after.gap.to_ms).map(|(one, other)| one.max(other)),
            reason: before.gap.reason,
        },
    })
}
