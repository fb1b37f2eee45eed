//! What a Kafka listener is told.

use std::net::SocketAddr;
use std::time::Duration;

use schemas::NodeId;

/// Where clients are told to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    pub host: String,
    pub port: u16,
}

#[derive(Debug, Clone)]
pub struct Config {
    /// Port 0 takes a free one.
    pub bind: SocketAddr,
    /// Default: the bound address. A wildcard address cannot be advertised: name one then.
    pub advertised: Option<Advertised>,
    /// This hub's node id. Default: 1.
    pub node: NodeId,
    /// The name under which other hubs register the same listener. Default: `kafka`.
    pub listener: String,
    /// Connections beyond this are closed at once. Default: 4,096.
    pub connections_max: usize,
    /// A connection on which nothing is asked and nothing is owed for this long is closed. Default: 10 min.
    pub idle_timeout: Duration,
    /// A request or a response that makes no progress for this long closes its connection, and so does a request
    /// that takes longer by this than its length does at 64 KiB/s. Default: 30 s.
    pub stall_timeout: Duration,
    /// Requests larger than 64 KiB hold at most this many bytes together, over all connections.
    /// Less than the largest request, 64 MiB, counts as that. Default: 256 MiB.
    pub request_bytes_held_max: usize,
}

impl Config {
    #[must_use]
    pub fn new(bind: SocketAddr) -> Self {
        Self {
            bind,
            advertised: None,
            node: NodeId(1),
            listener: "kafka".to_owned(),
            connections_max: 4096,
            idle_timeout: Duration::from_secs(600),
            stall_timeout: Duration::from_secs(30),
            request_bytes_held_max: 256 << 20,
        }
    }
}
