//! The pace that everything on this hub keeps which copies for other replicas, or from them.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use wal::Wal;

use crate::observe::snapshots as observe;
use crate::pace::{AskAgain, Pace};

pub(crate) use crate::pace::Place;

#[derive(Clone)]
pub(crate) struct Pacer {
    inner: Arc<Inner>,
}

struct Inner {
    pace: Mutex<Pace>,
    wal: Wal,
}

/// Something is copied for as long as this is kept.
pub(crate) struct Turn {
    inner: Arc<Inner>,
}

impl Pacer {
    pub(crate) fn new(wal: &Wal, rate_bytes_max: u64) -> Self {
        Self { inner: Arc::new(Inner { pace: Mutex::new(Pace::new(rate_bytes_max)), wal: wal.clone() }) }
    }

    /// A turn to copy `bytes`, for whoever keeps this place.
    pub(crate) fn ask(&self, bytes: u64, place: &mut Place) -> Result<Turn, AskAgain> {
        let commits = self.inner.wal.commit_times();
        let mut pace = self.inner.pace.lock();
        let asked = pace.ask(bytes, place, Instant::now(), &commits);
        observe::rate(pace.rate_bytes());
        asked.map(|()| Turn { inner: self.inner.clone() })
    }

    /// Another hub that takes part says how its log does.
    pub(crate) fn hear(&self, is_slow: bool) {
        self.inner.pace.lock().hear(is_slow);
    }

    /// Whether the log is slower than it would be without the copying.
    pub(crate) fn is_slow(&self) -> bool {
        self.inner.pace.lock().is_slow()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let commits = self.inner.wal.commit_times();
        self.inner.pace.lock().end(Instant::now(), &commits);
    }
}
