//! Inputs that others send to: HTTP, a Unix socket; and what can be wrong with these and MQTT.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::Deserialize;
use thiserror::Error;

use super::format::FormatConfig;
use super::listen::ListenAddress;

/// InfluxDB's own.
const HTTP_LISTEN_DEFAULT: &str = "127.0.0.1:8086";
const BODY_BYTES: RangeInclusive<usize> = 1 << 10..=16 << 20;
const BODY_BYTES_DEFAULT: usize = 1 << 20;
const CONNECTIONS: RangeInclusive<usize> = 1..=1024;
const CONNECTIONS_DEFAULT: usize = 32;

/// Line protocol and SenML over HTTP.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// `IP:PORT` or `unix:PATH`.
    pub listen: Option<String>,
    /// Of a Unix socket, octal.
    pub mode: Option<String>,
    /// Tokens, one a line; clients must bring one of them.
    pub token_file: Option<PathBuf>,
    /// Beyond this machine clients need a token, unless this is said.
    pub allow_anonymous: bool,
    /// A request's body, as it comes and when it is unpacked.
    pub body_bytes_max: Option<usize>,
    /// Connections at a time; others wait.
    pub connections_max: Option<usize>,
}

/// Lines on a Unix socket.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct SocketSettings {
    pub path: String,
    /// Octal.
    pub mode: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpConfig {
    pub listen: ListenAddress,
    pub token_file: Option<PathBuf>,
    pub body_bytes_max: usize,
    pub connections_max: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SocketConfig {
    pub listen: ListenAddress,
    pub format: FormatConfig,
}

#[derive(Debug, Error)]
pub enum NetworkInputError {
    #[error("listen: {0:?} is no address; 127.0.0.1:8086, [::1]:8086 and unix:/run/agent/in.sock are such")]
    Listen(String),
    #[error("listen: {0} can be reached from other machines: give a `{1}`, or say allow_anonymous = true")]
    Open(SocketAddr, &'static str),
    #[error("allow_anonymous = true lets everyone in: it does not go with `{0}`")]
    ProofOfAnyone(&'static str),
    #[error(
        "a socket's path must be absolute, so that it does not depend on where the agent is started: {0:?}"
    )]
    RelativePath(String),
    #[error("a socket's path has at most {1} bytes: {0:?}")]
    LongPath(String, usize),
    #[error("mode: {0:?} is no octal number up to 777, such as \"660\"")]
    Mode(String),
    #[error("mode goes with a Unix socket")]
    ModeOfTcp,
    #[error("{0}: from {1} to {2} are allowed")]
    Range(&'static str, usize, usize),
    #[error("child: levels of a topic count from 1")]
    LevelZero,
    #[error("child = \"username\" needs a `password_file`: nobody else has proved a name")]
    UsernameUnproved,
    #[error("topic_prefix: {0:?} has a wildcard in it; a prefix is the beginning of a topic")]
    Prefix(String),
}

impl HttpSettings {
    pub(super) fn validate(self) -> Result<HttpConfig, NetworkInputError> {
        let listen = self.listen.as_deref().unwrap_or(HTTP_LISTEN_DEFAULT);
        let listen = ListenAddress::parse(listen, self.mode.as_deref())?;
        listen.guard(self.token_file.is_some(), self.allow_anonymous, "token_file")?;
        let body_bytes_max = self.body_bytes_max.unwrap_or(BODY_BYTES_DEFAULT);
        Ok(HttpConfig {
            listen,
            token_file: self.token_file,
            body_bytes_max: within("body_bytes_max", body_bytes_max, BODY_BYTES)?,
            connections_max: connections(self.connections_max)?,
        })
    }
}

impl SocketSettings {
    pub(super) fn validate(&self, format: FormatConfig) -> Result<SocketConfig, NetworkInputError> {
        Ok(SocketConfig { listen: ListenAddress::unix(&self.path, self.mode.as_deref())?, format })
    }
}

pub(super) fn connections(number: Option<usize>) -> Result<usize, NetworkInputError> {
    within("connections_max", number.unwrap_or(CONNECTIONS_DEFAULT), CONNECTIONS)
}

fn within(
    key: &'static str,
    number: usize,
    range: RangeInclusive<usize>,
) -> Result<usize, NetworkInputError> {
    if range.contains(&number) {
        return Ok(number);
    }
    Err(NetworkInputError::Range(key, *range.start(), *range.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(json: &str) -> Result<HttpConfig, String> {
        let settings: HttpSettings = serde_json::from_str(json).map_err(|error| error.to_string())?;
        settings.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn who_proves_nothing_comes_from_this_machine_only() {
        for listen in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "unix:/run/a.sock"] {
            assert!(http(&format!(r#"{{"listen":"{listen}"}}"#)).is_ok(), "{listen}");
        }
        for listen in ["0.0.0.0:1", "[::]:1", "192.168.1.2:1"] {
            let told = http(&format!(r#"{{"listen":"{listen}"}}"#)).unwrap_err();
            assert!(told.contains("token_file") && told.contains("allow_anonymous = true"), "{told}");
            assert!(http(&format!(r#"{{"listen":"{listen}","token_file":"/t"}}"#)).is_ok());
            assert!(http(&format!(r#"{{"listen":"{listen}","allow_anonymous":true}}"#)).is_ok());
        }
        assert!(http(r#"{"token_file":"/t","allow_anonymous":true}"#).unwrap_err().contains("token_file"));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (json, told) in [
            (r#"{"listen":"localhost:1"}"#, "no address"),
            (r#"{"listen":"127.0.0.1:1","mode":"600"}"#, "Unix socket"),
            (r#"{"listen":"unix:a.sock"}"#, "absolute"),
            (r#"{"listen":"unix:/a","mode":"rw"}"#, "octal"),
            (r#"{"listen":"unix:/a","mode":"7777"}"#, "octal"),
            (r#"{"body_bytes_max":1}"#, "body_bytes_max: from 1024"),
            (r#"{"connections_max":0}"#, "connections_max: from 1"),
            (r#"{"listn":"x"}"#, "listn"),
        ] {
            let said = http(json).unwrap_err();
            assert!(said.contains(told), "{json}: {said}");
        }
        let long = http(&format!(r#"{{"listen":"unix:/{}"}}"#, "x".repeat(100))).unwrap_err();
        assert!(long.contains("at most 96 bytes"), "{long}");
    }
}
