//! The local MQTT listener's settings.

use std::path::PathBuf;

use serde::Deserialize;

use super::listen::ListenAddress;
use super::network_inputs::{NetworkInputError, connections};

/// Sensors that publish by MQTT.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct MqttSettings {
    /// `IP:PORT` or `unix:PATH`.
    pub listen: String,
    pub mode: Option<String>,
    /// Names and passwords of clients, as `mosquitto_passwd` writes them.
    pub password_file: Option<PathBuf>,
    /// Beyond this machine clients need a password, unless this is said.
    #[serde(default)]
    pub allow_anonymous: bool,
    /// Of the topics: others are refused, and it is no part of a sensor's name.
    #[serde(default)]
    pub topic_prefix: String,
    /// Where the child's name comes from: `client-id` (default), `username`, or a level of the topic after the
    /// prefix, from 1.
    #[serde(default)]
    pub child: ChildSettings,
    #[serde(default)]
    pub payload: Payload,
    pub connections_max: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildSettings {
    Level(usize),
    Name(ChildName),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ChildText {
    Level(usize),
    Name(ChildName),
}

impl<'de> Deserialize<'de> for ChildSettings {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let wrong = |_| {
            D::Error::custom("child: \"client-id\", \"username\" or a level of the topic (1, 2, …) is needed")
        };
        Ok(match ChildText::deserialize(source).map_err(wrong)? {
            ChildText::Level(level) => Self::Level(level),
            ChildText::Name(name) => Self::Name(name),
        })
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ChildName {
    ClientId,
    Username,
}

impl Default for ChildSettings {
    fn default() -> Self {
        Self::Name(ChildName::ClientId)
    }
}

/// What a message's payload is.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Payload {
    /// What its content type says (MQTT 5); else a JSON object where it begins like one, and a value where not.
    #[default]
    Auto,
    /// A number, true or false, or text.
    Value,
    /// An object; its fields are sensors.
    Json,
    SenmlJson,
    SenmlCbor,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MqttConfig {
    pub listen: ListenAddress,
    pub password_file: Option<PathBuf>,
    pub topic_prefix: String,
    pub child: ChildSettings,
    pub payload: Payload,
    pub connections_max: usize,
}

impl MqttSettings {
    pub(super) fn validate(self) -> Result<MqttConfig, NetworkInputError> {
        let listen = ListenAddress::parse(&self.listen, self.mode.as_deref())?;
        listen.guard(self.password_file.is_some(), self.allow_anonymous, "password_file")?;
        match self.child {
            ChildSettings::Level(0) => return Err(NetworkInputError::LevelZero),
            ChildSettings::Name(ChildName::Username) if self.password_file.is_none() => {
                return Err(NetworkInputError::UsernameUnproved);
            }
            _ => {}
        }
        if self.topic_prefix.contains(['+', '#']) {
            return Err(NetworkInputError::Prefix(self.topic_prefix));
        }
        Ok(MqttConfig {
            listen,
            password_file: self.password_file,
            topic_prefix: self.topic_prefix,
            child: self.child,
            payload: self.payload,
            connections_max: connections(self.connections_max)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mqtt(json: &str) -> Result<MqttConfig, String> {
        let settings: MqttSettings = serde_json::from_str(json).map_err(|error| error.to_string())?;
        settings.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn a_child_is_named_by_its_client_or_by_a_level_of_the_topic() {
        let child = |more: &str| mqtt(&format!(r#"{{"listen":"127.0.0.1:1"{more}}}"#)).map(|mqtt| mqtt.child);
        assert_eq!(child(""), Ok(ChildSettings::Name(ChildName::ClientId)));
        assert_eq!(child(r#","child":2"#), Ok(ChildSettings::Level(2)));
        let by_name = child(r#","child":"username","password_file":"/p""#);
        assert_eq!(by_name, Ok(ChildSettings::Name(ChildName::Username)));
        assert!(child(r#","child":"username""#).unwrap_err().contains("password_file"));
        assert!(child(r#","child":0"#).unwrap_err().contains("from 1"));
    }

    #[test]
    fn who_proves_nothing_comes_from_this_machine_only() {
        assert!(
            mqtt(r#"{"listen":"127.0.0.1:1"}"#).is_ok() && mqtt(r#"{"listen":"unix:/run/a.sock"}"#).is_ok()
        );
        let told = mqtt(r#"{"listen":"0.0.0.0:1"}"#).unwrap_err();
        assert!(told.contains("password_file") && told.contains("allow_anonymous"), "{told}");
        assert!(mqtt(r#"{"listen":"0.0.0.0:1","password_file":"/p"}"#).is_ok());
        assert!(mqtt(r#"{"listen":"0.0.0.0:1","allow_anonymous":true}"#).is_ok());
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert!(mqtt(r#"{"listen":"127.0.0.1:1","topic_prefix":"a/+/"}"#).unwrap_err().contains("wildcard"));
        assert!(mqtt("{}").unwrap_err().contains("listen"));
    }
}
