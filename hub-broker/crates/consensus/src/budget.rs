//! Memory that the replicas of one hub share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of entries that replicas may keep together for followers that copy a snapshot, beyond what each may keep anyway.
#[derive(Debug, Clone)]
pub struct TailBudget {
    left: Arc<AtomicUsize>,
}

impl TailBudget {
    pub fn new(bytes: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(bytes)) }
    }
}

/// What one replica has of it, until it ends.
pub(crate) struct Share {
    budget: TailBudget,
    bytes: usize,
}

impl Share {
    pub(crate) fn new(budget: TailBudget) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Gives back what is too much, or takes what is missing as far as there is something left. Returns what it has.
    pub(crate) fn resize(&mut self, bytes: usize) -> usize {
        let left = &self.budget.left;
        let mut has = bytes;
        // Always succeeds: it always says what it wants.
        let _ = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            let all = left + self.bytes;
            has = bytes.min(all);
            Some(all - has)
        });
        self.bytes = has;
        has
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests;
