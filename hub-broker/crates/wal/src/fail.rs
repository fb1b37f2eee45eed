//! Fail-stop: after a failed write or sync nobody knows what is on the disk, so the process ends.

use std::{fmt, io, path::PathBuf, sync::Arc};

/// A write or sync that failed.
#[derive(Debug, thiserror::Error)]
#[error("write-ahead log: cannot {operation} {} at {position}: {error}", file.display())]
pub struct Failure {
    pub operation: &'static str,
    pub file: PathBuf,
    pub position: u64,
    pub error: io::Error,
}

/// What happens after a failure. The default says so and aborts; a test may look instead. If the hook returns, the
/// log is poisoned: nothing more is written and no further callback is called.
#[derive(Clone)]
pub struct Fail(Arc<dyn Fn(&Failure) + Send + Sync>);

impl Fail {
    pub fn new(hook: impl Fn(&Failure) + Send + Sync + 'static) -> Self {
        Fail(Arc::new(hook))
    }

    pub(crate) fn call(&self, failure: &Failure) {
        (self.0)(failure);
    }
}

impl Default for Fail {
    fn default() -> Self {
        Fail::new(|failure| {
            tracing::error!(%failure, "the disk failed the write-ahead log; aborting");
            eprintln!("{failure}; aborting");
            std::process::abort();
        })
    }
}

impl fmt::Debug for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fail")
    }
}
