//! How the MQTT front is set up.

use std::net::SocketAddr;

use crate::door::SecureListener;
use crate::limits;
use crate::routes::Routes;

#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen. Port 0 takes any.
    pub listen: SocketAddr,
    /// Connections at a time; one more is closed at once. Default 10,000.
    pub connections_max: usize,
    /// A second listener, with TLS. None by default.
    pub secure: Option<SecureListener>,
    /// Where plain publishes go. By default everything goes into the log topic `mqtt`.
    pub routes: Routes,
}

impl Config {
    /// The defaults for a listener at this address.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        let connections_max = limits::CONNECTIONS_MAX_DEFAULT;
        Self { listen, connections_max, secure: None, routes: Routes::default() }
    }
}
