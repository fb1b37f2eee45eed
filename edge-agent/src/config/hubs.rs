//! The hubs' addresses.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use thiserror::Error;

/// How a hub is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Mqtt,
    /// MQTT over TLS.
    Mqtts,
    /// MQTT over WebSocket.
    #[cfg(feature = "websocket")]
    Ws,
    /// MQTT over WebSocket over TLS.
    #[cfg(feature = "websocket")]
    Wss,
}

/// Where a hub listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubAddress {
    pub scheme: Scheme,
    /// A name or an address; an IPv6 address stands in its brackets.
    pub host: String,
    pub port: u16,
    /// A WebSocket's path, which begins with `/`; else empty.
    pub path: String,
}

#[derive(Debug, Error)]
pub enum HubError {
    #[error("hub: {0:?} is not mqtt://HOST[:PORT] or mqtts://HOST[:PORT]")]
    Shape(String),
    #[error("hub: {0:?}: this program was built without WebSocket; build it with --features websocket")]
    NoWebSocket(String),
}

impl Scheme {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "mqtt" => Some(Self::Mqtt),
            "mqtts" => Some(Self::Mqtts),
            #[cfg(feature = "websocket")]
            "ws" => Some(Self::Ws),
            #[cfg(feature = "websocket")]
            "wss" => Some(Self::Wss),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            #[cfg(feature = "websocket")]
            Self::Ws => "ws",
            #[cfg(feature = "websocket")]
            Self::Wss => "wss",
        }
    }

    /// The port where none is given.
    fn port(self) -> u16 {
        match self {
            Self::Mqtt => 1883,
            Self::Mqtts => 8883,
            #[cfg(feature = "websocket")]
            Self::Ws => 80,
            #[cfg(feature = "websocket")]
            Self::Wss => 443,
        }
    }

    /// Whether the hub proves who it is, and nobody else can read along.
    pub fn is_tls(self) -> bool {
        match self {
            Self::Mqtt => false,
            Self::Mqtts => true,
            #[cfg(feature = "websocket")]
            Self::Ws => false,
            #[cfg(feature = "websocket")]
            Self::Wss => true,
        }
    }

    /// Where MQTT is served by most who serve it over WebSocket.
    fn path(self) -> &'static str {
        match self {
            Self::Mqtt | Self::Mqtts => "",
            #[cfg(feature = "websocket")]
            Self::Ws | Self::Wss => "/mqtt",
        }
    }
}

impl HubAddress {
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let text = text.trim();
        let wrong = || HubError::Shape(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
        let scheme = match scheme {
            "ws" | "wss" if cfg!(not(feature = "websocket")) => {
                return Err(HubError::NoWebSocket(text.to_owned()));
            }
            other => Scheme::parse(other).ok_or_else(wrong)?,
        };
        let (place, path) = match rest.split_once('/') {
            None | Some((_, "")) => (rest.trim_end_matches('/'), scheme.path().to_owned()),
            Some(_) if scheme.path().is_empty() => return Err(wrong()),
            Some((place, path)) => (place, format!("/{path}")),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (place, scheme.port()),
        };
        let is_address = match unbracketed(host) {
            Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
            None => !host.contains([':', '/', '@', '?', '#', ' ']),
        };
        if host.is_empty() || port == 0 || !is_address {
            return Err(wrong());
        }
        Ok(Self { scheme, host: host.to_owned(), port, path })
    }

    /// The host without an IPv6 address's brackets.
    pub fn bare_host(&self) -> &str {
        unbracketed(&self.host).unwrap_or(&self.host)
    }

    /// Whether the hub is on this machine, so that its clock is this machine's business.
    pub fn is_loopback(&self) -> bool {
        let bare = self.bare_host();
        bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

fn unbracketed(host: &str) -> Option<&str> {
    host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'))
}

impl fmt::Display for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}{}", self.scheme.name(), self.host, self.port, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(text: &str) -> Option<(Scheme, String, u16)> {
        HubAddress::parse(text).ok().map(|hub| (hub.scheme, hub.host, hub.port))
    }

    #[test]
    fn a_hub_is_a_host_and_perhaps_a_port() {
        assert_eq!(hub("mqtt://hub.example:1884"), Some((Scheme::Mqtt, "hub.example".into(), 1884)));
        assert_eq!(hub("mqtt://10.0.0.1/"), Some((Scheme::Mqtt, "10.0.0.1".into(), 1883)));
        assert_eq!(hub("mqtts://hub.example"), Some((Scheme::Mqtts, "hub.example".into(), 8883)));
        assert_eq!(hub(" mqtts://[::1]:1 "), Some((Scheme::Mqtts, "[::1]".into(), 1)));
        assert_eq!(hub("mqtt://[fe80::1]"), Some((Scheme::Mqtt, "[fe80::1]".into(), 1883)));
        for bad in [
            "hub:1883",
            "mqtt://",
            "mqtt://:1",
            "mqtt://a:x",
            "mqtt://a:0",
            "mqtt://a/b",
            "mqtt://u@h",
            "mqtts://[x]",
            "http://h",
        ] {
            assert_eq!(hub(bad), None, "{bad}");
        }
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn a_websocket_has_a_path() {
        let shown = |text: &str| HubAddress::parse(text).unwrap().to_string();
        assert_eq!(shown("ws://hub.example"), "ws://hub.example:80/mqtt");
        assert_eq!(shown("wss://hub.example:8443/a/b"), "wss://hub.example:8443/a/b");
    }

    #[cfg(not(feature = "websocket"))]
    #[test]
    fn a_websocket_needs_a_build_with_it() {
        let error = HubAddress::parse("wss://hub.example").unwrap_err().to_string();
        assert!(error.contains("--features websocket"), "{error}");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (text, loopback) in [
            ("mqtt://localhost", true),
            ("mqtt://127.0.0.9", true),
            ("mqtts://[::1]", true),
            ("mqtt://10.0.0.1", false),
            ("mqtt://localhost.example", false),
        ] {
            assert_eq!(HubAddress::parse(text).unwrap().is_loopback(), loopback, "{text}");
        }
    }
}
