//! How much is written to the flash, and how long batches are to be filled so that it lasts.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::environment::{PAGE_BYTES, cost};

/// Pages that a commit writes beside its batches: the way down two trees, and the meta page.
const COMMIT_PAGES: u64 = 5;
/// What is written is looked at over so many commits, or so long, before the linger is changed.
const WINDOW_COMMITS: u32 = 8;
const WINDOW: Duration = Duration::from_secs(60);
/// The longest linger that a budget leads to: what lingers is lost in a crash.
const LINGER_MAX: Duration = Duration::from_secs(3600);
/// Where every record is to be durable on its own, stretching begins here.
const LINGER_MIN: Duration = Duration::from_millis(100);
const DAY_S: f64 = 86_400.0;
/// What may be written at once, as a share of the day's.
const BURST: f64 = 1.0 / 24.0;
/// How much the linger changes from one window to the next at most.
const CHANGE: (f64, f64) = (0.5, 2.0);

/// What one thread has the kernel write, as far as the kernel counts it.
#[derive(Debug, Default)]
pub(super) struct Meter {
    counted: Option<u64>,
}

impl Meter {
    /// Of the thread that calls it.
    pub fn start() -> Self {
        Self { counted: written_by_this_thread() }
    }

    /// The bytes since the last call, or since the start; where the kernel does not count, what a commit of
    /// `value_bytes` usually takes.
    pub fn since(&mut self, value_bytes: impl Iterator<Item = usize>) -> u64 {
        let before = self.counted;
        self.counted = written_by_this_thread();
        match (before, self.counted) {
            (Some(before), Some(now)) => now.saturating_sub(before),
            _ => estimate(value_bytes),
        }
    }
}

/// What a commit of entries of these sizes writes, in bytes.
pub(super) fn estimate(value_bytes: impl Iterator<Item = usize>) -> u64 {
    COMMIT_PAGES * PAGE_BYTES + value_bytes.map(cost).sum::<u64>()
}

/// `write_bytes` of proc(5): the bytes of pages that the thread made dirty, each page once until it is written.
fn written_by_this_thread() -> Option<u64> {
    let text = fs::read_to_string("/proc/thread-self/io").ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
}

/// Keeps what is written below a day's budget by stretching the linger.
#[derive(Debug)]
pub struct WearBudget {
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    /// None without a limit.
    bytes_per_s: Option<f64>,
    began: Instant,
    commits: u32,
    bytes: u64,
    /// What may be written on top of what comes with time, in bytes.
    credit: f64,
    /// The linger that is configured, once the batcher has asked.
    configured: Duration,
    /// Above the configured one where it is stretched.
    linger: Duration,
}

impl WearBudget {
    /// Without a limit, the linger stays as it is configured.
    pub fn new(bytes_per_day_max: Option<u64>, now: Instant) -> Self {
        let bytes_per_s = bytes_per_day_max.map(|bytes| bytes.max(1) as f64 / DAY_S);
        let credit = bytes_per_s.unwrap_or(0.0) * DAY_S * BURST;
        let (configured, linger) = (Duration::ZERO, Duration::ZERO);
        let window = Window { bytes_per_s, began: now, commits: 0, bytes: 0, credit, configured, linger };
        Self { window: Mutex::new(window) }
    }

    /// Another limit from now on; the same one changes nothing.
    pub fn set_budget(&self, bytes_per_day_max: Option<u64>) {
        let fresh = Self::new(bytes_per_day_max, Instant::now());
        let fresh = fresh.window.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut window = self.lock();
        if window.bytes_per_s != fresh.bytes_per_s {
            *window = fresh;
        }
    }

    /// How long a batch is to be filled where so long is configured.
    pub fn linger(&self, configured: Duration) -> Duration {
        let mut window = self.lock();
        if window.bytes_per_s.is_none() {
            return configured;
        }
        window.configured = configured;
        window.linger.max(configured)
    }

    /// The linger that is used now, where it is longer than the configured one.
    pub fn stretched(&self) -> Option<Duration> {
        let window = self.lock();
        (window.linger > window.configured).then_some(window.linger)
    }

    /// How long what may wait is to wait, where it would otherwise wait so long.
    pub(super) fn patience(&self, usual: Duration) -> Duration {
        self.stretched().map_or(usual, |linger| linger.max(usual))
    }

    /// Counts what a commit has written.
    pub(crate) fn note_commit(&self, bytes: u64, now: Instant) {
        let mut window = self.lock();
        let Some(bytes_per_s) = window.bytes_per_s else { return };
        window.commits += 1;
        window.bytes += bytes;
        let passed = now.saturating_duration_since(window.began);
        if window.commits < WINDOW_COMMITS && passed < WINDOW {
            return;
        }
        let before = window.linger;
        window.turn(bytes_per_s, passed.as_secs_f64().max(0.001));
        window.began = now;
        say(before, &window);
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    /// What is spent follows the number of commits, and so, for a given linger, its inverse.
    fn turn(&mut self, bytes_per_s: f64, passed_s: f64) {
        let burst = bytes_per_s * DAY_S * BURST;
        let spent = self.bytes as f64;
        self.credit = (self.credit + bytes_per_s * passed_s - spent).clamp(-burst * 24.0, burst);
        // Half a burst in hand is the aim: more is spent when there is more, less when there is less.
        let aim = bytes_per_s * (1.0 + (self.credit / burst - 0.5)).clamp(0.25, 1.5);
        let change = (spent / passed_s / aim).clamp(CHANGE.0, CHANGE.1);
        let floor = self.configured.max(LINGER_MIN);
        let wanted = self.linger.max(floor).mul_f64(change).min(LINGER_MAX.max(floor));
        self.linger = if wanted <= floor { self.configured } else { wanted };
        (self.commits, self.bytes) = (0, 0);
    }
}

/// Says it when stretching begins and ends.
fn say(before: Duration, window: &Window) {
    let was = before > window.configured;
    let is = window.linger > window.configured;
    let linger_ms = u64::try_from(window.linger.as_millis()).unwrap_or(u64::MAX);
    if is && !was {
        tracing::warn!(linger_ms, "batches are filled for longer: flash_bytes_per_day_max would not hold");
    } else if was && !is {
        tracing::info!(
            linger_ms,
            "batches are filled for as long as configured: flash_bytes_per_day_max holds"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: u64 = 28 << 10;

    /// Bytes that are written in so many hours, by so many destinations that each commit when their batch has lingered.
    fn written(budget: &WearBudget, hours: f64, destinations: u32, configured: Duration) -> u64 {
        let begin = Instant::now();
        let (mut passed, mut bytes) = (0.0, 0);
        while passed < hours * 3600.0 {
            passed += budget.linger(configured).as_secs_f64() / f64::from(destinations);
            budget.note_commit(COMMIT, begin + Duration::from_secs_f64(passed));
            bytes += COMMIT;
        }
        bytes
    }

    #[test]
    fn without_a_budget_nothing_is_stretched() {
        let budget = WearBudget::new(None, Instant::now());
        written(&budget, 1.0, 1, Duration::from_secs(1));
        assert_eq!(budget.linger(Duration::from_secs(1)), Duration::from_secs(1));
        assert_eq!(budget.stretched(), None);
    }

    #[test]
    fn a_budget_that_suffices_stretches_nothing() {
        let budget = WearBudget::new(Some(4 << 30), Instant::now());
        let bytes = written(&budget, 2.0, 1, Duration::from_secs(1));
        assert_eq!((bytes / COMMIT, budget.stretched()), (7200, None));
    }

    #[test]
    fn a_day_stays_within_its_budget_however_many_destinations_there_are() {
        for (megabytes, destinations) in [(100, 1), (100, 5), (500, 3), (20, 1)] {
            let budget = WearBudget::new(Some(megabytes << 20), Instant::now());
            let bytes = written(&budget, 24.0, destinations, Duration::from_secs(1));
            let share = bytes as f64 / (megabytes << 20) as f64;
            assert!((0.7..1.1).contains(&share), "{share} of {megabytes} MB by {destinations} destinations");
            assert!(budget.stretched().is_some());
        }
    }

    #[test]
    fn another_budget_counts_from_now_on() {
        let budget = WearBudget::new(None, Instant::now());
        budget.set_budget(Some(100 << 20));
        written(&budget, 24.0, 1, Duration::from_secs(1));
        let stretched = budget.stretched();
        assert!(stretched.is_some());
        budget.set_budget(Some(100 << 20));
        assert_eq!(budget.stretched(), stretched, "it is the same");
        budget.set_budget(None);
        assert_eq!(budget.stretched(), None);
        assert_eq!(budget.linger(Duration::from_secs(1)), Duration::from_secs(1));
    }

    #[test]
    fn what_a_commit_writes_is_counted_or_estimated() {
        assert_eq!(estimate([300].into_iter()), 5 * 4096 + cost(300));
        assert!(
            Meter::default().since([64 << 10].into_iter()) > 64 << 10,
            "nothing is known of what came before"
        );
    }
}
