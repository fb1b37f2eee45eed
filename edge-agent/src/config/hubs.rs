//! The hubs' addresses.

use std::fmt;
use std::net::IpAddr;

use super::ConfigError;

/// Where a hub listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubAddress {
    /// A name or an address; an IPv6 address stands in its brackets.
    pub host: String,
    pub port: u16,
}

impl HubAddress {
    /// Whether the hub is on this machine, so that its clock is this machine's business.
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mqtt://{}:{}", self.host, self.port)
    }
}

pub(super) fn parse_hub(text: &str) -> Result<HubAddress, ConfigError> {
    let text = text.trim();
    let wrong = || ConfigError::Hub(text.to_owned());
    if text.starts_with("mqtts://") {
        return Err(ConfigError::Tls(text.to_owned()));
    }
    let rest = text.strip_prefix("mqtt://").ok_or_else(wrong)?.trim_end_matches('/');
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (rest, 1883),
    };
    let bare = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    let is_address = match bare {
        Some(inner) => inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.contains([':', '/', '@', '?', ' ']),
    };
    if host.is_empty() || port == 0 || !is_address {
        return Err(wrong());
    }
    Ok(HubAddress { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(text: &str) -> Option<(String, u16)> {
        parse_hub(text).ok().map(|hub| (hub.host, hub.port))
    }

    #[test]
    fn a_hub_is_a_host_and_perhaps_a_port() {
        assert_eq!(hub("mqtt://hub.example:1884"), Some(("hub.example".into(), 1884)));
        assert_eq!(hub("mqtt://10.0.0.1"), Some(("10.0.0.1".into(), 1883)));
        assert_eq!(hub(" mqtt://[::1]:1 "), Some(("[::1]".into(), 1)));
        assert_eq!(hub("mqtt://[fe80::1]"), Some(("[fe80::1]".into(), 1883)));
        for bad in [
            "hub:1883",
            "mqtt://",
            "mqtt://:1",
            "mqtt://a:x",
            "mqtt://a:0",
            "mqtt://a/b",
            "mqtt://u@h",
            "mqtts://h",
        ] {
            assert_eq!(hub(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (text, loopback) in [
            ("mqtt://localhost", true),
            ("mqtt://127.0.0.9", true),
            ("mqtt://[::1]", true),
            ("mqtt://10.0.0.1", false),
            ("mqtt://localhost.example", false),
        ] {
            assert_eq!(parse_hub(text).unwrap().is_loopback(), loopback, "{text}");
        }
    }
}
