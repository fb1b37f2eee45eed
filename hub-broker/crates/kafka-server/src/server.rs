//! The listener: accepts connections, bounds their number, and ends them on shutdown.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use fetch::Fetch;
use groups::Groups;
use ingest::Ingest;
use metadata::Metadata;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::config::{Advertised, Config};
use crate::connection;
use crate::observe::METRICS;
use crate::session::{Context, Session};

#[derive(Debug, Error)]
pub enum BindError {
    #[error("cannot listen for Kafka clients on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    /// Clients would be told to connect to an address that is none.
    #[error("{address} is no address to advertise to Kafka clients: name one that they can reach")]
    NotAdvertisable { address: SocketAddr },
}

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// An address that is taken and at which nobody listens yet: connections to it are refused.
#[derive(Debug)]
pub struct Reserved {
    socket: TcpSocket,
    local_address: SocketAddr,
    advertised: Advertised,
}

impl Reserved {
    pub fn take(config: &Config) -> Result<Self, BindError> {
        let address = config.bind;
        let failed = |source| BindError::Listen { address, source };
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.map_err(failed)?;
        // A hub that is started again does not wait for its last connections to be forgotten.
        socket.set_reuseaddr(true).map_err(failed)?;
        socket.bind(address).map_err(failed)?;
        let local_address = socket.local_addr().map_err(failed)?;
        let advertised = match &config.advertised {
            Some(advertised) => advertised.clone(),
            None if address.ip().is_unspecified() => return Err(BindError::NotAdvertisable { address }),
            None => Advertised { host: local_address.ip().to_string(), port: local_address.port() },
        };
        Ok(Self { socket, local_address, advertised })
    }

    /// Where clients are told to connect to.
    #[must_use]
    pub fn advertised(&self) -> &Advertised {
        &self.advertised
    }
}

pub struct Server {
    listener: TcpListener,
    local_address: SocketAddr,
    context: Arc<Context>,
    places: Arc<Semaphore>,
}

impl Server {
    /// Lets clients in at an address that was reserved with the same configuration.
    pub fn open(
        reserved: Reserved,
        config: Config,
        ingest: Ingest,
        fetch: Fetch,
        groups: Groups,
        metadata: Metadata,
    ) -> Result<Self, BindError> {
        let Reserved { socket, local_address, advertised } = reserved;
        let failed = |source| BindError::Listen { address: local_address, source };
        let listener = socket.listen(BACKLOG).map_err(failed)?;
        let places = Arc::new(Semaphore::new(config.connections_max));
        let context = Arc::new(Context::new(config, advertised, ingest, fetch, groups, metadata));
        Ok(Self { listener, local_address, context, places })
    }

    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_address
    }

    /// Serves until `shutdown`. Connections end between two requests, or at the latest with the process.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(ended) = connections.join_next() => report(ended),
                accepted = self.listener.accept() => match accepted {
                    Ok((socket, peer)) => self.admit(socket, peer, &shutdown, &mut connections),
                    Err(error) => self.pause_after(&error).await,
                },
            }
        }
        drop(self.listener);
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    }

    fn admit(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        shutdown: &CancellationToken,
        connections: &mut JoinSet<()>,
    ) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            METRICS.connections_refused.increment(1);
            tracing::warn!(%peer, "too many Kafka connections: closed");
            return;
        };
        let session = Arc::new(Session::new(Arc::clone(&self.context), peer));
        connections.spawn(serve(socket, session, shutdown.clone(), place));
    }

    /// Out of file descriptors: they come back when connections end, and asking again at once would spin.
    async fn pause_after(&self, error: &io::Error) {
        tracing::warn!(%error, "cannot accept a Kafka connection");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn serve(
    socket: TcpStream,
    session: Arc<Session>,
    shutdown: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    METRICS.connections.increment(1.0);
    let _counted = Counted;
    let peer = session.peer;
    match connection::run(socket, session, shutdown).await {
        Ok(()) => tracing::debug!(%peer, "Kafka connection ended"),
        Err(error) if error.is_clients_fault() => {
            METRICS.connections_broken.increment(1);
            tracing::warn!(%peer, %error, "Kafka connection closed");
        }
        Err(error) => tracing::debug!(%peer, %error, "Kafka connection closed"),
    }
}

/// Counts a connection down however it ends.
struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        METRICS.connections.decrement(1.0);
    }
}

/// A panic ends its own connection only; it is a fault of ours, so it is told.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        METRICS.connections_panicked.increment(1);
        tracing::error!(%error, "a Kafka connection panicked");
    }
}
