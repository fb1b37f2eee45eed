//! How an input fares: what it counted, and what it says to people at a limited rate.

use std::fmt::Display;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Of what is wrong with values, one line so often.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Counted since the agent's start.
#[derive(Debug, Default)]
pub struct Health {
    rows: AtomicU64,
    filtered: AtomicU64,
    bad: AtomicU64,
    restarts: AtomicU64,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    last: Option<Instant>,
    unsaid: u64,
    last_error: Option<String>,
    last_bad: Option<String>,
}

/// What is told of an input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthView {
    /// Rows that were handed on.
    pub rows: u64,
    /// Rows of which the filters left nothing.
    pub filtered: u64,
    /// Rows and values that could not be taken.
    pub bad: u64,
    pub restarts: u64,
    /// Why it was started again last.
    pub last_error: Option<String>,
}

impl Health {
    pub fn count_row(&self) {
        self.rows.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_filtered(&self) {
        self.filtered.fetch_add(1, Ordering::Relaxed);
    }

    pub fn note_restart(&self, why: String) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
        if let Ok(mut log) = self.log.lock() {
            log.last_error = Some(why);
        }
    }

    /// Counts something that could not be taken, and says so unless something was said a moment ago.
    pub fn bad(&self, input: &str, what: &dyn Display) {
        self.bad.fetch_add(1, Ordering::Relaxed);
        let Ok(mut log) = self.log.lock() else { return };
        if let Some(unsaid) = log.say(Instant::now()) {
            tracing::warn!(input, unsaid, "{what}");
            log.last_bad = Some(what.to_string());
        }
    }

    /// What was said last of rows and values that could not be taken.
    pub fn last_bad(&self) -> Option<String> {
        self.log.lock().ok().and_then(|log| log.last_bad.clone())
    }

    pub fn view(&self) -> HealthView {
        HealthView {
            rows: self.rows.load(Ordering::Relaxed),
            filtered: self.filtered.load(Ordering::Relaxed),
            bad: self.bad.load(Ordering::Relaxed),
            restarts: self.restarts.load(Ordering::Relaxed),
            last_error: self.log.lock().ok().and_then(|log| log.last_error.clone()),
        }
    }
}

impl Log {
    /// Whether to say something now; then with how much was left unsaid since the last time.
    fn say(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < LOG_EVERY) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_and_little_is_said() {
        let (mut log, start) = (Log::default(), Instant::now());
        assert_eq!(log.say(start), Some(0));
        assert_eq!(log.say(start + Duration::from_secs(1)), None);
        assert_eq!(log.say(start + Duration::from_secs(9)), None);
        assert_eq!(log.say(start + LOG_EVERY), Some(2));
        let health = Health::default();
        for _ in 0..3 {
            health.bad("test", &"no number");
        }
        health.note_restart("gone".into());
        let view = health.view();
        assert_eq!((view.bad, view.restarts, view.last_error.as_deref()), (3, 1, Some("gone")));
    }
}
