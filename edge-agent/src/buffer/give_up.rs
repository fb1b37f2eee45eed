//! Giving up batches: gaps take their place.
//!
//! What may have been sent keeps its own range, since the hub may have it; what was never sent is joined with
//! the gap before it.

use std::ops::RangeInclusive;

use bytes::Bytes;
use schemas::limits::GAP_RECORDS_MAX;
use schemas::{GapCount, GapReason};

use super::amend::gap_of;
use super::entry::{GapEntry, Head, Kind, decode_batch};
use super::environment::{EnvironmentError, Key};
use super::policy::{Policy, Retention};
use super::state::{Lane, NUMBER_STEP};
use super::work::{Work, WorkError};
use crate::destination::Priority;
use crate::limits::SHIP_SPAN_ENTRIES;

/// Least urgent first.
const PRIORITIES: [Priority; 3] = [Priority::Bulk, Priority::Telemetry, Priority::Alarm];

/// Whether there is room now, and how many records were dropped for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub is_made: bool,
    pub dropped: u64,
}

impl Work<'_> {
    /// Makes room for so many bytes of a priority, as far as the policy lets it: nothing that is more urgent gives way.
    pub fn make_room_for(
        &mut self,
        priority: Priority,
        needed: u64,
        retention: &Retention,
    ) -> Result<Room, WorkError> {
        let mut dropped = 0;
        loop {
            let has_own_room = retention.has_own_room(&self.state, priority, needed);
            if has_own_room && retention.has_room(&self.state, needed) {
                return Ok(Room { is_made: true, dropped });
            }
            let may_drop = retention.policy == Policy::DropOldest && retention.could_hold(priority, needed);
            let least = if has_own_room { Priority::Bulk } else { priority };
            match if may_drop { self.drop_one(priority..=least)? } else { None } {
                Some(records) => dropped += records,
                None => return Ok(Room { is_made: false, dropped }),
            }
        }
    }

    /// Drops until all entries take up at most so much; answers how many records went, `None` where it cannot.
    pub fn shrink(&mut self, cost_max: u64) -> Result<Option<u64>, WorkError> {
        let mut dropped = 0;
        while self.state.cost() > cost_max {
            match self.drop_one(Priority::Alarm..=Priority::Bulk)? {
                Some(records) => dropped += records,
                None => return Ok(None),
            }
        }
        Ok(Some(dropped))
    }

    /// Drops the batch of the least urgent of these priorities that was appended first, one in flight only where
    /// there is no other of its priority; `None` where none is left.
    fn drop_one(&mut self, among: RangeInclusive<Priority>) -> Result<Option<u64>, WorkError> {
        for priority in PRIORITIES.into_iter().filter(|priority| among.contains(priority)) {
            for sparing in [true, false] {
                if let Some((key, head)) = self.oldest_batch(priority, sparing)? {
                    self.give_up(key, &head, GapReason::Dropped)?;
                    return Ok(Some(u64::from(head.records)));
                }
            }
        }
        Ok(None)
    }

    /// Puts a gap in a batch's place.
    pub fn give_up(&mut self, key: Key, head: &Head, reason: GapReason) -> Result<(), WorkError> {
        let gap = self.gap_for(key, head, reason)?;
        if !self.join(key, &gap)? {
            let value = gap.encode(head.appended_ms);
            self.replace(key, head.records, &value, 0)?;
        }
        self.state.counters.dropped += u64::from(head.records);
        Ok(())
    }

    /// Also moves on where each lane's batches begin.
    fn oldest_batch(
        &mut self,
        priority: Priority,
        sparing: bool,
    ) -> Result<Option<(Key, Head)>, EnvironmentError> {
        let mut oldest: Option<(Key, Head)> = None;
        for lane in self.state.lanes.iter().filter(|lane| lane.priority == priority) {
            if let Some((key, head)) = self.first_batch(lane, sparing)?
                && oldest.as_ref().is_none_or(|(_, oldest)| head.appended_ms < oldest.appended_ms)
            {
                oldest = Some((key, head));
            }
        }
        if let Some((key, _)) = &oldest {
            self.begin_at(*key, sparing);
        }
        Ok(oldest)
    }

    /// The first batch of a lane, or the first that is not in flight.
    pub fn first_batch(&self, lane: &Lane, sparing: bool) -> Result<Option<(Key, Head)>, EnvironmentError> {
        let spared = if sparing { (self.spare)(lane.id) } else { 0 };
        let from = lane.drop_from.max(spared);
        for entry in self.environment.range(&self.txn, lane.id, from..=u64::MAX)? {
            let (number, value) = entry?;
            match Head::parse(value) {
                Ok(head) if !head.is_gap() => return Ok(Some((Key { lane: lane.id, number }, head))),
                // What cannot be read is the uplink's to find and to repair; it holds few bytes of the cap.
                _ => {}
            }
        }
        Ok(None)
    }

    /// Notes that there is no batch of its lane before this one.
    pub fn begin_at(&mut self, key: Key, sparing: bool) {
        let spared = if sparing { (self.spare)(key.lane) } else { 0 };
        if let Some(lane) = self.state.lane_mut(key.lane)
            && spared <= lane.drop_from
        {
            lane.drop_from = key.number;
        }
    }

    fn gap_for(&self, key: Key, head: &Head, reason: GapReason) -> Result<GapEntry, WorkError> {
        let is_wall = head.kind == Kind::Batch;
        let value: Bytes = self.value(key)?;
        // A batch whose bytes are damaged is dropped for that.
        Ok(match decode_batch(&value) {
            Ok(batch) => gap_of(&batch, head.stream, head.base, head.sequences, reason, is_wall),
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

    /// Joins the gap that takes a batch's place with the one before it, if both were never sent and belong together.
    fn join(&mut self, key: Key, gap: &GapEntry) -> Result<bool, WorkError> {
        let Some((number, joined)) = self.joined_before(key, gap)? else { return Ok(false) };
        let records = self.head(key)?.map_or(0, |head| head.records);
        self.remove(key, records)?;
        self.replace(Key { lane: key.lane, number }, 0, &joined, 0)?;
        Ok(true)
    }

    /// The entry before `key`, with its number, as it is once a gap at `key` is joined to it; `None` where that is no
    /// gap that it can be joined to.
    pub fn joined_before(&self, key: Key, gap: &GapEntry) -> Result<Option<(u64, Vec<u8>)>, WorkError> {
        let Some(lane) = self.state.lane(key.lane) else { return Ok(None) };
        let never_sent_from = lane.first + SHIP_SPAN_ENTRIES * NUMBER_STEP;
        let Some((number, value)) = self.environment.before(&self.txn, key.lane, key.number)? else {
            return Ok(None);
        };
        let (Ok(before), Ok(head)) = (GapEntry::decode(value), Head::parse(value)) else { return Ok(None) };
        if number < never_sent_from {
            return Ok(None);
        }
        Ok(joined(&before, gap).map(|joined| (number, joined.encode(head.appended_ms))))
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
