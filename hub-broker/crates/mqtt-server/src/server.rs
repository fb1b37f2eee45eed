//! The listener: accepts, counts, hands sockets to their connections, and stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use fetch::Fetch;
use ingest::Ingest;
use metadata::Metadata;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::connection::{self, Hub};
use crate::door::Door;
use crate::fanout::Fanout;
use crate::limits::ACCEPT_BACKOFF;
use crate::observe::METRICS;
use crate::refusals::Refusals;
use crate::session::registry::Registry;

/// How often sessions of clients that stay away are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);
/// How often it is looked whether the files of certificates and passwords have changed.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(5);

/// Why the front cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("mqtt listener {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot start the MQTT fan-out: {0}")]
    Fanout(#[source] std::io::Error),
}

pub struct Server {
    plain: Listener,
    secure: Option<Listener>,
    hub: Arc<Hub>,
    places: Arc<Semaphore>,
    /// Ends the fan-out, after the connections.
    fanout_shutdown: CancellationToken,
}

struct Listener {
    socket: TcpListener,
    door: Arc<Door>,
}

impl Listener {
    async fn bind(address: SocketAddr, door: Door) -> Result<Self, BindError> {
        let bound = TcpListener::bind(address).await;
        let socket = bound.map_err(|source| BindError::Listen { address, source })?;
        Ok(Self { socket, door: Arc::new(door) })
    }
}

impl Server {
    /// Binds the port and starts the fan-out thread. Nothing is accepted before [`Server::run`].
    ///
    /// # Errors
    /// The port is taken, or the system has no thread to give.
    pub async fn bind(
        config: Config,
        ingest: Ingest,
        fetch: Fetch,
        metadata: Metadata,
    ) -> Result<Self, BindError> {
        let plain = Listener::bind(config.listen, Door::open()).await?;
        let secure = match &config.secure {
            Some(listener) => Some(Listener::bind(listener.listen, Door::secure(listener)).await?),
            None => None,
        };
        let fanout_shutdown = CancellationToken::new();
        let topics = config.routes.topics();
        let fanout = Fanout::start(fetch, metadata.clone(), topics, fanout_shutdown.clone())
            .map_err(BindError::Fanout)?;
        let hub = Hub {
            ingest,
            refusals: Arc::new(Refusals::new(metadata.clone())),
            metadata,
            fanout,
            registry: Arc::new(Registry::default()),
            routes: config.routes,
            connections: AtomicUsize::new(0),
            shutdown: CancellationToken::new(),
        };
        let places = Arc::new(Semaphore::new(config.connections_max));
        Ok(Self { plain, secure, hub: Arc::new(hub), places, fanout_shutdown })
    }

    /// The address that is listened on, with the port that the system chose.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.plain.socket.local_addr()
    }

    /// The same for the listener with TLS; `None` where there is none.
    #[must_use]
    pub fn secure_addr(&self) -> Option<SocketAddr> {
        self.secure.as_ref()?.socket.local_addr().ok()
    }

    /// Serves until `shutdown`; then lets connections acknowledge what is on its way, and returns.
    pub async fn run(self, shutdown: CancellationToken) {
        let connections = TaskTracker::new();
        let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
        let mut renewal = tokio::time::interval(RENEWAL_INTERVAL);
        loop {
            tokio::select! {
                accepted = self.plain.socket.accept() => {
                    self.accepted(&connections, &self.plain.door, accepted).await;
                }
                accepted = accept(self.secure.as_ref()) => {
                    if let Some(secure) = &self.secure {
                        self.accepted(&connections, &secure.door, accepted).await;
                    }
                }
                _ = expiry.tick() => self.expire().await,
                _ = renewal.tick() => self.renew(),
                () = shutdown.cancelled() => break,
            }
        }
        self.hub.shutdown.cancel();
        connections.close();
        connections.wait().await;
        self.fanout_shutdown.cancel();
    }

    async fn accepted(
        &self,
        connections: &TaskTracker,
        door: &Arc<Door>,
        accepted: std::io::Result<(TcpStream, SocketAddr)>,
    ) {
        match accepted {
            Ok((stream, peer)) => self.serve(connections, Arc::clone(door), stream, peer),
            Err(error) => {
                tracing::warn!(%error, "cannot accept MQTT connections");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }

    fn serve(&self, connections: &TaskTracker, door: Arc<Door>, stream: TcpStream, peer: SocketAddr) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            METRICS.connections_refused.increment(1);
            tracing::warn!(%peer, "too many MQTT connections: one more is closed");
            return;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        let hub = Arc::clone(&self.hub);
        connections.spawn(async move {
            if door.speaks_tls() {
                match door.handshake(stream).await {
                    Ok((stream, visitor)) => connection::serve(hub, stream, peer, visitor).await,
                    Err(error) => {
                        METRICS.connects_refused.increment(1);
                        tracing::warn!(%peer, %error, "an MQTT client was not let in");
                    }
                }
            } else {
                connection::serve(hub, stream, peer, door.visitor()).await;
            }
            drop(place);
        });
    }

    /// New connections are let in by what the files say now; a disk that is slow holds nobody up.
    fn renew(&self) {
        if let Some(secure) = &self.secure {
            let door = Arc::clone(&secure.door);
            tokio::task::spawn_blocking(move || door.renew());
        }
    }

    async fn expire(&self) {
        for session in self.hub.registry.expire(Instant::now()) {
            self.hub.fanout.remove(session.subscriber).await;
        }
    }
}

/// Never, where there is no such listener.
async fn accept(listener: Option<&Listener>) -> std::io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.socket.accept().await,
        None => std::future::pending().await,
    }
}
