//! What the transport is told at its start.

use std::net::SocketAddr;

use schemas::NodeId;
use uuid::Uuid;

/// How this hub meets the others.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where other hubs connect to this one. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The host and port that the others are told; `listen` as it was bound where none is given.
    pub advertise: Option<(String, u16)>,
    pub node: NodeId,
    /// The incarnation of the data directory: the same node with an empty directory is another hub.
    pub incarnation: Uuid,
    /// `host:port` of hubs to look for; may include this one.
    pub seeds: Vec<String>,
    /// Data shards of the cluster; hubs that disagree refuse each other.
    pub shard_count: u16,
    pub limits: Limits,
}

/// Bounds of what waits, per peer.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of beats, small messages and notices that wait to be sent.
    pub urgent_bytes_max: usize,
    /// Bytes of large messages that wait to be sent.
    pub message_bytes_max: usize,
    /// Bytes of requests and answers that wait to be sent.
    pub bulk_bytes_max: usize,
    /// Requests to one peer without an answer.
    pub requests_out_max: usize,
    /// Requests of one peer that this hub has not answered; more are refused as overload.
    pub requests_in_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            urgent_bytes_max: 8 * 1024 * 1024,
            message_bytes_max: 64 * 1024 * 1024,
            bulk_bytes_max: 64 * 1024 * 1024,
            requests_out_max: 1024,
            requests_in_max: 1024,
        }
    }
}
