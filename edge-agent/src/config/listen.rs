//! Where an input listens, and who may come to it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::network_inputs::NetworkInputError as Error;

/// A Unix socket's path has 108 bytes; the name under which it is made is a little longer than its own.
const SOCKET_PATH_BYTES_MAX: usize = 96;
/// The agent's user and group.
const MODE_DEFAULT: u32 = 0o660;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    Unix { path: PathBuf, mode: u32 },
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

impl ListenAddress {
    /// `IP:PORT`, or `unix:PATH`, which has a mode.
    pub(super) fn parse(text: &str, mode: Option<&str>) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::unix(path, mode);
        }
        if mode.is_some() {
            return Err(Error::ModeOfTcp);
        }
        text.parse().map(Self::Tcp).map_err(|_| Error::Listen(text.to_owned()))
    }

    pub(super) fn unix(path: &str, mode: Option<&str>) -> Result<Self, Error> {
        if !path.starts_with('/') {
            return Err(Error::RelativePath(path.to_owned()));
        }
        if path.len() > SOCKET_PATH_BYTES_MAX {
            return Err(Error::LongPath(path.to_owned(), SOCKET_PATH_BYTES_MAX));
        }
        let wrong = |text: &str| Error::Mode(text.to_owned());
        let mode = match mode {
            None => MODE_DEFAULT,
            Some(text) => u32::from_str_radix(text, 8).map_err(|_| wrong(text))?,
        };
        if mode > 0o777 {
            Err(wrong(&format!("{mode:o}")))
        } else {
            Ok(Self::Unix { path: path.into(), mode })
        }
    }

    /// Clients that prove nothing may only come from this machine, unless that is said. `proof` is the key of what
    /// they would prove themselves with.
    pub(super) fn guard(
        &self,
        has_proof: bool,
        allow_anonymous: bool,
        proof: &'static str,
    ) -> Result<(), Error> {
        match self {
            _ if has_proof && allow_anonymous => Err(Error::ProofOfAnyone(proof)),
            Self::Tcp(address) if !(has_proof || allow_anonymous || address.ip().is_loopback()) => {
                Err(Error::Open(*address, proof))
            }
            _ => Ok(()),
        }
    }
}
