//! What can go wrong, one enum per operation.

use std::{io, net::SocketAddr};

use bytes::Bytes;

/// The transport did not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen for other hubs on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    /// Others could not reach this hub by the address that it was bound to.
    #[error("the cluster listener on {address} needs an advertised address")]
    NoAdvertisedAddress { address: SocketAddr },
    #[error("`{seed}` is no HOST:PORT")]
    Seed { seed: String },
}

/// A request that was not answered with success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nothing was sent.
    #[error("not connected")]
    NotConnected,
    /// The peer may have acted on the request.
    #[error("no answer in time")]
    Timeout,
    /// The peer's handler refused it; the bytes are its reason, in the request kind's own format.
    #[error("refused by the peer")]
    Refused(Bytes),
    /// The peer does not serve this kind (yet). It did nothing.
    #[error("the peer does not serve such requests")]
    UnknownKind,
    /// Too much waits here or there. Nothing was done.
    #[error("too many requests")]
    Overloaded,
    /// The connection ended, or the peer's handler gave no answer or one that the peer had no room for. The peer may
    /// have acted on the request.
    #[error("the connection ended before the answer")]
    Lost,
    /// The body is larger than [`crate::REQUEST_BYTES_MAX`]. Nothing was sent.
    #[error("the request is too large")]
    TooLarge,
}
