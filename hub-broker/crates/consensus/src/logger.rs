//! raft-rs logs through slog; what is worth a person's attention goes on to tracing.

use slog::{Drain, Level, Logger, Never, OwnedKVList, Record, o};

/// What every leader of a hub that is cut off, or was stopped for a while, says at once. Who leads how much is told for
/// the whole hub.
const STEPPED_DOWN: &str = "stepped down to follower since quorum is not active";

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _values: &OwnedKVList) -> Result<(), Never> {
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(target: "consensus", "{}", record.msg()),
            Level::Warning if record.msg().to_string() == STEPPED_DOWN => {
                tracing::debug!(target: "consensus", "{STEPPED_DOWN}");
            }
            Level::Warning => tracing::warn!(target: "consensus", "{}", record.msg()),
            Level::Info | Level::Debug | Level::Trace => {}
        }
        Ok(())
    }
}

pub(crate) fn logger() -> Logger {
    Logger::root(ToTracing, o!())
}
