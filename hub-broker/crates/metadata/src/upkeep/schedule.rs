//! When a partition's upkeep is due. Nothing is proposed for a partition that rests, so that an idle hub writes
//! nothing.

use std::time::Duration;

use schemas::Offset;

use crate::limits::COMPACTION_BYTES_MIN;

/// A partition at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    /// How long this hub has been up.
    pub(crate) uptime: Duration,
    pub(crate) log_start: Offset,
    pub(crate) high_watermark: Offset,
}

/// What has been proposed for a partition so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entries {
    high_watermark: Offset,
    moved_at: Duration,
    rolled: (Offset, Duration),
    expired_at: Duration,
    /// Every producer that the last appends left behind has been forgotten.
    all_expired: bool,
}

/// Expiry is proposed at most this often while a partition is written.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60 * 60);

impl Entries {
    pub(crate) fn first_seen(observed: &Observed) -> Self {
        Self {
            high_watermark: observed.high_watermark,
            moved_at: observed.uptime,
            rolled: (observed.log_start, observed.uptime),
            expired_at: observed.uptime,
            // What an earlier run of the hub left behind counts as appended just now.
            all_expired: observed.high_watermark == Offset(0),
        }
    }

    /// Whether to have producers forgotten that were last heard of longer ago than `expiration`.
    pub(crate) fn expiry_is_due(&mut self, observed: &Observed, expiration: Duration) -> bool {
        if observed.high_watermark != self.high_watermark {
            self.high_watermark = observed.high_watermark;
            self.moved_at = observed.uptime;
            self.all_expired = false;
        }
        let since = observed.uptime.saturating_sub(self.expired_at);
        if self.all_expired || since < EXPIRY_INTERVAL.min(expiration) {
            return false;
        }
        self.expired_at = observed.uptime;
        self.all_expired = observed.uptime.saturating_sub(self.moved_at) > expiration;
        true
    }

    /// Whether to have the active segment closed, so that retention can reach it.
    pub(crate) fn roll_is_due(&mut self, observed: &Observed, after: Duration) -> bool {
        let (rolled_to, rolled_at) = self.rolled;
        if observed.high_watermark == rolled_to || observed.uptime.saturating_sub(rolled_at) < after {
            return false;
        }
        self.rolled = (observed.high_watermark, observed.uptime);
        true
    }
}

/// A compacted partition is rewritten when it has grown to twice of what the last compaction left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Compacting {
    left_bytes: u64,
}

impl Compacting {
    pub(crate) fn is_due(self, size_bytes: u64) -> bool {
        size_bytes >= COMPACTION_BYTES_MIN.max(self.left_bytes.saturating_mul(2))
    }

    pub(crate) fn done(&mut self, size_bytes: u64) {
        self.left_bytes = size_bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(hours: u32, high_watermark: i64) -> Observed {
        Observed { uptime: HOUR * hours, log_start: Offset(0), high_watermark: Offset(high_watermark) }
    }

    #[test]
    fn an_idle_partition_is_expired_once_after_its_last_append_and_then_left_alone() {
        let mut entries = Entries::first_seen(&at(0, 0));
        assert!(!entries.expiry_is_due(&at(5, 0), DAY), "nothing was ever appended");
        assert!(entries.expiry_is_due(&at(6, 10), DAY));
        let proposed = (7..200).filter(|hour| entries.expiry_is_due(&at(*hour, 10), DAY)).collect::<Vec<_>>();
        assert_eq!(proposed.last(), Some(&31), "the first hour beyond a day after the append was seen");
    }

    #[test]
    fn a_segment_is_closed_after_its_time_and_only_if_it_has_grown() {
        let mut entries = Entries::first_seen(&at(0, 3));
        assert!(!entries.roll_is_due(&at(1, 3), 2 * HOUR));
        assert!(entries.roll_is_due(&at(2, 3), 2 * HOUR), "what an earlier run left is closed too");
        assert!(!entries.roll_is_due(&at(9, 3), 2 * HOUR));
        assert!(entries.roll_is_due(&at(10, 4), 2 * HOUR));
    }

    #[test]
    fn a_compacted_partition_is_rewritten_when_it_has_doubled() {
        let mut compacting = Compacting::default();
        assert!(!compacting.is_due(COMPACTION_BYTES_MIN - 1));
        assert!(compacting.is_due(COMPACTION_BYTES_MIN));
        compacting.done(COMPACTION_BYTES_MIN);
        assert!(!compacting.is_due(2 * COMPACTION_BYTES_MIN - 1));
        assert!(compacting.is_due(2 * COMPACTION_BYTES_MIN));
    }
}
