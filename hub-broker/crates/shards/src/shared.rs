//! What all threads of the shards know together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use peers::Peers;

use crate::clock::Clock;
use crate::leaders::Leaders;
use crate::order::Order;
use crate::readers::Readers;
use crate::replicas::Replicas;
use crate::space::Space;

pub(crate) struct Shared {
    pub clock: Arc<Clock>,
    pub space: Space,
    pub readers: Readers,
    pub queued_bytes: Arc<AtomicU64>,
    pub queued_bytes_max: u64,
    pub batch_bytes_max: usize,
    pub paused_shards: AtomicUsize,
    pub stopping: AtomicBool,
    /// Everything that lay here at the start has been read since, and what of it is damaged was told.
    pub is_read_through: Arc<AtomicBool>,
    pub tick: Duration,
    pub orders: Sender<Order>,
    pub checkpoint_bytes: u64,
    /// Bytes written to the WAL since a checkpoint was last ordered.
    pub wal_bytes: AtomicU64,
    /// The other hubs.
    pub peers: Peers,
    /// Which replicas this hub has.
    pub replicas: Arc<Replicas>,
    /// Who leads which group.
    pub leaders: Leaders,
    /// The cluster's, as far as this hub knows; see [`crate::feature`].
    pub feature_level: AtomicU16,
}

impl Shared {
    /// With every tick, by one of the executors: what do the metrics say.
    pub(crate) fn look_around(&self) {
        let flag = |set: bool| f64::from(u8::from(set));
        metrics::gauge!("headwater_shards_paused").set(self.paused_shards.load(Ordering::Relaxed) as f64);
        metrics::gauge!("headwater_queued_bytes").set(self.queued_bytes.load(Ordering::Relaxed) as f64);
        metrics::gauge!("headwater_disk_full").set(flag(self.space.is_full()));
        metrics::gauge!("headwater_clock_held").set(flag(self.clock.is_held()));
    }

    /// Counts what goes into the WAL, and orders a checkpoint when it is time.
    pub(crate) fn count_wal_bytes(&self, bytes: u64) {
        let before = self.wal_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before < self.checkpoint_bytes && before + bytes >= self.checkpoint_bytes {
            // The checkpointer is gone only when the hub stops.
            let _ = self.orders.send(Order::Due);
        }
    }
}
