//! How fast other replicas' needs are served, be it with snapshots or with old entries: as fast as allowed while the
//! write-ahead log answers as quickly as it does without them, and half as fast whenever it does not.
//!
//! The log's own speed without them depends on the disk, its load and what else the machine does. So nothing is copied
//! for a moment every few seconds, and what commits take then is the measure.

use std::time::{Duration, Instant};

use wal::Wal;

use crate::limits::SNAPSHOT_RATE_BYTES_MIN;

/// How long commits are watched before the rate is changed.
const WINDOW: Duration = Duration::from_millis(250);
/// Pause in which nothing is copied, and how many windows there are between two.
const PAUSE: Duration = Duration::from_millis(400);
const WINDOWS_BETWEEN_PAUSES: u32 = 12;
/// Commits are slow when they take a quarter longer than in the pauses, and this much besides.
const SLACK: Duration = Duration::from_micros(200);
/// What a new mean counts beside those before it.
const SHARE_OF_NEW: u32 = 4;

/// How many commits there were so far, and how long they took together: `wal::Stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Commits {
    pub count: u64,
    pub time: Duration,
}

/// How the log does.
pub(crate) fn commits(wal: &Wal) -> Commits {
    let stats = wal.stats();
    Commits { count: stats.commits, time: stats.commit_time }
}

#[derive(Debug)]
pub(crate) struct Pace {
    rate_bytes: u64,
    rate_bytes_max: u64,
    /// When what was taken so far has been paid for.
    free_at: Option<Instant>,
    latency: Latency,
    /// Until the next pause.
    windows_left: u32,
    peer_slow: bool,
}

/// Judges whether the log's commits take longer than they do while nothing is copied.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    /// When something was copied last, and the window that it is in.
    last: Option<Moment>,
    begun: Option<Moment>,
    quiet: Option<Duration>,
    busy: Option<Duration>,
    is_slow: bool,
}

type Moment = (Instant, Commits);

impl Latency {
    /// Something is about to be copied. True once per window; then `is_slow` is about that.
    pub(crate) fn look(&mut self, now: Instant, commits: Commits) -> bool {
        let last = self.last.replace((now, commits));
        if let Some(last) = last.filter(|(at, _)| now.saturating_duration_since(*at) >= PAUSE) {
            self.quiet = blended(self.quiet, mean(last.1, commits));
            (self.begun, self.busy) = (None, None);
        }
        let begun = *self.begun.get_or_insert((now, commits));
        if now.saturating_duration_since(begun.0) < WINDOW {
            return false;
        }
        self.begun = Some((now, commits));
        self.busy = blended(self.busy, mean(begun.1, commits));
        self.is_slow = match (self.quiet, self.busy) {
            (Some(quiet), Some(busy)) => busy > quiet + quiet / 4 + SLACK,
            _ => false,
        };
        true
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.is_slow
    }
}

/// What a commit took on average; `None` where there was none.
fn mean(before: Commits, now: Commits) -> Option<Duration> {
    let count = u32::try_from(now.count.saturating_sub(before.count)).unwrap_or(u32::MAX);
    now.time.saturating_sub(before.time).checked_div(count)
}

fn blended(known: Option<Duration>, new: Option<Duration>) -> Option<Duration> {
    let (Some(known), Some(new)) = (known, new) else { return new.or(known) };
    Some((known * (SHARE_OF_NEW - 1) + new) / SHARE_OF_NEW)
}

impl Pace {
    pub(crate) fn new(rate_bytes_max: u64) -> Self {
        let rate_bytes_max = rate_bytes_max.max(SNAPSHOT_RATE_BYTES_MIN);
        let rate_bytes = rate_bytes_max / 2;
        Self {
            rate_bytes,
            rate_bytes_max,
            free_at: None,
            latency: Latency::default(),
            windows_left: WINDOWS_BETWEEN_PAUSES,
            peer_slow: false,
        }
    }

    pub(crate) fn rate_bytes(&self) -> u64 {
        self.rate_bytes
    }

    /// The hub that is copied from says how its own log does.
    pub(crate) fn hear(&mut self, is_slow: bool) {
        self.peer_slow |= is_slow;
    }

    /// Takes `bytes` and returns how long to wait before they are copied.
    pub(crate) fn take(&mut self, bytes: u64, now: Instant, commits: Commits) -> Duration {
        if self.latency.look(now, commits) {
            let slow = self.latency.is_slow() || std::mem::take(&mut self.peer_slow);
            self.rate_bytes = match slow {
                true => (self.rate_bytes / 2).max(SNAPSHOT_RATE_BYTES_MIN),
                false => (self.rate_bytes + self.rate_bytes / 8).min(self.rate_bytes_max),
            };
            self.windows_left = self.windows_left.saturating_sub(1);
        }
        let mut from = self.free_at.map_or(now, |free_at| free_at.max(now));
        if self.windows_left == 0 {
            self.windows_left = WINDOWS_BETWEEN_PAUSES;
            from = from.max(now + PAUSE);
        }
        let micros = bytes.saturating_mul(1_000_000) / self.rate_bytes.max(1);
        self.free_at = Some(from + Duration::from_micros(micros));
        from - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const MS: Duration = Duration::from_millis(1);

    /// Copies in pieces of 1 MiB, beside a commit every 10 ms.
    struct Run {
        pace: Pace,
        now: Instant,
        commits: Commits,
    }

    impl Run {
        fn new(rate_bytes_max: u64) -> Self {
            Self { pace: Pace::new(rate_bytes_max), now: Instant::now(), commits: Commits::default() }
        }

        /// For `windows` windows, with commits that take `quiet` in pauses and `busy` otherwise. Returns what was copied.
        fn go(&mut self, windows: u32, quiet: Duration, busy: Duration) -> u64 {
            let end = self.now + WINDOW * windows;
            let mut copied = 0;
            while self.now < end {
                let wait = self.pace.take(MIB, self.now, self.commits).max(MS);
                let latency = if wait >= PAUSE { quiet } else { busy };
                self.now += wait;
                self.commits.count += 10;
                self.commits.time += latency * 10;
                copied += MIB;
            }
            copied
        }
    }

    #[test]
    fn the_rate_is_kept_and_rises_to_the_largest_while_commits_are_as_quick_as_in_the_pauses() {
        let mut run = Run::new(64 * MIB);
        run.go(20, MS, MS);
        assert_eq!(run.pace.rate_bytes(), 64 * MIB);
        let copied = run.go(40, MS, MS);
        assert!((500 * MIB..=640 * MIB).contains(&copied), "{copied} in 10 s");
    }

    #[test]
    fn it_falls_while_commits_are_slower_than_in_the_pauses_and_comes_back() {
        let mut run = Run::new(64 * MIB);
        run.go(20, MS, MS);
        run.go(40, MS, 3 * MS);
        assert!(run.pace.rate_bytes() <= 2 * SNAPSHOT_RATE_BYTES_MIN, "{}", run.pace.rate_bytes());
        run.go(60, MS, MS);
        assert_eq!(run.pace.rate_bytes(), 64 * MIB);
    }

    #[test]
    fn a_log_that_is_slow_in_the_pauses_too_holds_nothing_up() {
        let mut run = Run::new(64 * MIB);
        run.go(20, MS, MS);
        run.go(200, 3 * MS, 3 * MS);
        assert_eq!(run.pace.rate_bytes(), 64 * MIB);
    }

    #[test]
    fn a_peer_that_is_slow_counts_too() {
        let mut run = Run::new(64 * MIB);
        run.go(20, MS, MS);
        run.pace.hear(true);
        run.go(2, MS, MS);
        assert!(run.pace.rate_bytes() < 64 * MIB);
    }

    #[test]
    fn without_commits_nothing_is_slow() {
        let mut run = Run::new(64 * MIB);
        run.go(100, Duration::ZERO, Duration::ZERO);
        assert_eq!(run.pace.rate_bytes(), 64 * MIB);
    }
}
