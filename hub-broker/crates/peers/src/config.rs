//! What the transport is told at its start.

use std::{net::SocketAddr, time::Duration};

use schemas::NodeId;
use uuid::Uuid;

use crate::limits;

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

/// Bounds of what waits, per peer, and times.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of beats and small messages that wait to be sent.
    pub urgent_bytes_max: usize,
    /// Bytes of large messages that wait to be sent.
    pub message_bytes_max: usize,
    /// Bytes of requests and answers that wait to be sent.
    pub bulk_bytes_max: usize,
    /// Requests to one peer without an answer.
    pub requests_out_max: usize,
    /// Requests of one peer that this hub has not answered; more are refused as overload.
    pub requests_in_max: usize,
    /// Bytes of those requests; a request is always taken when there is no other.
    pub requests_in_bytes_max: usize,
    /// A connection on which nothing was sent for so long gets a ping.
    pub ping_interval: Duration,
    /// A connection on which nothing was heard for so long is closed.
    pub silence_max: Duration,
    /// A connection that took nothing of what waits for so long is closed.
    pub stall_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            urgent_bytes_max: limits::URGENT_QUEUE_BYTES,
            message_bytes_max: limits::MESSAGE_QUEUE_BYTES,
            bulk_bytes_max: limits::BULK_QUEUE_BYTES,
            requests_out_max: limits::REQUESTS_MAX,
            requests_in_max: limits::REQUESTS_MAX,
            requests_in_bytes_max: limits::BULK_QUEUE_BYTES,
            ping_interval: limits::PING_INTERVAL,
            silence_max: limits::SILENCE_MAX,
            stall_max: limits::STALL_MAX,
        }
    }
}
