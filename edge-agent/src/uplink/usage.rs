//! How many bytes were sent this month, over all starts of the agent.
//!
//! What is counted are packets with what TCP and TLS add to them, by estimate and rather too much than too little.
//! It is written down whenever a hundredth of what is allowed has come together, and at the end: a power cut makes it
//! forget at most that.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::data_dir::replace_file;

const VERSION: u32 = 1;
/// Without a limit it is written down this often.
const WRITE_EVERY_BYTES: u64 = 16 << 20;

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
struct Count {
    version: u32,
    /// Months since year 0; 0 until the time was known.
    month: i32,
    bytes: u64,
}

/// One for as long as the agent runs, whatever connections it makes.
#[derive(Debug)]
pub struct Usage {
    path: PathBuf,
    state: Mutex<State>,
    /// Held while it is written, so that an older count never takes the place of a newer one.
    writing: Mutex<()>,
}

#[derive(Debug)]
struct State {
    bytes_max: Option<u64>,
    count: Count,
    written: u64,
    /// Sent since the start.
    total: u64,
}

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    pub total: u64,
    pub this_month: u64,
    pub is_used_up: bool,
}

impl Usage {
    /// `path`: where the count is written down.
    pub fn open(path: PathBuf) -> Arc<Self> {
        let fresh = Count { version: VERSION, month: 0, bytes: 0 };
        let count = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).ok().filter(|count: &Count| count.version == VERSION),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(fresh),
            Err(_) => None,
        };
        if count.is_none() {
            tracing::warn!(file = %path.display(), "what was sent this month cannot be read; the count begins anew");
        }
        let count = count.unwrap_or(fresh);
        let state = State { bytes_max: None, count, written: count.bytes, total: 0 };
        Arc::new(Self { path, state: Mutex::new(state), writing: Mutex::new(()) })
    }

    /// What is allowed a month from now on.
    pub fn set_limit(&self, bytes_max: Option<u64>) {
        self.state().bytes_max = bytes_max;
    }

    /// Counts bytes; `wall_ms` is the time where it is known. True where it is time to write it down.
    pub fn add(&self, bytes: u64, wall_ms: Option<i64>) -> bool {
        let mut state = self.state();
        if let Some(month) = wall_ms.and_then(month_of)
            && month != state.count.month
        {
            // What was sent before anybody knew the month counts for this one.
            let is_first = state.count.month == 0;
            state.count = Count { month, bytes: if is_first { state.count.bytes } else { 0 }, ..state.count };
            state.written = 0;
        }
        state.count.bytes += bytes;
        state.total += bytes;
        let every = state.bytes_max.map_or(WRITE_EVERY_BYTES, |max| max / 100);
        let is_due = state.count.bytes - state.written >= every;
        if is_due {
            state.written = state.count.bytes;
        }
        is_due
    }

    pub fn sum(&self) -> Sum {
        let state = self.state();
        Sum {
            total: state.total,
            this_month: state.count.bytes,
            is_used_up: state.bytes_max.is_some_and(|max| state.count.bytes >= max),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the count down.
    pub fn write(&self) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let count = self.state().count;
        let written = serde_json::to_vec(&count)
            .map_err(|error| error.to_string())
            .and_then(|bytes| replace_file(&self.path, &bytes).map_err(|error| error.to_string()));
        if let Err(error) = written {
            tracing::warn!(error, "what was sent this month cannot be written down");
        }
    }
}

/// Months since year 0, in UTC.
fn month_of(wall_ms: i64) -> Option<i32> {
    let date = Timestamp::from_millisecond(wall_ms).ok()?.to_zoned(TimeZone::UTC).date();
    Some(i32::from(date.year()) * 12 + i32::from(date.month()) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOVEMBER_MS: i64 = 1_795_000_000_000;
    const DAY_MS: i64 = 24 * 3600 * 1000;

    fn open(folder: &tempfile::TempDir, max: Option<u64>) -> Arc<Usage> {
        let usage = Usage::open(folder.path().join("sent"));
        usage.set_limit(max);
        usage
    }

    #[test]
    fn it_is_used_up_until_the_month_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let usage = open(&folder, Some(1000));
        assert!(usage.add(999, Some(NOVEMBER_MS)) && !usage.sum().is_used_up);
        usage.add(1, Some(NOVEMBER_MS));
        assert!(usage.sum().is_used_up);
        usage.add(0, Some(NOVEMBER_MS + 31 * DAY_MS));
        assert_eq!(usage.sum(), Sum { total: 1000, this_month: 0, is_used_up: false });
    }

    #[test]
    fn a_restart_goes_on_with_what_was_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let usage = open(&folder, Some(1000));
        assert!(!usage.add(9, None), "less than a hundredth");
        assert!(usage.add(600, Some(NOVEMBER_MS)));
        usage.write();
        let again = open(&folder, Some(1000));
        assert_eq!(
            (again.sum().total, again.sum().this_month),
            (0, 609),
            "what came before the time was known too"
        );
        again.add(400, None);
        assert!(again.sum().is_used_up, "without the time it is the month that it was");
    }

    #[test]
    fn a_damaged_count_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sent"), "{").unwrap();
        assert_eq!(open(&folder, Some(1000)).sum().this_month, 0);
    }
}
