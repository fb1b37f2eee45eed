//! How an input fares: what it counted, and what it says to people at a limited rate.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
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
    /// It failed, or waits, and has handed nothing on since.
    is_failing: AtomicBool,
    has_ended: AtomicBool,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    last: Option<Instant>,
    unsaid: u64,
    failing_since: Option<Instant>,
    last_error: Option<String>,
    last_bad: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputState {
    #[default]
    Running,
    /// It failed and is started again and again, or waits for a disk: nothing has come of it since.
    Failing,
    /// Its source has ended for good.
    Ended,
}

/// What is told of an input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthView {
    pub state: InputState,
    /// For how long it has been failing.
    pub failing_ms: Option<u64>,
    /// Rows that were handed on.
    pub rows: u64,
    /// Rows of which the filters left nothing.
    pub filtered: u64,
    /// Rows and values that could not be taken.
    pub bad: u64,
    pub restarts: u64,
    /// Why it was started again last, or waits, or what else is wrong.
    pub last_error: Option<String>,
    /// What could not be taken, said last.
    pub last_bad: Option<String>,
}

impl Health {
    pub fn count_row(&self) {
        self.rows.fetch_add(1, Ordering::Relaxed);
        self.note_well();
    }

    pub fn count_filtered(&self) {
        self.filtered.fetch_add(1, Ordering::Relaxed);
        self.note_well();
    }

    /// Something comes of it again.
    pub fn note_well(&self) {
        if self.is_failing.swap(false, Ordering::Relaxed)
            && let Ok(mut log) = self.log.lock()
        {
            log.failing_since = None;
        }
    }

    /// It failed, and is started again in a moment.
    pub fn note_restart(&self, why: String) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
        self.note_failing(why);
    }

    /// Nothing comes of it for now.
    pub fn note_failing(&self, why: String) {
        if let Ok(mut log) = self.log.lock() {
            log.last_error = Some(why);
            log.failing_since.get_or_insert_with(Instant::now);
            self.is_failing.store(true, Ordering::Relaxed);
        }
    }

    /// Something is wrong, and it goes on.
    pub fn note_trouble(&self, why: String) {
        if let Ok(mut log) = self.log.lock() {
            log.last_error = Some(why);
        }
    }

    /// Its source has ended, or begins again.
    pub fn note_ended(&self, has_ended: bool) {
        self.has_ended.store(has_ended, Ordering::Relaxed);
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
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let failing_ms = log.failing_since.map(|since| since.elapsed().as_millis());
        let state = match (self.has_ended.load(Ordering::Relaxed), failing_ms) {
            (true, _) => InputState::Ended,
            (false, Some(_)) => InputState::Failing,
            (false, None) => InputState::Running,
        };
        HealthView {
            state,
            failing_ms: failing_ms.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            rows: self.rows.load(Ordering::Relaxed),
            filtered: self.filtered.load(Ordering::Relaxed),
            bad: self.bad.load(Ordering::Relaxed),
            restarts: self.restarts.load(Ordering::Relaxed),
            last_error: log.last_error.clone(),
            last_bad: log.last_bad.clone(),
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
        assert_eq!(view.last_bad.as_deref(), Some("no number"));
    }

    #[test]
    fn an_input_fails_from_its_first_failure_to_its_next_row() {
        let health = Health::default();
        let state = || (health.view().state, health.view().failing_ms.is_some());
        assert_eq!(state(), (InputState::Running, false));
        health.note_restart("gone".into());
        let since = health.log.lock().unwrap().failing_since;
        health.note_restart("still gone".into());
        assert_eq!(state(), (InputState::Failing, true));
        assert_eq!(health.log.lock().unwrap().failing_since, since, "not from its last one");
        health.count_row();
        assert_eq!(state(), (InputState::Running, false));
        assert_eq!(health.view().last_error.as_deref(), Some("still gone"), "what was last is remembered");
        health.note_ended(true);
        assert_eq!(state(), (InputState::Ended, false));
    }
}
