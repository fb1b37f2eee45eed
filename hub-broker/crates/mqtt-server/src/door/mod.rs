//! Who may come in by a listener, and as whom.

mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metadata::Principal;
use rumqttd::protocol::Login;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub use program::passwords::{PasswordFileError, Passwords};
pub use tls::{TlsError, TlsFiles};

use crate::reason::ConnectRefusal;

/// Time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A listener that speaks TLS.
#[derive(Clone)]
pub struct SecureListener {
    /// Where to listen. Port 0 takes any.
    pub listen: SocketAddr,
    pub tls: Arc<rustls::ServerConfig>,
    /// Clients without a certificate give a name and password of these.
    pub passwords: Option<Arc<Passwords>>,
    /// Client certificates are asked for and verified.
    pub asks_certificates: bool,
}

impl std::fmt::Debug for SecureListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecureListener").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// The way in by one listener.
#[derive(Clone)]
pub struct Door {
    tls: Option<TlsAcceptor>,
    passwords: Option<Arc<Passwords>>,
    /// Nobody comes in without saying who it is.
    must_identify: bool,
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
        Self { tls: None, passwords: None, must_identify: false }
    }

    #[must_use]
    pub fn secure(listener: &SecureListener) -> Self {
        Self {
            tls: Some(TlsAcceptor::from(Arc::clone(&listener.tls))),
            passwords: listener.passwords.clone(),
            must_identify: listener.asks_certificates || listener.passwords.is_some(),
        }
    }

    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        self.tls.is_some()
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
        let tls = self.tls.as_ref().ok_or_else(|| std::io::Error::from(std::io::ErrorKind::Unsupported))?;
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
        if let (Some(passwords), Some(login)) = (&self.door.passwords, login)
            && passwords.clone().verify(&login.username, &login.password).await
        {
            return proved(&login.username);
        }
        if self.door.must_identify { Err(ConnectRefusal::Unidentified) } else { Ok(Principal::anonymous()) }
    }
}

/// A name that was proved must not be the one of those who prove nothing.
fn proved(name: &str) -> Result<Principal, ConnectRefusal> {
    let principal = Principal::named(name);
    if principal.is_anonymous() { Err(ConnectRefusal::Unidentified) } else { Ok(principal) }
}
