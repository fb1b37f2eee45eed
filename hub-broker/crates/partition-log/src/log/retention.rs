//! What may go: by append time, by size, and by order.

use std::sync::Arc;

use schemas::Offset;

use super::PartitionLog;
use crate::error::LogError;
use crate::state::SegmentState;

impl PartitionLog {
    /// Where the log should start, or `None` if nothing has to go. Only whole segments go: those whose last
    /// batch was appended more than `retention_ms` before `now_ms` (the active one too), and the oldest closed
    /// ones without which at least `retention_bytes` are left. A negative limit is none.
    pub fn retention_target(
        &self,
        now_ms: i64,
        retention_ms: Option<i64>,
        retention_bytes: Option<i64>,
    ) -> Option<Offset> {
        let by_time = retention_ms.filter(|ms| *ms >= 0).and_then(|ms| self.expired_before(now_ms, ms));
        let by_size = retention_bytes.and_then(|bytes| u64::try_from(bytes).ok());
        let by_size = by_size.and_then(|bytes| self.oversize_before(bytes));
        by_time.max(by_size).filter(|target| *target > self.log_start)
    }

    fn expired_before(&self, now_ms: i64, retention_ms: i64) -> Option<Offset> {
        let active = self.active.view().state;
        let expired = |segment: &SegmentState| {
            segment.batches > 0 && now_ms.saturating_sub(segment.last_stamp_ms) > retention_ms
        };
        let segments = self.closed.iter().map(|segment| segment.state).chain([active]);
        segments.take_while(expired).last().map(|segment| segment.end_offset)
    }

    fn oversize_before(&self, retention_bytes: u64) -> Option<Offset> {
        let mut left = u64::from(self.active.view().state.bytes);
        left += self.closed.iter().map(|segment| u64::from(segment.state.bytes)).sum::<u64>();
        let mut target = None;
        for segment in self.closed.iter() {
            left -= u64::from(segment.state.bytes);
            if left < retention_bytes {
                break;
            }
            target = Some(segment.state.end_offset);
        }
        target
    }

    /// Moves the first offset forward, at most to the end, and drops the segments that lie wholly below it.
    /// Whoever is reading from them finishes.
    pub fn advance_start(&mut self, to: Offset) -> Result<(), LogError> {
        self.publish()?;
        let to = to.min(self.end_offset());
        if to <= self.log_start {
            return Ok(());
        }
        if to == self.end_offset() {
            self.roll()?;
        }
        let gone = self.closed.partition_point(|segment| segment.state.end_offset <= to);
        if gone > 0 {
            let dropped: Vec<_> = Arc::make_mut(&mut self.closed).drain(..gone).collect();
            self.obsolete.extend(dropped.iter().map(|segment| segment.files.obsolete()));
        }
        self.log_start = to;
        let kept_from =
            self.closed.first().map_or(self.active.view().state.base_offset, |s| s.state.base_offset);
        Arc::make_mut(&mut self.epochs).trim(kept_from);
        self.show();
        Ok(())
    }

    /// Forgets Kafka producers that have not appended for `after_ms`; returns how many.
    pub fn expire_producers(&mut self, stamp_ms: i64, after_ms: i64) -> usize {
        self.producers.expire(stamp_ms, after_ms)
    }
}
