//! What can be configured, and what it means once it was checked.

use std::fmt;
use std::net::IpAddr;
mod buffer;

use std::path::PathBuf;
use std::time::Duration;

use schemas::{DeviceId, DeviceIdError, TopicName, TopicNameError};
use serde::Deserialize;
use thiserror::Error;

pub use buffer::{BufferConfig, BufferSettings, BufferSettingsError};

use crate::limits::{BUFFER_BYTES_DEFAULT, BUFFER_BYTES_MAX, BUFFER_BYTES_MIN};

/// The settings as they stand in file, environment and flags.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `mqtt://HOST[:PORT]`, several separated by commas.
    pub hub: String,
    /// The device's name; derived from the hardware and kept where it is absent.
    pub device_id: Option<String>,
    /// Where the buffer and the device's name lie.
    pub data_dir: PathBuf,
    /// The log topic.
    pub topic: String,
    /// What the buffer may hold, in bytes; at most half of the free space at creation.
    pub buffer_bytes: u64,
    pub buffer: BufferSettings,
    /// How long a batch is filled, in ms; 0 makes every record durable on its own.
    pub linger_ms: u64,
    /// How often the host is read, in ms.
    pub host_interval_ms: u64,
    /// Whether `run` reads the host where no `[[inputs]]` are given.
    pub host_input: bool,
    /// How patiently the agent reconnects.
    pub profile: Profile,
    /// Whether a hub's clock is taken although it is neither authenticated nor on this machine.
    pub trust_hub_time: bool,
    pub inputs: Vec<InputSettings>,
    /// For tests alone: commits are not fsynced, and a power cut loses what was acknowledged.
    pub unsafe_no_fsync: bool,
}

/// `auto` is `lan` where every hub is on this machine, else `wan`.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    #[default]
    Auto,
    Lan,
    Wan,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum InputSettings {
    /// The machine that the agent runs on.
    Host { interval_ms: Option<u64>, topic: Option<String> },
    /// Standard input, to its end.
    Stdin { format: RowFormat, time_column: Option<String>, topic: Option<String> },
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum RowFormat {
    Csv,
    JsonLines,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hub: "mqtt://127.0.0.1:1883".to_owned(),
            device_id: None,
            data_dir: "headwater-agent".into(),
            topic: "telemetry".to_owned(),
            buffer_bytes: BUFFER_BYTES_DEFAULT,
            buffer: BufferSettings::default(),
            linger_ms: 1000,
            host_interval_ms: 5000,
            host_input: true,
            profile: Profile::Auto,
            trust_hub_time: false,
            inputs: Vec::new(),
            unsafe_no_fsync: false,
        }
    }
}

impl program::Settings for Settings {
    const KEYS: &'static [&'static str] = &[
        "hub",
        "device_id",
        "data_dir",
        "topic",
        "buffer_bytes",
        "buffer",
        "linger_ms",
        "host_interval_ms",
        "host_input",
        "profile",
        "trust_hub_time",
        "inputs",
        "unsafe_no_fsync",
    ];
}

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

/// An input as it will run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Host { interval: Duration, topic: TopicName },
    Stdin { format: RowFormat, time_column: Option<String>, topic: TopicName },
}

/// The settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// At least one; the agent goes round them.
    pub hubs: Vec<HubAddress>,
    pub device_id: Option<DeviceId>,
    pub data_dir: PathBuf,
    pub topic: TopicName,
    pub buffer_bytes: u64,
    pub buffer: BufferConfig,
    pub linger: Duration,
    pub inputs: Vec<Input>,
    /// Reconnects wait 5 s at most.
    pub is_lan: bool,
    pub trust_hub_time: bool,
    /// False only in tests of what must then break.
    pub fsync: bool,
}

#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("hub: {0:?} is not mqtt://HOST[:PORT]")]
    Hub(String),
    #[error("hub: {0:?}: TLS is not there yet, use mqtt://")]
    Tls(String),
    #[error("device_id: {0}")]
    DeviceId(#[from] DeviceIdError),
    #[error("topic: {0}")]
    Topic(#[from] TopicNameError),
    #[error("topic: {0} is one of the hubs' own")]
    InternalTopic(TopicName),
    #[error("buffer_bytes: {0} is less than {BUFFER_BYTES_MIN}, the smallest buffer")]
    BufferBytes(u64),
    #[error("buffer_bytes: {0} is more than {BUFFER_BYTES_MAX}, the largest buffer of this machine")]
    TooManyBufferBytes(u64),
    #[error(transparent)]
    Buffer(#[from] BufferSettingsError),
    #[error("{0}: an interval must be at least 10 ms")]
    Interval(&'static str),
    #[error("inputs: standard input can be read only once")]
    StdinTwice,
}

impl Settings {
    pub fn validate(self) -> Result<Config, ConfigError> {
        let hubs = self.hub.split(',').map(parse_hub).collect::<Result<Vec<_>, _>>()?;
        if self.buffer_bytes < BUFFER_BYTES_MIN {
            return Err(ConfigError::BufferBytes(self.buffer_bytes));
        }
        if self.buffer_bytes > BUFFER_BYTES_MAX {
            return Err(ConfigError::TooManyBufferBytes(self.buffer_bytes));
        }
        let topic = checked_topic(&self.topic)?;
        let is_lan = match self.profile {
            Profile::Auto => hubs.iter().all(HubAddress::is_loopback),
            Profile::Lan => true,
            Profile::Wan => false,
        };
        let inputs = self.inputs(&topic)?;
        Ok(Config {
            hubs,
            device_id: self.device_id.as_deref().map(DeviceId::try_from).transpose()?,
            data_dir: self.data_dir,
            topic,
            buffer_bytes: self.buffer_bytes,
            buffer: self.buffer.validate()?,
            linger: Duration::from_millis(self.linger_ms),
            inputs,
            is_lan,
            trust_hub_time: self.trust_hub_time,
            fsync: !self.unsafe_no_fsync,
        })
    }

    fn inputs(&self, default_topic: &TopicName) -> Result<Vec<Input>, ConfigError> {
        let host_interval = interval(self.host_interval_ms, "host_interval_ms")?;
        let topic = |own: &Option<String>| match own {
            Some(name) => checked_topic(name),
            None => Ok(default_topic.clone()),
        };
        if self.inputs.is_empty() {
            let host = Input::Host { interval: host_interval, topic: default_topic.clone() };
            return Ok(if self.host_input { vec![host] } else { vec![] });
        }
        let stdin_inputs = self.inputs.iter().filter(|input| matches!(input, InputSettings::Stdin { .. }));
        if stdin_inputs.count() > 1 {
            return Err(ConfigError::StdinTwice);
        }
        let checked = self.inputs.iter().map(|input| match input {
            InputSettings::Host { interval_ms, topic: own } => Ok(Input::Host {
                interval: match interval_ms {
                    Some(ms) => interval(*ms, "inputs.interval_ms")?,
                    None => host_interval,
                },
                topic: topic(own)?,
            }),
            InputSettings::Stdin { format, time_column, topic: own } => {
                Ok(Input::Stdin { format: *format, time_column: time_column.clone(), topic: topic(own)? })
            }
        });
        checked.collect()
    }
}

fn interval(ms: u64, key: &'static str) -> Result<Duration, ConfigError> {
    if ms < 10 { Err(ConfigError::Interval(key)) } else { Ok(Duration::from_millis(ms)) }
}

fn checked_topic(name: &str) -> Result<TopicName, ConfigError> {
    let topic = TopicName::try_from(name)?;
    if topic.is_internal() { Err(ConfigError::InternalTopic(topic)) } else { Ok(topic) }
}

fn parse_hub(text: &str) -> Result<HubAddress, ConfigError> {
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

    #[test]
    fn run_reads_the_host_unless_told_otherwise() {
        let config = Settings::default().validate().unwrap();
        assert!(matches!(config.inputs.as_slice(), [Input::Host { .. }]));
        let none = Settings { host_input: false, ..Settings::default() };
        assert!(none.validate().unwrap().inputs.is_empty());
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let wrong = [
            Settings { topic: "a b".into(), ..Settings::default() },
            Settings { topic: "__mine".into(), ..Settings::default() },
            Settings { device_id: Some("a/b".into()), ..Settings::default() },
            Settings { buffer_bytes: 1, ..Settings::default() },
            Settings { host_interval_ms: 0, ..Settings::default() },
        ];
        for settings in wrong {
            assert!(settings.clone().validate().is_err(), "{settings:?}");
        }
    }
}
