//! Look-ups by the time of the records.

use schemas::{Offset, RawBatch, TimestampType};

use super::PartitionReader;
use crate::error::ReadError;
use crate::segment::SegmentView;

impl PartitionReader {
    /// The first record in the log's order whose timestamp is `timestamp_ms` or later, with its timestamp.
    pub fn offset_for_time(&self, timestamp_ms: i64) -> Result<Option<(Offset, i64)>, ReadError> {
        self.on_view(|view| {
            for segment in view.segments_from(view.log_start) {
                if segment.state.max_timestamp < timestamp_ms {
                    continue;
                }
                let hit = segment
                    .with_good_index(&view.epochs, || first_at(segment, timestamp_ms, view.log_start))?;
                if hit.is_some() {
                    return Ok(hit);
                }
            }
            Ok(None)
        })
    }

    /// The first of the records with the largest timestamp, with its timestamp.
    pub fn max_timestamp(&self) -> Result<Option<(Offset, i64)>, ReadError> {
        self.on_view(|view| {
            let mut best: Option<(Offset, i64)> = None;
            for segment in view.segments_from(view.log_start) {
                if segment.state.batches == 0
                    || best.is_some_and(|(_, top)| segment.state.max_timestamp <= top)
                {
                    continue;
                }
                let top = segment.with_good_index(&view.epochs, || largest(segment, view.log_start))?;
                best = [best, top].into_iter().flatten().reduce(|a, b| if b.1 > a.1 { b } else { a });
            }
            Ok(best)
        })
    }
}

fn first_at(segment: &SegmentView, time: i64, log_start: Offset) -> Result<Option<(Offset, i64)>, ReadError> {
    let reached = segment.bisect(|entry| entry.timestamp < time)?;
    // Usually the batch found is the one. Only where the log starts within this segment, and behind that
    // batch, those that follow have to be looked at one by one.
    for number in reached.max(segment.find(log_start)?)..segment.state.batches {
        let batch = segment.batch(number)?;
        if batch.header().max_timestamp >= time {
            let hit = record_where(&batch, |offset, at| offset >= log_start && at >= time);
            if hit.is_some() {
                return Ok(hit);
            }
        }
    }
    Ok(None)
}

fn largest(segment: &SegmentView, log_start: Offset) -> Result<Option<(Offset, i64)>, ReadError> {
    if segment.state.max_timestamp_at >= log_start {
        let batch = segment.batch(segment.find(segment.state.max_timestamp_at)?)?;
        let top = segment.state.max_timestamp;
        return Ok(record_where(&batch, |_, at| at >= top));
    }
    let mut best: Option<(Offset, i64)> = None;
    for number in segment.find(log_start)?..segment.state.batches {
        let batch = segment.batch(number)?;
        if best.is_none_or(|(_, top)| batch.header().max_timestamp > top) {
            let top = batch.header().max_timestamp;
            best = record_where(&batch, |offset, at| offset >= log_start && at >= top).or(best);
        }
    }
    Ok(best)
}

/// The first record that passes. A batch whose records cannot be walked (its listener checked headers only)
/// stands in for them with its first offset and its largest timestamp.
fn record_where(batch: &RawBatch, passes: impl Fn(Offset, i64) -> bool) -> Option<(Offset, i64)> {
    let header = batch.header();
    let base = Offset(header.base_offset);
    let log_append = header.attributes.timestamp_type() == TimestampType::LogAppend;
    let Ok(records) = batch.records() else {
        return Some((base, header.max_timestamp));
    };
    for record in records {
        let Ok(record) = record else {
            return Some((base, header.max_timestamp));
        };
        let offset = base.plus(i64::from(record.offset_delta));
        let timestamp = match log_append {
            true => header.max_timestamp,
            false => header.base_timestamp.saturating_add(record.timestamp_delta),
        };
        if passes(offset, timestamp) {
            return Some((offset, timestamp));
        }
    }
    None
}
