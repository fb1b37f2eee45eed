//! Fail-stop: what was to be made durable may be lost, and nobody can tell. The process says so and ends; the next
//! start goes by what is on the disk.

use std::fmt::Display;

pub(crate) fn stop(what: &str, error: &dyn Display) -> ! {
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
