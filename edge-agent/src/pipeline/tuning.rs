//! What of the batching may change while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// Shared by all batchers.
#[derive(Debug)]
pub struct Tuning {
    linger_ms: AtomicU64,
    flushes: watch::Sender<()>,
}

impl Tuning {
    /// `linger`: how long a batch is filled.
    pub fn new(linger: Duration) -> Arc<Self> {
        let tuning = Self { linger_ms: AtomicU64::new(0), flushes: watch::Sender::new(()) };
        tuning.set_linger(linger);
        Arc::new(tuning)
    }

    /// For batches that are begun from now on.
    pub fn set_linger(&self, linger: Duration) {
        let ms = u64::try_from(linger.as_millis()).unwrap_or(u64::MAX);
        self.linger_ms.store(ms, Ordering::Relaxed);
    }

    pub fn linger(&self) -> Duration {
        Duration::from_millis(self.linger_ms.load(Ordering::Relaxed))
    }

    /// Ends the batches that are being filled.
    pub fn flush(&self) {
        self.flushes.send_replace(());
    }

    pub(super) fn flushes(&self) -> watch::Receiver<()> {
        self.flushes.subscribe()
    }
}
