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
use crate::fanout::Fanout;
use crate::limits::ACCEPT_BACKOFF;
use crate::observe::METRICS;
use crate::refusals::Refusals;
use crate::session::registry::Registry;

/// How often sessions of clients that stay away are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);

/// Why the front cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("mqtt listener {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot start the MQTT fan-out: {0}")]
    Fanout(#[source] std::io::Error),
}

pub struct Server {
    listener: TcpListener,
    hub: Arc<Hub>,
    places: Arc<Semaphore>,
    /// Ends the fan-out, after the connections.
    fanout_shutdown: CancellationToken,
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
        let listen = |source| BindError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
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
        Ok(Self { listener, hub: Arc::new(hub), places, fanout_shutdown })
    }

    /// The address that is listened on, with the port that the system chose.
    ///
    /// # Errors
    /// The system does not say.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`; then lets connections acknowledge what is on its way, and returns.
    pub async fn run(self, shutdown: CancellationToken) {
        let connections = TaskTracker::new();
        let mut expiry = tokio::time::interval(EXPIRY_INTERVAL);
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => self.serve(&connections, stream, peer),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept MQTT connections");
                        tokio::time::sleep(ACCEPT_BACKOFF).await;
                    }
                },
                _ = expiry.tick() => self.expire().await,
                () = shutdown.cancelled() => break,
            }
        }
        self.hub.shutdown.cancel();
        connections.close();
        connections.wait().await;
        self.fanout_shutdown.cancel();
    }

    fn serve(&self, connections: &TaskTracker, stream: TcpStream, peer: SocketAddr) {
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
            connection::serve(hub, stream, peer).await;
            drop(place);
        });
    }

    async fn expire(&self) {
        for session in self.hub.registry.expire(Instant::now()) {
            self.hub.fanout.remove(session.subscriber).await;
        }
    }
}
