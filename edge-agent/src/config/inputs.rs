//! `[[inputs]]`: what is read, as it is configured and as it will run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use schemas::TopicName;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use thiserror::Error;

use super::file_inputs::{FilesConfig, FilesSettings, TailConfig, TailSettings};
use super::format::{FORMAT_KEYS, FormatConfig, FormatError, FormatSettings};
use super::listen::ListenAddress;
use super::modbus::{ModbusAddress, ModbusConfig, ModbusError, ModbusSettings};
use super::mqtt_input::{MqttConfig, MqttSettings};
use super::network_inputs::{HttpConfig, HttpSettings, NetworkInputError, SocketConfig, SocketSettings};
use super::{ConfigError, Settings, checked_topic};
use crate::destination::{Destination, Priority};
use crate::limits::INPUTS_MAX;

/// The keys of every input.
const COMMON_KEYS: [&str; 4] = ["name", "topic", "priority", "tags"];
/// The kinds that read rows in a format of choice.
const KINDS_WITH_FORMAT: [&str; 5] = ["stdin", "tail", "files", "exec", "socket"];

/// One section; its keys are those of every input, those of the format, and its kind's own.
#[derive(Clone, Debug, PartialEq)]
pub struct InputSettings {
    pub common: CommonSettings,
    pub format: FormatSettings,
    pub kind: KindSettings,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct CommonSettings {
    /// Unique; its kind where it is absent, with a number where there are several.
    pub name: Option<String>,
    /// The log topic; the agent's where it is absent.
    pub topic: Option<String>,
    pub priority: Priority,
    /// For all of its records.
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum KindSettings {
    Host(HostSettings),
    Stdin(StdinSettings),
    Tail(TailSettings),
    Files(FilesSettings),
    Exec(ExecSettings),
    Http(HttpSettings),
    Socket(SocketSettings),
    Modbus(ModbusSettings),
    Mqtt(MqttSettings),
}

/// The machine that the agent runs on.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct HostSettings {
    pub interval_ms: Option<u64>,
}

/// Standard input, to its end.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct StdinSettings {}

/// What a command prints.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ExecSettings {
    /// The program and its arguments; no shell is between.
    pub command: Vec<String>,
    /// How often it is run; without it, it is expected to run for ever, and started again when it ends.
    pub interval_ms: Option<u64>,
    /// What a run may take before it is killed with all that it started; the interval where that is absent, but at
    /// least 10 s.
    pub timeout_ms: Option<u64>,
}

/// An input as it will run.
#[derive(Clone, Debug, PartialEq)]
pub struct InputConfig {
    pub name: String,
    pub destination: Destination,
    pub tags: Vec<(String, String)>,
    pub kind: InputKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum InputKind {
    Host(HostConfig),
    Stdin(FormatConfig),
    Tail(TailConfig),
    Files(FilesConfig),
    Exec(ExecConfig),
    Http(HttpConfig),
    Socket(SocketConfig),
    Modbus(ModbusConfig),
    Mqtt(MqttConfig),
    /// The agent itself, at this interval.
    Report(Duration),
}

impl InputKind {
    /// Where clients come to it; `None` of those that read by themselves.
    pub fn listens(&self) -> Option<&ListenAddress> {
        match self {
            Self::Http(http) => Some(&http.listen),
            Self::Socket(socket) => Some(&socket.listen),
            Self::Mqtt(mqtt) => Some(&mqtt.listen),
            _ => None,
        }
    }

    /// Whether it measures from time to time by itself.
    pub fn has_interval(&self) -> bool {
        match self {
            Self::Host(_) | Self::Modbus(_) | Self::Report(_) => true,
            Self::Exec(exec) => exec.run != ExecRun::ForEver,
            Self::Stdin(_) | Self::Tail(_) | Self::Files(_) => false,
            Self::Http(_) | Self::Socket(_) | Self::Mqtt(_) => false,
        }
    }

    /// Nobody else can use it meanwhile.
    fn serial_line(&self) -> Option<&Path> {
        match self {
            Self::Modbus(ModbusConfig { address: ModbusAddress::Serial(line), .. }) => Some(&line.path),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostConfig {
    pub interval: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ExecConfig {
    pub program: String,
    pub arguments: Vec<String>,
    pub run: ExecRun,
    pub format: FormatConfig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecRun {
    Every { interval: Duration, timeout: Duration },
    ForEver,
}

#[derive(Debug, Error)]
pub enum InputConfigError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Network(#[from] NetworkInputError),
    #[error(transparent)]
    Modbus(#[from] ModbusError),
    #[error("{0}: an interval must be at least 10 ms")]
    Interval(&'static str),
    #[error("`command` is empty: a program is needed")]
    NoProgram,
    #[error("timeout_ms goes with interval_ms: a command that runs for ever has no timeout")]
    TimeoutForEver,
    #[error("path: {0:?}: {1}")]
    Pattern(String, &'static str),
    #[error("`path` must be absolute, so that it does not depend on where the agent is started: {0:?}")]
    RelativePath(String),
    #[error("move_to goes with when_done = \"move\", and is needed there")]
    MoveTo,
    #[error("a tag needs a name")]
    TagName,
    #[error("a name is up to 64 letters, digits, '-', '_' and '.'")]
    Name,
}

impl<'de> Deserialize<'de> for InputSettings {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let mut own = Map::deserialize(source)?;
        let kind = own.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        let common = part(&mut own, &COMMON_KEYS).map_err(D::Error::custom)?;
        let has_format = KINDS_WITH_FORMAT.contains(&kind.as_str());
        let keys = if has_format { &FORMAT_KEYS[..] } else { &[] };
        let format = part(&mut own, keys).map_err(D::Error::custom)?;
        let kind = serde_json::from_value(Value::Object(own)).map_err(|error| {
            let others = COMMON_KEYS.iter().chain(keys);
            D::Error::custom(naming(error.to_string(), others))
        })?;
        Ok(Self { common, format, kind })
    }
}

/// Takes these keys out and reads them as a struct of their own: serde can check for unknown keys or flatten a
/// struct into another, not both.
fn part<T: DeserializeOwned>(from: &mut Map<String, Value>, keys: &[&str]) -> serde_json::Result<T> {
    let taken = keys.iter().filter_map(|key| Some(((*key).to_owned(), from.remove(*key)?))).collect();
    serde_json::from_value(Value::Object(taken))
}

/// serde names the keys of the kind where one is unknown; it might be meant for one of the others.
fn naming<'a>(mut message: String, others: impl Iterator<Item = &'a &'a str>) -> String {
    if message.starts_with("unknown field ") {
        others.for_each(|key| message.push_str(&format!(", `{key}`")));
    }
    message
}

impl KindSettings {
    /// Under the input's name.
    fn keeps_position(&self) -> bool {
        matches!(self, Self::Tail(_) | Self::Files(_))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Host(_) => "host",
            Self::Stdin(_) => "stdin",
            Self::Tail(_) => "tail",
            Self::Files(_) => "files",
            Self::Exec(_) => "exec",
            Self::Http(_) => "http",
            Self::Socket(_) => "socket",
            Self::Modbus(_) => "modbus",
            Self::Mqtt(_) => "mqtt",
        }
    }
}

impl Settings {
    pub(super) fn inputs(&self, topic: &TopicName) -> Result<Vec<InputConfig>, ConfigError> {
        let host_interval = self.host_interval_ms;
        interval(host_interval, "host_interval_ms").map_err(ConfigError::Interval)?;
        if self.inputs.is_empty() {
            let host = HostConfig { interval: Duration::from_millis(host_interval) };
            let destination = Destination { topic: topic.clone(), priority: Priority::default() };
            let kind = InputKind::Host(host);
            let host = InputConfig { name: "host".to_owned(), destination, tags: Vec::new(), kind };
            return Ok(if self.host_input { vec![host] } else { vec![] });
        }
        if self.inputs.len() > INPUTS_MAX {
            return Err(ConfigError::TooManyInputs(self.inputs.len()));
        }
        let of_stdin = self.inputs.iter().filter(|input| matches!(input.kind, KindSettings::Stdin(_)));
        if of_stdin.count() > 1 {
            return Err(ConfigError::StdinTwice);
        }
        let names = self.names()?;
        let inputs = self.inputs.iter().cloned().zip(names);
        let inputs = inputs.map(|(input, name)| input.validate(name, topic, host_interval));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let mut lines = BTreeSet::new();
        let twice =
            inputs.iter().filter_map(|input| input.kind.serial_line()).find(|path| !lines.insert(*path));
        twice.map_or(Ok(()), |path| Err(ConfigError::SameLine(path.to_owned())))?;
        Ok(inputs)
    }

    /// Every input's own name, or its kind with a number where that is taken.
    pub(super) fn names(&self) -> Result<Vec<String>, ConfigError> {
        let mut taken = BTreeSet::new();
        for name in self.inputs.iter().filter_map(|input| input.common.name.as_ref()) {
            if !is_good_name(name) {
                return Err(ConfigError::Input(name.clone(), InputConfigError::Name));
            }
            if !taken.insert(name.clone()) {
                return Err(ConfigError::SameName(name.clone()));
            }
        }
        let mut names = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            let kind = input.kind.name();
            let numbered = (2..).map(|number| format!("{kind}-{number}"));
            let mut own = std::iter::once(kind.to_owned()).chain(numbered);
            names.push(match &input.common.name {
                Some(name) => name.clone(),
                // Its number would change with the inputs before it.
                None if input.kind.keeps_position() && taken.contains(kind) => {
                    return Err(ConfigError::Unnamed(kind));
                }
                None => own.find(|name| taken.insert(name.clone())).unwrap_or_default(),
            });
        }
        Ok(names)
    }
}

impl InputSettings {
    /// The input that there is where none is configured.
    pub(super) fn host(interval_ms: u64) -> Self {
        Self {
            common: CommonSettings::default(),
            format: FormatSettings::default(),
            kind: KindSettings::Host(HostSettings { interval_ms: Some(interval_ms) }),
        }
    }

    fn validate(
        self,
        name: String,
        topic: &TopicName,
        host_interval_ms: u64,
    ) -> Result<InputConfig, ConfigError> {
        let of = |error: InputConfigError| ConfigError::Input(name.clone(), error);
        let topic = match &self.common.topic {
            Some(own) => checked_topic(own)?,
            None => topic.clone(),
        };
        if self.common.tags.keys().any(String::is_empty) {
            return Err(of(InputConfigError::TagName));
        }
        let kind = kind(self.kind, self.format, host_interval_ms).map_err(of)?;
        let destination = Destination { topic, priority: self.common.priority };
        Ok(InputConfig { name, destination, tags: self.common.tags.into_iter().collect(), kind })
    }
}

fn kind(
    kind: KindSettings,
    format: FormatSettings,
    host_interval_ms: u64,
) -> Result<InputKind, InputConfigError> {
    Ok(match kind {
        KindSettings::Host(host) => {
            let ms = host.interval_ms.unwrap_or(host_interval_ms);
            InputKind::Host(HostConfig {
                interval: interval(ms, "interval_ms").map_err(InputConfigError::Interval)?,
            })
        }
        KindSettings::Stdin(StdinSettings {}) => InputKind::Stdin(format.validate()?),
        KindSettings::Tail(tail) => InputKind::Tail(tail.validate(format.validate()?)?),
        KindSettings::Files(files) => InputKind::Files(files.validate(format.validate()?)?),
        KindSettings::Exec(exec) => InputKind::Exec(exec.validate(format.validate()?)?),
        KindSettings::Http(http) => InputKind::Http(http.validate()?),
        KindSettings::Mqtt(mqtt) => InputKind::Mqtt(mqtt.validate()?),
        KindSettings::Socket(socket) => InputKind::Socket(socket.validate(format.validate()?)?),
        KindSettings::Modbus(modbus) => InputKind::Modbus(modbus.validate()?),
    })
}

impl ExecSettings {
    fn validate(self, format: FormatConfig) -> Result<ExecConfig, InputConfigError> {
        let mut words = self.command.into_iter();
        let program =
            words.next().filter(|program| !program.is_empty()).ok_or(InputConfigError::NoProgram)?;
        let ms = |ms, key| interval(ms, key).map_err(InputConfigError::Interval);
        let run = match (self.interval_ms, self.timeout_ms) {
            (Some(every), timeout) => ExecRun::Every {
                interval: ms(every, "interval_ms")?,
                timeout: ms(timeout.unwrap_or(every.max(EXEC_TIMEOUT_MS)), "timeout_ms")?,
            },
            (None, None) => ExecRun::ForEver,
            (None, Some(_)) => return Err(InputConfigError::TimeoutForEver),
        };
        Ok(ExecConfig { program, arguments: words.collect(), run, format })
    }
}

const EXEC_TIMEOUT_MS: u64 = 10_000;

fn is_good_name(name: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 64 && name.chars().all(is_good)
}

pub(super) fn interval(ms: u64, key: &'static str) -> Result<Duration, &'static str> {
    if ms < 10 { Err(key) } else { Ok(Duration::from_millis(ms)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(toml: &str) -> Result<Vec<InputConfig>, String> {
        let mut table: Map<String, Value> =
            toml::from_str(toml).map_err(|error| error.message().to_owned())?;
        let inputs: Vec<InputSettings> = part(&mut table, &["inputs"])
            .and_then(|mut found: Map<String, Value>| {
                serde_json::from_value(found.remove("inputs").unwrap_or_default())
            })
            .map_err(|error| error.to_string())?;
        let settings = Settings { inputs, ..Settings::default() };
        settings.inputs(&TopicName::try_from("telemetry").unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn every_input_has_a_name_of_its_own() {
        let toml = "[[inputs]]\nkind=\"host\"\n[[inputs]]\nkind=\"host\"\n[[inputs]]\nkind=\"host\"\nname=\"host\"\n[[inputs]]\nkind=\"exec\"\ncommand=[\"a\"]\nformat=\"csv\"";
        let names: Vec<_> = inputs(toml).unwrap().into_iter().map(|input| input.name).collect();
        assert_eq!(names, ["host-2", "host-3", "host", "exec"]);
    }

    #[test]
    fn a_second_input_that_reads_files_needs_a_name() {
        let tail = |more: &str| format!("[[inputs]]\nkind=\"tail\"\nformat=\"csv\"\npath=\"/a\"\n{more}\n");
        assert_eq!(inputs(&(tail("") + &tail("name=\"other\""))).unwrap().len(), 2);
        for both in [tail("") + &tail(""), tail("") + &tail("name=\"tail\"")] {
            assert!(inputs(&both).unwrap_err().contains("a `name`"), "{both}");
        }
    }

    #[test]
    fn an_input_says_where_its_records_go() {
        let toml = "[[inputs]]\nkind=\"host\"\ntopic=\"machines\"\npriority=\"bulk\"\ntags={Site=\"north\"}\ninterval_ms=50";
        let [input] = <[_; 1]>::try_from(inputs(toml).unwrap()).unwrap();
        assert_eq!(
            (input.destination.topic.as_str(), input.destination.priority),
            ("machines", Priority::Bulk)
        );
        assert_eq!(input.tags, [("Site".to_owned(), "north".to_owned())]);
        assert_eq!(input.kind, InputKind::Host(HostConfig { interval: Duration::from_millis(50) }));
    }

    #[test]
    fn a_command_runs_at_an_interval_or_for_ever() {
        let run = |more: &str| {
            let toml = format!("[[inputs]]\nkind=\"exec\"\ncommand=[\"a\", \"b c\"]\nformat=\"csv\"\n{more}");
            inputs(&toml).map(|inputs| match &inputs[0].kind {
                InputKind::Exec(exec) => exec.run,
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(run(""), Ok(ExecRun::ForEver));
        let every = |interval, timeout| ExecRun::Every {
            interval: Duration::from_millis(interval),
            timeout: Duration::from_millis(timeout),
        };
        assert_eq!(run("interval_ms=1000"), Ok(every(1000, 10_000)));
        assert_eq!(run("interval_ms=60000"), Ok(every(60_000, 60_000)));
        assert_eq!(run("interval_ms=60000\ntimeout_ms=500"), Ok(every(60_000, 500)));
        assert!(run("timeout_ms=500").is_err());
    }

    const MODBUS: &str = "kind=\"modbus\"\naddress=\"/dev/ttyS1\"\nregisters=[{name=\"a\",kind=\"coil\",address=0}]\n\
                          [[inputs]]\nkind=\"modbus\"\naddress=\"/dev/ttyS1\"\nregisters=[{name=\"b\",kind=\"coil\",address=1}]";

    #[test]
    fn what_cannot_work_is_refused_by_the_inputs_name() {
        for (toml, told) in [
            ("kind=\"modbas\"", "modbas"),
            ("kind=\"host\"\nformat=\"csv\"", "format"),
            ("kind=\"host\"\nintervall_ms=1", "intervall_ms"),
            ("kind=\"host\"\ninterval_ms=1", "inputs: host: interval_ms"),
            ("kind=\"host\"\nname=\"a/b\"", "inputs: a/b: a name"),
            ("kind=\"host\"\npriority=\"high\"", "high"),
            ("kind=\"host\"\ntopic=\"__x\"", "__x"),
            ("kind=\"stdin\"", "inputs: stdin: `format` is missing"),
            (MODBUS, "inputs: two read the serial line \"/dev/ttyS1\""),
            ("kind=\"modbus\"\naddress=\"tcp://plc\"\nregisters=[]", "inputs: modbus: `registers` is empty"),
            ("kind=\"exec\"\nname=\"x\"\ncommand=[]\nformat=\"csv\"", "inputs: x: `command` is empty"),
            ("name=\"x\"", "kind"),
            ("kind=\"stdin\"\nprioritty=\"alarm\"", "`priority`"),
        ] {
            let said = inputs(&format!("[[inputs]]\n{toml}")).unwrap_err();
            assert!(said.contains(told), "{toml}: {said}");
        }
    }
}
