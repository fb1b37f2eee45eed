//! Fail-stop: what was to be made durable may be lost, and nobody can tell. The process says so and ends; the next
//! start goes by what is on the disk.

use std::cell::Cell;
use std::fmt::Display;

thread_local! {
    /// Set on a simulation's thread, which ends one hub and has something to say about it.
    static PANICS: Cell<bool> = const { Cell::new(false) };
}

pub(crate) fn panic_from_now_on() {
    PANICS.set(true);
}

pub(crate) fn stop(what: &str, error: &dyn Display) -> ! {
    if PANICS.get() {
        panic!("{what}: {error}");
    }
    tracing::error!(%error, "{what}; aborting");
    eprintln!("hub-broker: {what}: {error}; aborting");
    std::process::abort();
}

/// Ends the process when its thread panics: half of the shards standing still in silence would be worse.
pub(crate) struct StopOnPanic;

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let thread = std::thread::current();
            stop("a thread of the shards has panicked", &thread.name().unwrap_or("unnamed"));
        }
    }
}
