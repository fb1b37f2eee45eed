//! MQTT 3.1.1 and 5 as bytes. PUBLISH, the acknowledgements and DISCONNECT are read and written by this crate;
//! the other packets by rumqttd's codecs, behind [`control`].

pub mod ack;
pub mod control;
pub mod frame;
pub mod properties;
pub mod publish;
pub mod text;

/// The protocol that a client chose in its CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V311,
    V5,
}

impl Version {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        }
    }
}

/// How surely a message is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::enum_variant_names, reason = "the standard's own words")]
pub enum Qos {
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

impl Qos {
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

impl From<rumqttd::protocol::QoS> for Qos {
    fn from(qos: rumqttd::protocol::QoS) -> Self {
        match qos {
            rumqttd::protocol::QoS::AtMostOnce => Self::AtMostOnce,
            rumqttd::protocol::QoS::AtLeastOnce => Self::AtLeastOnce,
            rumqttd::protocol::QoS::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

/// Why bytes from a client are not a packet that it may send. The text goes into the log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes are not MQTT.
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    /// The bytes are MQTT, but not what a client may send, or not now.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    #[error("packet of {bytes} bytes, at most {max} are taken")]
    TooLarge { bytes: usize, max: usize },
    /// A topic that MQTT allows and this hub does not take.
    #[error("topic name: {0}")]
    TopicName(&'static str),
    /// The payload is not the UTF-8 that its format indicator says.
    #[error("the payload is not UTF-8 as its format indicator says")]
    PayloadFormat,
    #[error("topic alias {0} is not known or not allowed")]
    TopicAlias(u16),
}
