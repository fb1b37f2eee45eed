//! Device ids and topic names: checked once where they come in, cheap to clone afterwards.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::{DEVICE_ID_BYTES_MAX, TOPIC_NAME_BYTES_MAX};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $error:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = $error;
            fn try_from(name: &str) -> Result<Self, $error> {
                $check(name)?;
                Ok(Self(name.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;
            fn try_from(name: String) -> Result<Self, $error> {
                Self::try_from(name.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error;
            fn from_str(name: &str) -> Result<Self, $error> {
                Self::try_from(name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.as_str().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name!(
    /// A device: 1 to 128 of `A-Z a-z 0-9 . _ : -`. It is a level of an MQTT topic, so no `/ + #`.
    DeviceId,
    DeviceIdError,
    check_device_id
);

name!(
    /// A log topic, by Kafka's rules: 1 to 249 of `A-Z a-z 0-9 . _ -`, neither `.` nor `..`.
    TopicName,
    TopicNameError,
    check_topic_name
);

impl TopicName {
    /// Topics that the hubs keep for themselves.
    pub fn is_internal(&self) -> bool {
        self.0.starts_with("__")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceIdError {
    #[error("a device id must not be empty")]
    Empty,
    #[error("a device id has at most {DEVICE_ID_BYTES_MAX} characters, this one has {bytes} bytes")]
    TooLong { bytes: usize },
    #[error("a device id is made of A-Z a-z 0-9 . _ : - and this one has {found:?}")]
    Character { found: char },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    #[error("a topic name must not be empty")]
    Empty,
    #[error("a topic name has at most {TOPIC_NAME_BYTES_MAX} characters, this one has {bytes} bytes")]
    TooLong { bytes: usize },
    #[error("a topic cannot be named \".\" or \"..\"")]
    Dots,
    #[error("a topic name is made of A-Z a-z 0-9 . _ - and this one has {found:?}")]
    Character { found: char },
}

fn check_device_id(name: &str) -> Result<(), DeviceIdError> {
    if name.is_empty() {
        return Err(DeviceIdError::Empty);
    }
    if name.len() > DEVICE_ID_BYTES_MAX {
        return Err(DeviceIdError::TooLong { bytes: name.len() });
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-'))) {
        Some(found) => Err(DeviceIdError::Character { found }),
        None => Ok(()),
    }
}

fn check_topic_name(name: &str) -> Result<(), TopicNameError> {
    if name.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if name.len() > TOPIC_NAME_BYTES_MAX {
        return Err(TopicNameError::TooLong { bytes: name.len() });
    }
    if name == "." || name == ".." {
        return Err(TopicNameError::Dots);
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(found) => Err(TopicNameError::Character { found }),
        None => Ok(()),
    }
}

/// The child devices for which a gateway may send: none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GatewayGrant {
    children: BTreeSet<DeviceId>,
}

impl GatewayGrant {
    pub const NONE: GatewayGrant = GatewayGrant { children: BTreeSet::new() };

    pub fn new(children: impl IntoIterator<Item = DeviceId>) -> GatewayGrant {
        GatewayGrant { children: children.into_iter().collect() }
    }

    /// Whether a record with this key may come from `device`: its own, or a child's that is granted.
    pub fn allows_key(&self, device: &DeviceId, key: &[u8]) -> bool {
        key == device.as_str().as_bytes()
            || std::str::from_utf8(key).is_ok_and(|key| self.children.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_id_has_its_own_alphabet_and_length() {
        assert_eq!(DeviceId::try_from("b8:27:eb-pump_1.x").unwrap().as_str(), "b8:27:eb-pump_1.x");
        assert_eq!(DeviceId::try_from(""), Err(DeviceIdError::Empty));
        assert!(DeviceId::try_from("d".repeat(128)).is_ok());
        assert_eq!(DeviceId::try_from("d".repeat(129)), Err(DeviceIdError::TooLong { bytes: 129 }));
        for bad in ['/', '+', '#', ' ', 'é', '\0', '%'] {
            assert_eq!(DeviceId::try_from(format!("a{bad}")), Err(DeviceIdError::Character { found: bad }));
        }
    }

    #[test]
    fn a_topic_name_obeys_kafkas_rules() {
        assert!(TopicName::try_from("telemetry.json_v-2").is_ok());
        assert!(TopicName::try_from("...").is_ok());
        assert_eq!(TopicName::try_from(""), Err(TopicNameError::Empty));
        assert_eq!(TopicName::try_from("."), Err(TopicNameError::Dots));
        assert_eq!(TopicName::try_from(".."), Err(TopicNameError::Dots));
        assert!(TopicName::try_from("t".repeat(249)).is_ok());
        assert_eq!(TopicName::try_from("t".repeat(250)), Err(TopicNameError::TooLong { bytes: 250 }));
        assert_eq!(TopicName::try_from("a/b"), Err(TopicNameError::Character { found: '/' }));
        assert_eq!(TopicName::try_from("a:b"), Err(TopicNameError::Character { found: ':' }));
    }

    #[test]
    fn internal_topics_begin_with_two_underscores() {
        assert!(TopicName::try_from("__consumer_offsets").unwrap().is_internal());
        assert!(!TopicName::try_from("_mine").unwrap().is_internal());
    }

    #[test]
    fn a_gateway_speaks_for_itself_and_its_granted_children_only() {
        let gateway = DeviceId::try_from("gw").unwrap();
        let grant = GatewayGrant::new([DeviceId::try_from("meter-1").unwrap()]);
        assert!(grant.allows_key(&gateway, b"gw"));
        assert!(grant.allows_key(&gateway, b"meter-1"));
        assert!(!grant.allows_key(&gateway, b"meter-2"));
        assert!(!GatewayGrant::NONE.allows_key(&gateway, b"meter-1"));
        assert!(!grant.allows_key(&gateway, b"\xff"));
        assert!(!grant.allows_key(&gateway, b""));
    }

    #[test]
    fn names_survive_serde_and_bad_ones_do_not() {
        let device = DeviceId::try_from("a:b").unwrap();
        let text = serde_json::to_string(&device).unwrap();
        assert_eq!(text, "\"a:b\"");
        assert_eq!(serde_json::from_str::<DeviceId>(&text).unwrap(), device);
        assert!(serde_json::from_str::<DeviceId>("\"a/b\"").is_err());
    }
}
