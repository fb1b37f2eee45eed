//! Waiting for the thing itself, with a deadline.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(10);

/// Waits until `ready` gives something.
///
/// # Panics
/// When `deadline` has passed; the message says what was waited for.
pub fn until<T>(what: &str, deadline: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain for {what}");
        pause(STEP);
    }
}

/// Lets time pass where passing time is the thing itself: a random moment before a kill, a step of a poll.
#[expect(clippy::disallowed_methods, reason = "this is the one place where tests let time pass")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
