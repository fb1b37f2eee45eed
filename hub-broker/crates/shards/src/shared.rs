//! What all threads of the shards know together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::checkpointer::Order;
use crate::clock::Clock;
use crate::readers::Readers;
use crate::space::Space;

pub(crate) struct Shared {
    pub clock: Clock,
    pub space: Space,
    pub readers: Readers,
    pub queued_bytes: Arc<AtomicU64>,
    pub queued_bytes_max: u64,
    pub batch_bytes_max: usize,
    pub paused_shards: AtomicUsize,
    pub stopping: AtomicBool,
    pub tick: Duration,
    pub orders: Sender<Order>,
    pub checkpoint_bytes: u64,
    /// Bytes written to the WAL since a checkpoint was last ordered.
    pub wal_bytes: AtomicU64,
}

impl Shared {
    /// Counts what goes into the WAL, and orders a checkpoint when it is time.
    pub(crate) fn count_wal_bytes(&self, bytes: u64) {
        let before = self.wal_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before < self.checkpoint_bytes && before + bytes >= self.checkpoint_bytes {
            // The checkpointer is gone only when the hub stops.
            let _ = self.orders.send(Order::Due);
        }
    }
}
