//! The transport's metrics and figures.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use schemas::NodeId;

use crate::Stats;

/// Says what the metrics mean. The recorder MUST be there before.
pub fn describe() {
    describe_gauge!("headwater_peer_connected", "1 while the hub named by `node` is connected.");
    describe_counter!("headwater_peer_connections_total", "Connections made with the hub named by `node`.");
    describe_counter!("headwater_peer_sent_bytes_total", "Bytes sent to the hub named by `node`.");
    describe_counter!("headwater_peer_received_bytes_total", "Bytes received from the hub named by `node`.");
    describe_counter!(
        "headwater_peer_dropped_parcels_total",
        "Consensus messages to the hub named by `node` that found no room or no connection."
    );
    describe_gauge!("headwater_peer_queued_bytes", "Bytes that wait to be sent to the hub named by `node`.");
}

/// Figures over all peers.
#[derive(Default)]
pub(crate) struct Totals {
    sent_bytes: AtomicU64,
    sent_frames: AtomicU64,
    received_bytes: AtomicU64,
    received_frames: AtomicU64,
    dropped_parcels: AtomicU64,
    connections: AtomicU64,
}

impl Totals {
    pub fn dropped(&self, parcels: usize) {
        self.dropped_parcels.fetch_add(parcels as u64, Ordering::Relaxed);
    }

    pub fn stats(&self, connected: usize) -> Stats {
        Stats {
            connected,
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            sent_frames: self.sent_frames.load(Ordering::Relaxed),
            received_frames: self.received_frames.load(Ordering::Relaxed),
            dropped_parcels: self.dropped_parcels.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
        }
    }
}

/// Figures of one peer.
pub(crate) struct Figures {
    totals: Arc<Totals>,
    connected: Gauge,
    connections: Counter,
    sent_bytes: Counter,
    received_bytes: Counter,
    dropped_parcels: Counter,
    queued_bytes: Gauge,
}

impl Figures {
    pub fn new(node: NodeId, totals: Arc<Totals>) -> Self {
        let node = node.to_string();
        Self {
            totals,
            connected: gauge!("headwater_peer_connected", "node" => node.clone()),
            connections: counter!("headwater_peer_connections_total", "node" => node.clone()),
            sent_bytes: counter!("headwater_peer_sent_bytes_total", "node" => node.clone()),
            received_bytes: counter!("headwater_peer_received_bytes_total", "node" => node.clone()),
            dropped_parcels: counter!("headwater_peer_dropped_parcels_total", "node" => node.clone()),
            queued_bytes: gauge!("headwater_peer_queued_bytes", "node" => node),
        }
    }

    pub fn up(&self) {
        self.connected.set(1.0);
        self.connections.increment(1);
        self.totals.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub fn down(&self) {
        self.connected.set(0.0);
        self.queued_bytes.set(0.0);
    }

    pub fn sent(&self, bytes: usize, frames: u64) {
        self.sent_bytes.increment(bytes as u64);
        self.totals.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.totals.sent_frames.fetch_add(frames, Ordering::Relaxed);
    }

    pub fn received(&self, bytes: usize, frames: u64) {
        self.received_bytes.increment(bytes as u64);
        self.totals.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.totals.received_frames.fetch_add(frames, Ordering::Relaxed);
    }

    pub fn dropped(&self, parcels: usize) {
        self.dropped_parcels.increment(parcels as u64);
        self.totals.dropped(parcels);
    }

    pub fn queued(&self, bytes: usize) {
        self.queued_bytes.set(bytes as f64);
    }
}
