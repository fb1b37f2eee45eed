//! How fast other replicas' needs are served, be it with snapshots or with old entries: as fast as allowed while the
//! write-ahead log answers as quickly as it did without them, and half as fast whenever it does not.
//!
//! The log's own speed without them is not known beforehand and changes with its load. It is taken to be the
//! quickest of the windows seen, forgotten slowly: a little with every window.

use std::time::{Duration, Instant};

use wal::Wal;

use crate::limits::SNAPSHOT_RATE_BYTES_MIN;

/// How long commits are watched before the rate is changed.
const WINDOW: Duration = Duration::from_millis(250);
/// Commits are slow when a window's mean is a quarter above the best, and this much besides.
const SLACK: Duration = Duration::from_micros(200);

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
    peer_slow: bool,
}

/// Judges whether the log's commits take longer than they did.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    begun: Option<(Instant, Commits)>,
    best: Option<Duration>,
    is_slow: bool,
}

impl Latency {
    /// True once per window; then `is_slow` is about that.
    pub(crate) fn look(&mut self, now: Instant, commits: Commits) -> bool {
        let Some((begun, before)) = self.begun else {
            self.begun = Some((now, commits));
            return false;
        };
        if now.saturating_duration_since(begun) < WINDOW {
            return false;
        }
        self.begun = Some((now, commits));
        let count = u32::try_from(commits.count.saturating_sub(before.count)).unwrap_or(u32::MAX);
        let Some(mean) = commits.time.saturating_sub(before.time).checked_div(count) else {
            self.is_slow = false;
            return true;
        };
        let best = self.best.map_or(mean, |best| (best + best / 100).min(mean));
        self.best = Some(best);
        self.is_slow = mean > best + best / 4 + SLACK;
        true
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.is_slow
    }
}

impl Pace {
    pub(crate) fn new(rate_bytes_max: u64) -> Self {
        let rate_bytes_max = rate_bytes_max.max(SNAPSHOT_RATE_BYTES_MIN);
        let rate_bytes = rate_bytes_max / 2;
        Self { rate_bytes, rate_bytes_max, free_at: None, latency: Latency::default(), peer_slow: false }
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
        }
        let from = self.free_at.map_or(now, |free_at| free_at.max(now));
        let micros = bytes.saturating_mul(1_000_000) / self.rate_bytes.max(1);
        self.free_at = Some(from + Duration::from_micros(micros));
        from - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Copies for `windows` windows in pieces of 1 MiB, with commits of that latency all the while.
    struct Run {
        pace: Pace,
        now: Instant,
        commits: Commits,
    }

    impl Run {
        fn new(rate_bytes_max: u64) -> Self {
            Self { pace: Pace::new(rate_bytes_max), now: Instant::now(), commits: Commits::default() }
        }

        fn go(&mut self, windows: u32, latency: Duration) -> u64 {
            let end = self.now + WINDOW * windows;
            let mut copied = 0;
            while self.now < end {
                let wait = self.pace.take(MIB, self.now, self.commits).max(Duration::from_millis(1));
                self.now += wait;
                self.commits.count += 10;
                self.commits.time += latency * 10;
                copied += MIB;
            }
            copied
        }
    }

    #[test]
    fn the_rate_is_kept_and_rises_to_the_largest_while_commits_are_quick() {
        let mut run = Run::new(64 * MIB);
        run.go(20, Duration::from_millis(1));
        assert_eq!(run.pace.rate_bytes(), 64 * MIB);
        let copied = run.go(40, Duration::from_millis(1));
        assert!((600 * MIB..=660 * MIB).contains(&copied), "{copied} in 10 s");
    }

    #[test]
    fn it_falls_while_commits_are_slow_and_comes_back() {
        let mut run = Run::new(64 * MIB);
        run.go(20, Duration::from_millis(1));
        run.go(12, Duration::from_millis(3));
        assert!(run.pace.rate_bytes() <= 2 * SNAPSHOT_RATE_BYTES_MIN, "{}", run.pace.rate_bytes());
        run.go(40, Duration::from_millis(1));
        assert_eq!(run.pace.rate_bytes(), 64 * MIB);
    }

    #[test]
    fn a_log_that_is_slow_for_good_is_the_new_measure() {
        let mut run = Run::new(16 * MIB);
        run.go(8, Duration::from_millis(1));
        run.go(400, Duration::from_millis(3));
        assert_eq!(run.pace.rate_bytes(), 16 * MIB);
    }

    #[test]
    fn a_peer_that_is_slow_counts_too() {
        let mut run = Run::new(64 * MIB);
        run.go(20, Duration::from_millis(1));
        run.pace.hear(true);
        run.go(2, Duration::from_millis(1));
        assert!(run.pace.rate_bytes() < 64 * MIB);
    }

    #[test]
    fn without_commits_nothing_is_slow() {
        let mut run = Run::new(64 * MIB);
        run.go(100, Duration::ZERO);
        assert_eq!(run.pace.rate_bytes(), 64 * MIB);
    }
}
