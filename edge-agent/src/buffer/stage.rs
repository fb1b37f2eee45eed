//! What is being done to a buffer that is being opened, for those who wait for it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::scan::Pages;

/// Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stage(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_checked: AtomicBool,
    is_salvaged: AtomicBool,
    salvaged_bytes: AtomicU64,
}

impl Stage {
    /// Goes up for as long as a salvage comes on; the check is a process of its own, and does not tell.
    pub fn salvaged_bytes(&self) -> u64 {
        self.0.salvaged_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn checking(&self) {
        self.0.is_checked.store(true, Ordering::Relaxed);
    }

    pub(super) fn salvaging(&self) {
        self.0.is_salvaged.store(true, Ordering::Relaxed);
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text =
            match (self.0.is_salvaged.load(Ordering::Relaxed), self.0.is_checked.load(Ordering::Relaxed)) {
                (true, _) => "salvaging what can be read of a damaged buffer",
                (false, true) => "opening the buffer: it is checked, since the last stop was not a clean one",
                (false, false) => "opening the buffer",
            };
        formatter.write_str(text)
    }
}

/// Counts what is read of a damaged file.
pub(super) struct Counted<'a, P> {
    pub pages: &'a P,
    pub stage: &'a Stage,
}

impl<P: Pages> Pages for Counted<'_, P> {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        // What cannot be read takes its time too.
        self.stage.0.salvaged_bytes.fetch_add(into.len() as u64, Ordering::Relaxed);
        self.pages.read_at(into, position)
    }
}
