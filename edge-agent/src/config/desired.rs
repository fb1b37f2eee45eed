//! What may be set from afar over the device's own file: an allow-list of rates, filters, limits and named inputs.
//!
//! Nothing on it names a program, a file, another machine or who the device is: whoever can write to a log topic can
//! make a device measure more or less, and nothing else.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;

use super::inputs::KindSettings;
use super::modbus::ModbusSettings;
use super::{CatchUp, Config, ConfigError, InputSettings, SensorSettings, Settings};
use crate::buffer::{Caps, Policy};

/// What is absent is as the file has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DesiredSettings {
    linger_ms: Option<u64>,
    uplink: UplinkPart,
    buffer: BufferPart,
    status: StatusPart,
    /// In the place of all of the file's.
    sensors: Option<Vec<SensorSettings>>,
    /// By their names.
    inputs: BTreeMap<String, InputPart>,
}

/// The top level as it is read.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sections {
    linger_ms: Option<u64>,
    uplink: Map<String, Value>,
    buffer: Map<String, Value>,
    status: Map<String, Value>,
    sensors: Option<Value>,
    inputs: BTreeMap<String, Map<String, Value>>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct UplinkPart {
    catch_up: Option<CatchUp>,
    catch_up_bytes_per_second: Option<u64>,
    ship_linger_ms: Option<u64>,
    bytes_per_month_max: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct BufferPart {
    policy: Option<Policy>,
    age_max_s: Option<u64>,
    flash_bytes_per_day_max: Option<u64>,
    caps: Option<Caps>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct StatusPart {
    interval_s: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct InputPart {
    enabled: Option<bool>,
    interval_ms: Option<u64>,
    poll_ms: Option<u64>,
    settle_ms: Option<u64>,
    timeout_ms: Option<u64>,
}

#[derive(Debug, Error)]
pub enum DesiredError {
    #[error("{key} can only be set in the device's own file; from afar there are {known}")]
    NotFromAfar { key: String, known: String },
    #[error("{place}{what}")]
    Value { place: String, what: String },
    #[error("inputs: {name:?} is no input of the device's own file; there are {known}")]
    NoInput { name: String, known: String },
    #[error("inputs.{name}.{key}: the device's own file gives this input no such rate")]
    NoRate { name: String, key: &'static str },
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl DesiredSettings {
    pub fn parse(settings: &Map<String, Value>) -> Result<Self, DesiredError> {
        let sections: Sections = part("", settings.clone())?;
        let inputs = sections.inputs.into_iter().map(|(name, input)| {
            let input = part(&format!("inputs.{name}."), input)?;
            Ok((name, input))
        });
        Ok(Self {
            linger_ms: sections.linger_ms,
            uplink: part("uplink.", sections.uplink)?,
            buffer: part("buffer.", sections.buffer)?,
            status: part("status.", sections.status)?,
            sensors: sections.sensors.map(sensors).transpose()?,
            inputs: inputs.collect::<Result<_, DesiredError>>()?,
        })
    }
}

/// Of these, all that a file has can be set.
fn sensors(list: Value) -> Result<Vec<SensorSettings>, DesiredError> {
    let wrong = |error: serde_json::Error| DesiredError::Value {
        place: "sensors: ".to_owned(),
        what: error.to_string(),
    };
    serde_json::from_value(list).map_err(wrong)
}

/// `place`: the keys' beginning, with its dot.
fn part<T: DeserializeOwned>(place: &str, part: Map<String, Value>) -> Result<T, DesiredError> {
    serde_json::from_value(Value::Object(part)).map_err(|error| {
        let what = error.to_string();
        // serde says "unknown field `x`, expected one of `a`, `b`".
        let Some(names) = what.strip_prefix("unknown field ") else {
            let place = place.trim_end_matches('.');
            let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
            return DesiredError::Value { place, what };
        };
        let mut names = names.split('`').skip(1).step_by(2).map(|name| format!("{place}{name}"));
        let key = names.next().unwrap_or_default();
        DesiredError::NotFromAfar { key, known: names.collect::<Vec<_>>().join(", ") }
    })
}

impl Settings {
    /// These settings with others from afar over them, as they came.
    pub fn overlaid_by(self, settings: &Map<String, Value>) -> Result<Config, DesiredError> {
        self.overlaid(DesiredSettings::parse(settings)?)
    }

    /// These settings with others over them, checked as a file's are.
    fn overlaid(mut self, desired: DesiredSettings) -> Result<Config, DesiredError> {
        let DesiredSettings { linger_ms, uplink, buffer, status, sensors, inputs } = desired;
        set(&mut self.linger_ms, linger_ms);
        set(&mut self.uplink.catch_up, uplink.catch_up);
        limit(&mut self.uplink.catch_up_bytes_per_second, uplink.catch_up_bytes_per_second);
        limit(&mut self.uplink.ship_linger_ms, uplink.ship_linger_ms);
        limit(&mut self.uplink.bytes_per_month_max, uplink.bytes_per_month_max);
        set(&mut self.buffer.policy, buffer.policy);
        limit(&mut self.buffer.age_max_s, buffer.age_max_s);
        limit(&mut self.buffer.flash_bytes_per_day_max, buffer.flash_bytes_per_day_max);
        set(&mut self.buffer.caps, buffer.caps);
        limit(&mut self.status.interval_s, status.interval_s);
        set(&mut self.sensors, sensors);
        self.overlay_inputs(inputs)?;
        Ok(self.validate()?)
    }

    fn overlay_inputs(&mut self, wanted: BTreeMap<String, InputPart>) -> Result<(), DesiredError> {
        if wanted.is_empty() {
            return Ok(());
        }
        if self.inputs.is_empty() && self.host_input {
            self.inputs.push(InputSettings::host(self.host_interval_ms));
        }
        // Where all are disabled, that is what is wanted.
        self.host_input = false;
        let names = self.names()?;
        for (input, name) in self.inputs.iter_mut().zip(&names) {
            // Those that stay keep their names, whichever go.
            input.common.name = Some(name.clone());
        }
        for (name, part) in wanted {
            let named = |input: &&mut InputSettings| input.common.name.as_ref() == Some(&name);
            let Some(input) = self.inputs.iter_mut().find(named) else {
                let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                return Err(DesiredError::NoInput { name, known });
            };
            for (key, ms) in part.rates() {
                if !input.kind.set_rate(key, ms) {
                    return Err(DesiredError::NoRate { name, key });
                }
            }
            if part.enabled == Some(false) {
                self.inputs.retain(|input| input.common.name.as_ref() != Some(&name));
                self.sensors.retain(|rule| rule.input.as_ref() != Some(&name));
            }
        }
        Ok(())
    }
}

impl InputPart {
    fn rates(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let rates = [
            ("interval_ms", self.interval_ms),
            ("poll_ms", self.poll_ms),
            ("settle_ms", self.settle_ms),
            ("timeout_ms", self.timeout_ms),
        ];
        rates.into_iter().filter_map(|(key, ms)| Some((key, ms?)))
    }
}

impl KindSettings {
    /// False where an input of this kind has no such rate, or is not set to use it.
    fn set_rate(&mut self, key: &str, ms: u64) -> bool {
        if let Self::Modbus(modbus) = self {
            return modbus.set_rate(key, ms);
        }
        let rate = match (self, key) {
            (Self::Host(host), "interval_ms") => &mut host.interval_ms,
            (Self::Tail(tail), "poll_ms") => &mut tail.poll_ms,
            (Self::Files(files), "poll_ms") => &mut files.poll_ms,
            (Self::Files(files), "settle_ms") => &mut files.settle_ms,
            // A command that runs for ever is another thing than one that is run now and then.
            (Self::Exec(exec), "interval_ms") if exec.interval_ms.is_some() => &mut exec.interval_ms,
            (Self::Exec(exec), "timeout_ms") if exec.interval_ms.is_some() => &mut exec.timeout_ms,
            _ => return false,
        };
        *rate = Some(ms);
        true
    }
}

impl ModbusSettings {
    fn set_rate(&mut self, key: &str, ms: u64) -> bool {
        let rate = match key {
            "interval_ms" => &mut self.interval_ms,
            "timeout_ms" => &mut self.timeout_ms,
            _ => return false,
        };
        *rate = Some(i64::try_from(ms).unwrap_or(i64::MAX));
        true
    }
}

fn set<T>(setting: &mut T, wanted: Option<T>) {
    if let Some(wanted) = wanted {
        *setting = wanted;
    }
}

fn limit<T>(setting: &mut Option<T>, wanted: Option<T>) {
    if wanted.is_some() {
        *setting = wanted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ExecRun, InputKind};

    const FILE: &str = r#"
        linger_ms = 1000
        [buffer]
        age_max_s = 60
        [[inputs]]
        kind = "exec"
        name = "modem"
        command = ["modem-status"]
        interval_ms = 60000
        format = "line-protocol"
        [[inputs]]
        kind = "host"
        [[inputs]]
        kind = "host"
        interval_ms = 20
        [[sensors]]
        match = "*"
        input = "host"
        deadband = 1
    "#;

    fn overlaid(file: &str, json: &str) -> Result<Config, String> {
        let settings: Settings = toml::from_str(file).unwrap();
        settings.overlaid_by(&serde_json::from_str(json).unwrap()).map_err(|error| error.to_string())
    }

    fn names(config: &Config) -> Vec<&str> {
        config.inputs.iter().map(|input| input.name.as_str()).collect()
    }

    #[test]
    fn what_is_set_lies_over_the_file_and_the_rest_is_as_the_file_has_it() {
        let config = overlaid(
            FILE,
            r#"{"linger_ms":50,
                "uplink":{"catch_up":"live-first","catch_up_bytes_per_second":5000,"ship_linger_ms":2000,
                          "bytes_per_month_max":9000000},
                "buffer":{"policy":"block","flash_bytes_per_day_max":2000000,"caps":{"bulk":5000000}},
                "status":{"interval_s":5},
                "sensors":[{"match":"cpu.*","deadband":"2 %"}],
                "inputs":{"modem":{"interval_ms":5000,"timeout_ms":900}}}"#,
        )
        .unwrap();
        assert_eq!((config.linger.as_millis(), config.uplink.ship_wait.as_millis()), (50, 1950));
        assert_eq!(config.uplink.catch_up, CatchUp::LiveFirst);
        assert_eq!(
            (config.uplink.catch_up_bytes_per_second, config.buffer.policy),
            (Some(5000), Policy::Block)
        );
        assert_eq!(config.uplink.link.bytes_per_month_max, Some(9_000_000));
        assert_eq!(config.buffer.age_max.map(|age| age.as_secs()), Some(60));
        assert_eq!(
            (config.buffer.flash_bytes_per_day_max, config.buffer.caps.bulk),
            (Some(2_000_000), Some(5_000_000))
        );
        assert_eq!(config.status.as_ref().map(|status| status.interval.as_secs()), Some(5));
        assert_eq!((config.sensors.len(), config.sensors[0].pattern.as_str()), (1, "cpu.*"));
        assert_eq!(names(&config), ["modem", "host", "host-2"]);
        let InputKind::Exec(exec) = &config.inputs[0].kind else { panic!("{config:?}") };
        let ExecRun::Every { interval, timeout } = exec.run else { panic!("{exec:?}") };
        assert_eq!(
            (exec.program.as_str(), interval.as_millis(), timeout.as_millis()),
            ("modem-status", 5000, 900)
        );
    }

    #[test]
    fn a_disabled_input_takes_its_filters_along_and_leaves_the_others_their_names() {
        let config = overlaid(FILE, r#"{"inputs":{"host":{"enabled":false}}}"#).unwrap();
        assert_eq!((names(&config), config.sensors.len()), (vec!["modem", "host-2"], 0));
        let all =
            r#"{"inputs":{"host":{"enabled":false},"host-2":{"enabled":false},"modem":{"enabled":false}}}"#;
        assert!(names(&overlaid(FILE, all).unwrap()).is_empty(), "nor is the host read in their place");
    }

    #[test]
    fn the_host_that_is_read_without_inputs_can_be_set_too() {
        let interval = |config: Config| match &config.inputs[0].kind {
            InputKind::Host(host) => host.interval.as_millis(),
            other => panic!("{other:?}"),
        };
        assert_eq!(interval(overlaid("host_interval_ms = 700", r#"{"inputs":{"host":{}}}"#).unwrap()), 700);
        let config = overlaid("", r#"{"inputs":{"host":{"interval_ms":50}}}"#).unwrap();
        assert_eq!(interval(config), 50);
        let config = overlaid("", r#"{"inputs":{"host":{"enabled":false}}}"#).unwrap();
        assert!(config.inputs.is_empty());
        assert!(
            overlaid("host_input = false", r#"{"inputs":{"host":{}}}"#).unwrap_err().contains("no input")
        );
    }

    #[test]
    fn modbus_is_read_at_another_interval() {
        let file = "[[inputs]]\nkind = \"modbus\"\nname = \"plc\"\naddress = \"tcp://plc\"\ninterval_ms = 1000\n\
                    [[inputs.registers]]\nname = \"a\"\nkind = \"coil\"\naddress = 0\n";
        let config = overlaid(file, r#"{"inputs":{"plc":{"interval_ms":5000,"timeout_ms":300}}}"#).unwrap();
        let InputKind::Modbus(modbus) = &config.inputs[0].kind else { panic!("{config:?}") };
        assert_eq!((modbus.interval.as_millis(), modbus.timeout.as_millis()), (5000, 300));
        let said = overlaid(file, r#"{"inputs":{"plc":{"address":"tcp://elsewhere"}}}"#).unwrap_err();
        assert!(said.starts_with("inputs.plc.address can only be set"), "{said}");
    }

    #[test]
    fn nothing_that_names_a_program_a_file_a_machine_or_the_device_is_set_from_afar() {
        for (json, key) in [
            (r#"{"hub":"mqtt://elsewhere"}"#, "hub"),
            (r#"{"device_id":"pump-8"}"#, "device_id"),
            (r#"{"data_dir":"/"}"#, "data_dir"),
            (r#"{"topic":"other"}"#, "topic"),
            (r#"{"tls":{"ca_file":"/x"}}"#, "tls"),
            (r#"{"remote":{"settings":false}}"#, "remote"),
            (r#"{"trust_hub_time":true}"#, "trust_hub_time"),
            (r#"{"uplink":{"proxy":"http://x:1"}}"#, "uplink.proxy"),
            (r#"{"uplink":{"password_file":"/etc/shadow"}}"#, "uplink.password_file"),
            (r#"{"buffer":{"durability":"relaxed"}}"#, "buffer.durability"),
            (r#"{"status":{"topic":"other"}}"#, "status.topic"),
            (r#"{"inputs":{"modem":{"command":["sh"]}}}"#, "inputs.modem.command"),
            (r#"{"inputs":{"host":{"kind":"exec"}}}"#, "inputs.host.kind"),
            (r#"{"inputs":{"host":{"path":"/etc/shadow"}}}"#, "inputs.host.path"),
        ] {
            let said = overlaid(FILE, json).unwrap_err();
            let told = format!("{key} can only be set in the device's own file; from afar there are ");
            assert!(said.starts_with(&told) && said.len() > told.len(), "{said}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_as_in_a_file() {
        for (json, told) in [
            (r#"{"linger_ms":"soon"}"#, "soon"),
            (r#"{"inputs":[{"kind":"exec","command":["sh"]}]}"#, "a map"),
            (
                r#"{"inputs":{"shell":{"interval_ms":1000}}}"#,
                "\"shell\" is no input of the device's own file",
            ),
            (r#"{"inputs":{"host":{"interval_ms":1}}}"#, "at least 10 ms"),
            (r#"{"inputs":{"host":{"poll_ms":1000}}}"#, "inputs.host.poll_ms"),
            (r#"{"inputs":{"modem":{"enabled":"no"}}}"#, "inputs.modem: "),
            (r#"{"sensors":[{"match":"a","deadbnd":1}]}"#, "sensors: unknown field `deadbnd`"),
            (r#"{"sensors":[{"deadband":1}]}"#, "`match` is missing"),
            (r#"{"sensors":[{"match":"a","input":"pump"}]}"#, "no input \"pump\""),
            (r#"{"uplink":{"ship_linger_ms":100000000}}"#, "more than a day"),
            (r#"{"buffer":{"caps":{"alarm":1}}}"#, "buffer.caps.alarm"),
        ] {
            let said = overlaid(FILE, json).unwrap_err();
            assert!(said.contains(told), "{json}: {said}");
        }
        let for_ever = FILE.replace("interval_ms = 60000\n", "");
        let said = overlaid(&for_ever, r#"{"inputs":{"modem":{"interval_ms":1000}}}"#).unwrap_err();
        assert!(said.contains("inputs.modem.interval_ms"), "{said}");
    }
}
