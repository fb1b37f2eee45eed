//! What can be configured, and what it means once it was checked.

mod buffer;
mod desired;
mod file_inputs;
mod format;
mod hubs;
mod inputs;
mod listen;
mod modbus;
mod mqtt_input;
mod network_inputs;
mod operations;
mod profile;
mod proxy;
mod sensors;
mod uplink;

use std::path::PathBuf;
use std::time::Duration;

use schemas::{DeviceId, DeviceIdError, TopicName, TopicNameError};
use serde::Deserialize;
use thiserror::Error;

pub use buffer::{BufferConfig, BufferSettings, BufferSettingsError};
pub use desired::{DesiredError, DesiredSettings};
pub use file_inputs::{Done, FilesConfig, TailConfig, TailFrom};
pub use format::{
    ColumnKey, ColumnSettings, ColumnType, CsvConfig, FormatConfig, Precision, RowFormat, TimeConfig,
    TimeFormat, UnixUnit,
};
pub use hubs::{HubAddress, HubError, Scheme};
pub use inputs::{ExecConfig, ExecRun, HostConfig, InputConfig, InputConfigError, InputKind, InputSettings};
pub use listen::ListenAddress;
pub use modbus::{
    ByteOrder, Form, ModbusAddress, ModbusConfig, ModbusError, ModbusParity, ModbusTable, NumberType,
    Register, SerialLine,
};
pub use mqtt_input::{ChildName, ChildSettings, MqttConfig, Payload};
pub use network_inputs::{HttpConfig, NetworkInputError, SocketConfig};
pub use operations::{RemoteSettings, StatusConfig, StatusSettings};
pub use profile::{Link, Profile};
pub use proxy::Proxy;
pub use sensors::{Deadband, SensorError, SensorRule, SensorSettings};
pub use uplink::{CatchUp, Login, TlsSettings, UplinkOptions, UplinkSettings, UplinkSettingsError};

use crate::limits::{
    BUFFER_BYTES_DEFAULT, BUFFER_BYTES_MAX, BUFFER_BYTES_MIN, INPUTS_MAX, LINGER_MS_MAX,
    STATUS_INTERVAL_S_MAX, TRIAL_S,
};

/// The settings as they stand in file, environment and flags.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `mqtt://HOST[:PORT]` or `mqtts://HOST[:PORT]`, several separated by commas.
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
    /// What kind of link leads to the hubs.
    pub profile: Profile,
    pub uplink: UplinkSettings,
    pub tls: TlsSettings,
    /// Whether a hub's clock is taken although it is neither authenticated nor on this machine.
    pub trust_hub_time: bool,
    pub inputs: Vec<InputSettings>,
    /// What is done to sensors' measurements; the first that fits a sensor is its.
    pub sensors: Vec<SensorSettings>,
    pub status: StatusSettings,
    pub remote: RemoteSettings,
    /// For tests alone: commits are not fsynced, and a power cut loses what was acknowledged.
    pub unsafe_no_fsync: bool,
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
            uplink: UplinkSettings::default(),
            tls: TlsSettings::default(),
            trust_hub_time: false,
            inputs: Vec::new(),
            sensors: Vec::new(),
            status: StatusSettings::default(),
            remote: RemoteSettings::default(),
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
        "uplink",
        "tls",
        "trust_hub_time",
        "inputs",
        "sensors",
        "status",
        "remote",
        "unsafe_no_fsync",
    ];
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
    pub inputs: Vec<InputConfig>,
    pub sensors: Vec<SensorRule>,
    /// What the agent tells of itself.
    pub status: Option<StatusConfig>,
    pub remote: RemoteSettings,
    pub uplink: UplinkOptions,
    pub trust_hub_time: bool,
    /// False only in tests of what must then break.
    pub fsync: bool,
}

#[derive(Debug, Error)]
pub enum ConfigError {
    #[error(transparent)]
    Hub(#[from] HubError),
    #[error(transparent)]
    Uplink(#[from] UplinkSettingsError),
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
    #[error("remote.trial_s: {0} is not from {min} to {max}", min = TRIAL_S.start(), max = TRIAL_S.end())]
    Trial(u64),
    #[error("linger_ms: {0} is more than {LINGER_MS_MAX}, an hour")]
    Linger(u64),
    #[error("status.interval_s: {0} is more than {STATUS_INTERVAL_S_MAX}, a day")]
    StatusInterval(u64),
    #[error("{0}: an interval must be at least 10 ms")]
    Interval(&'static str),
    #[error("inputs: standard input can be read only once")]
    StdinTwice,
    #[error("inputs: two read the serial line {0:?}: put their registers into one")]
    SameLine(PathBuf),
    #[error("inputs: two are named {0:?}")]
    SameName(String),
    #[error("inputs: there is a {0:?} already: give this one a `name`, under which its position is kept")]
    Unnamed(&'static str),
    #[error("inputs: {0} are too many, {INPUTS_MAX} are allowed")]
    TooManyInputs(usize),
    #[error("inputs: {0}: {1}")]
    Input(String, #[source] InputConfigError),
    /// Which of them, from 1.
    #[error("sensors: section {0}: {1}")]
    Sensor(usize, #[source] SensorError),
}

impl Settings {
    pub fn validate(self) -> Result<Config, ConfigError> {
        let hubs = self.hub.split(',').map(HubAddress::parse).collect::<Result<Vec<_>, _>>()?;
        if self.buffer_bytes < BUFFER_BYTES_MIN {
            return Err(ConfigError::BufferBytes(self.buffer_bytes));
        }
        if self.buffer_bytes > BUFFER_BYTES_MAX {
            return Err(ConfigError::TooManyBufferBytes(self.buffer_bytes));
        }
        let topic = checked_topic(&self.topic)?;
        let inputs = self.inputs(&topic)?;
        let names: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
        let sensors = self.sensors.into_iter().enumerate().map(|(index, sensor)| {
            sensor.validate(&names).map_err(|error| ConfigError::Sensor(index + 1, error))
        });
        let sensors = sensors.collect::<Result<Vec<_>, _>>()?;
        if self.linger_ms > LINGER_MS_MAX {
            return Err(ConfigError::Linger(self.linger_ms));
        }
        let linger = Duration::from_millis(self.linger_ms);
        let uplink = self.uplink.validate(self.tls, self.profile, &hubs, linger)?;
        Ok(Config {
            hubs,
            device_id: self.device_id.as_deref().map(DeviceId::try_from).transpose()?,
            data_dir: self.data_dir,
            topic,
            buffer_bytes: self.buffer_bytes,
            buffer: self.buffer.validate()?,
            linger,
            inputs,
            sensors,
            status: self.status.validate(uplink.link.status_interval)?,
            remote: self.remote.validate()?,
            uplink,
            trust_hub_time: self.trust_hub_time,
            fsync: !self.unsafe_no_fsync,
        })
    }
}

fn checked_topic(name: &str) -> Result<TopicName, ConfigError> {
    let topic = TopicName::try_from(name)?;
    if topic.is_internal() { Err(ConfigError::InternalTopic(topic)) } else { Ok(topic) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_reads_the_host_unless_told_otherwise() {
        let config = Settings::default().validate().unwrap();
        assert!(matches!(config.inputs.as_slice(), [InputConfig { kind: InputKind::Host(_), .. }]));
        let none = Settings { host_input: false, ..Settings::default() };
        assert!(none.validate().unwrap().inputs.is_empty());
    }

    #[test]
    fn the_agent_tells_of_itself_as_often_as_it_is_told_to_or_as_its_link_bears() {
        let metered = || Settings { profile: Profile::Metered, ..Settings::default() };
        let interval =
            |settings: Settings| settings.validate().unwrap().status.map(|it| it.interval.as_secs());
        assert_eq!(interval(metered()), Some(3600));
        let uplink = UplinkSettings { status_interval_s: Some(700), ..UplinkSettings::default() };
        assert_eq!(interval(Settings { uplink: uplink.clone(), ..metered() }), Some(700));
        let status = |seconds| StatusSettings { interval_s: Some(seconds), ..StatusSettings::default() };
        assert_eq!(interval(Settings { uplink, status: status(5), ..metered() }), Some(5));
        assert_eq!(interval(Settings { status: status(0), ..metered() }), None);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let wrong = [
            Settings { topic: "a b".into(), ..Settings::default() },
            Settings { topic: "__mine".into(), ..Settings::default() },
            Settings { device_id: Some("a/b".into()), ..Settings::default() },
            Settings { buffer_bytes: 1, ..Settings::default() },
            Settings { host_interval_ms: 0, ..Settings::default() },
            Settings { linger_ms: 3_600_001, ..Settings::default() },
            Settings {
                status: StatusSettings { interval_s: Some(u64::MAX), ..StatusSettings::default() },
                ..Settings::default()
            },
        ];
        for settings in wrong {
            assert!(settings.clone().validate().is_err(), "{settings:?}");
        }
    }
}
