//! The transport's metrics.

use metrics::{describe_counter, describe_gauge};

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
