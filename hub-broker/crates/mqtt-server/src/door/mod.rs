//! Who may come in by a listener, and as whom.

mod keyring;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metadata::Principal;
use rumqttd::protocol::Login;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub use keyring::{KeyError, KeyFiles, Keyring};
pub use program::passwords::PasswordFileError;
pub use tls::{TlsError, TlsFiles};

use crate::reason::ConnectRefusal;

/// Time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A listener that speaks TLS.
#[derive(Clone)]
pub struct SecureListener {
    /// Where to listen. Port 0 takes any.
    pub listen: SocketAddr,
    /// Its certificates, and how clients say who they are.
    pub keyring: Arc<Keyring>,
}

impl std::fmt::Debug for SecureListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecureListener").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// The way in by one listener.
#[derive(Clone)]
pub struct Door {
    /// Of a door that speaks TLS.
    keyring: Option<Arc<Keyring>>,
}

/// Somebody who stands at a door.
#[derive(Clone)]
pub struct Visitor {
    door: Arc<Door>,
    /// The name in its verified certificate.
    certified: Option<Arc<str>>,
}

/// Why a TLS connection did not come about.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("no TLS handshake within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout,
    #[error("TLS: {0}")]
    Tls(#[from] std::io::Error),
    #[error("the client's certificate has no common name to know it by")]
    Nameless,
}

impl Door {
    /// Everybody comes in, and nobody is asked.
    #[must_use]
    pub fn open() -> Self {
        Self { keyring: None }
    }

    #[must_use]
    pub fn secure(listener: &SecureListener) -> Self {
        Self { keyring: Some(Arc::clone(&listener.keyring)) }
    }

    /// Reads certificates and passwords again if their files have changed.
    pub fn renew(&self) {
        if let Some(keyring) = &self.keyring {
            keyring.renew();
        }
    }

    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.keyring.is_some()
    }

    #[must_use]
    pub fn visitor(self: &Arc<Self>) -> Visitor {
        Visitor { door: Arc::clone(self), certified: None }
    }

    /// The TLS handshake of a door that [speaks it](Self::speaks_tls).
    pub async fn handshake(
        self: &Arc<Self>,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Visitor), HandshakeError> {
        let unsupported = || std::io::Error::from(std::io::ErrorKind::Unsupported);
        let tls = TlsAcceptor::from(self.keyring.as_ref().ok_or_else(unsupported)?.keys().tls);
        let accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
        let stream = accepted.await.map_err(|_| HandshakeError::Timeout)??;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certified = match certificates.first() {
            Some(certificate) => Some(tls::common_name(certificate).ok_or(HandshakeError::Nameless)?),
            None => None,
        };
        Ok((stream, Visitor { door: Arc::clone(self), certified }))
    }
}

impl Visitor {
    /// Who it is, by its certificate, else by name and password where the door asks for them.
    pub async fn identify(&self, login: Option<&Login>) -> Result<Principal, ConnectRefusal> {
        if let Some(name) = &self.certified {
            return proved(name);
        }
        let Some(keyring) = &self.door.keyring else { return Ok(Principal::anonymous()) };
        if let (Some(passwords), Some(login)) = (keyring.keys().passwords, login)
            && passwords.verify(&login.username, &login.password).await
        {
            return proved(&login.username);
        }
        if keyring.asks_who() { Err(ConnectRefusal::Unidentified) } else { Ok(Principal::anonymous()) }
    }
}

/// A name that was proved must not be the one of those who prove nothing.
fn proved(name: &str) -> Result<Principal, ConnectRefusal> {
    let principal = Principal::named(name);
    if principal.is_anonymous() { Err(ConnectRefusal::Unidentified) } else { Ok(principal) }
}
