//! An HTTP proxy on the way to the hubs.

use std::fmt;

use thiserror::Error;

/// A proxy that makes a tunnel for whoever asks it by CONNECT (RFC 9110, section 9.3.6).
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub host: String,
    pub port: u16,
    /// Name and password.
    pub login: Option<(String, String)>,
}

#[derive(Debug, Error)]
pub enum ProxyError {
    /// It is not shown: there may be a password in it.
    #[error("uplink.proxy: it must be http://[USER:PASSWORD@]HOST:PORT")]
    Shape,
    #[cfg(not(feature = "websocket"))]
    #[error("uplink.proxy: this program was built without proxies; build it with --features websocket")]
    NotBuilt,
}

impl Proxy {
    #[cfg(feature = "websocket")]
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        Self::read(text).ok_or(ProxyError::Shape)
    }

    #[cfg(not(feature = "websocket"))]
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        Err(if Self::read(text).is_some() { ProxyError::NotBuilt } else { ProxyError::Shape })
    }

    fn read(text: &str) -> Option<Self> {
        let rest = text.trim().strip_prefix("http://")?.trim_end_matches('/');
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login.split_once(':')?), place),
            None => (None, rest),
        };
        let (host, port) = place.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        if host.is_empty() || host.contains(['/', ' ']) {
            return None;
        }
        let login = login.map(|(name, password)| (name.to_owned(), password.to_owned()));
        Some(Self { host: host.to_owned(), port, login })
    }
}

/// Without the password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_and_a_port_and_perhaps_a_login() {
        let read = |text: &str| Proxy::read(text).map(|proxy| (proxy.host, proxy.port, proxy.login));
        assert_eq!(read("http://proxy:3128"), Some(("proxy".into(), 3128, None)));
        let login = Some(("u".to_owned(), "p@:w".to_owned()));
        assert_eq!(read("http://u:p@:w@10.0.0.1:80/"), Some(("10.0.0.1".into(), 80, login)));
        for bad in
            ["proxy:3128", "http://proxy", "https://proxy:1", "http://:1", "http://u@h:1", "http://a/b:1"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
