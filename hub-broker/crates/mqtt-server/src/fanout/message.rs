//! A plain MQTT message as it lies in the log, and on its way to subscribers.
//!
//! A record of a route's log topic:
//!
//! ```text
//! key        the MQTT topic, unless the route takes another; then header mqtt.topic
//! value      the payload
//! timestamp  when the hub received it
//! headers    mqtt.qos               "1" or "2"; left out with QoS 0
//!            mqtt.retain            "1"; left out without the flag
//!            mqtt.payload-format    "1"; left out where the payload is not said to be UTF-8
//!            mqtt.message-expiry    seconds from the timestamp on, in decimal
//!            mqtt.content-type, mqtt.response-topic, mqtt.correlation-data    as the client sent them
//!            mqtt.user.NAME         one for each user property, in the client's order
//!            mqtt.client            the client id, only from clients that hold a no-local subscription
//! ```
//!
//! Records that somebody else wrote into such a topic go to subscribers too if their key is an MQTT topic.

use std::sync::Arc;

use bytes::Bytes;
use schemas::{PartitionIndex, Record};

use crate::limits::DELIVERY_OVERHEAD_BYTES;
use crate::wire::Qos;
use crate::wire::ack::{put_binary, put_string};
use crate::wire::properties::{
    CONTENT_TYPE, CORRELATION_DATA, MESSAGE_EXPIRY, PAYLOAD_FORMAT, PublishProperties, RESPONSE_TOPIC, USER,
};
use crate::wire::text::topic_name;

pub mod header {
    pub const TOPIC: &str = "mqtt.topic";
    pub const QOS: &str = "mqtt.qos";
    pub const RETAIN: &str = "mqtt.retain";
    pub const PAYLOAD_FORMAT: &str = "mqtt.payload-format";
    pub const MESSAGE_EXPIRY: &str = "mqtt.message-expiry";
    pub const CONTENT_TYPE: &str = "mqtt.content-type";
    pub const RESPONSE_TOPIC: &str = "mqtt.response-topic";
    pub const CORRELATION_DATA: &str = "mqtt.correlation-data";
    pub const USER_PREFIX: &str = "mqtt.user.";
    pub const CLIENT: &str = "mqtt.client";
}

/// A committed message.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// A valid topic name.
    pub topic: Arc<str>,
    pub payload: Bytes,
    pub qos: Qos,
    pub retain: bool,
    /// Kept beside the ones before it for a device that is away.
    pub is_command: bool,
    /// Of what a device is to be: the partition that says so.
    pub desired_in: Option<PartitionIndex>,
    /// Ms since 1970 after which nobody wants it any more.
    pub expires_at_ms: Option<i64>,
    /// Who sent it, where that matters to anybody.
    pub client: Option<Bytes>,
    /// The properties that are passed on as they are, encoded.
    pub properties: Vec<u8>,
}

impl Message {
    /// Reads a record; `None` where it has no topic that a subscriber could have asked for.
    #[must_use]
    pub fn from_record(record: &Record, timestamp_ms: i64) -> Option<Self> {
        let topic = match record.header(header::TOPIC) {
            Some(topic) => topic?,
            None => record.key.as_ref()?,
        };
        Some(Self::of(topic_name(topic).ok()?.into(), record, timestamp_ms))
    }

    /// What a record says beside its topic, which MUST be a valid name.
    #[must_use]
    pub fn of(topic: Arc<str>, record: &Record, timestamp_ms: i64) -> Self {
        let mut message = Self {
            topic,
            payload: record.value.clone().unwrap_or_default(),
            qos: Qos::AtMostOnce,
            retain: false,
            is_command: false,
            desired_in: None,
            expires_at_ms: None,
            client: None,
            properties: Vec::new(),
        };
        for (name, value) in &record.headers {
            if let (Ok(name), Some(value)) = (std::str::from_utf8(name), value) {
                message.take_header(name, value, timestamp_ms);
            }
        }
        message
    }

    fn take_header(&mut self, name: &str, value: &Bytes, timestamp_ms: i64) {
        let out = &mut self.properties;
        match name {
            header::QOS => self.qos = qos_of(value),
            header::RETAIN => self.retain = true,
            header::CLIENT => self.client = Some(value.clone()),
            header::MESSAGE_EXPIRY => {
                let seconds = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u32>().ok());
                self.expires_at_ms =
                    seconds.map(|seconds| timestamp_ms.saturating_add(i64::from(seconds) * 1000));
            }
            header::PAYLOAD_FORMAT => out.extend_from_slice(&[PAYLOAD_FORMAT, 1]),
            header::CONTENT_TYPE => put_text_property(out, CONTENT_TYPE, value),
            header::RESPONSE_TOPIC => put_text_property(out, RESPONSE_TOPIC, value),
            header::CORRELATION_DATA if u16::try_from(value.len()).is_ok() => {
                out.push(CORRELATION_DATA);
                put_binary(out, value);
            }
            name => {
                if let (Some(name), Some(value)) = (name.strip_prefix(header::USER_PREFIX), text(value)) {
                    out.push(USER);
                    put_string(out, name);
                    put_string(out, value);
                }
            }
        }
    }

    /// The seconds that are left, or `None` when it has expired. A message without expiry has no number.
    #[must_use]
    pub fn expiry_left(&self, now_ms: i64) -> Option<Option<u32>> {
        let Some(at) = self.expires_at_ms else { return Some(None) };
        let left_ms = at.checked_sub(now_ms).filter(|left| *left > 0)?;
        Some(Some(u32::try_from((left_ms + 999) / 1000).unwrap_or(u32::MAX)))
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len()
    }

    #[cfg(test)]
    pub(crate) fn for_tests(topic: &str, payload: &'static str) -> Self {
        Self {
            topic: topic.into(),
            payload: Bytes::from_static(payload.as_bytes()),
            qos: Qos::ExactlyOnce,
            retain: false,
            is_command: false,
            desired_in: None,
            expires_at_ms: None,
            client: None,
            properties: Vec::new(),
        }
    }
}

fn qos_of(value: &[u8]) -> Qos {
    match value {
        b"1" => Qos::AtLeastOnce,
        b"2" => Qos::ExactlyOnce,
        _ => Qos::AtMostOnce,
    }
}

/// Text that MQTT can carry: somebody else may have written the header.
fn text(value: &Bytes) -> Option<&str> {
    let text = crate::wire::text::utf8(value).ok()?;
    u16::try_from(text.len()).is_ok().then_some(text)
}

fn put_text_property(out: &mut Vec<u8>, id: u8, value: &Bytes) {
    if let Some(value) = text(value) {
        out.push(id);
        put_string(out, value);
    }
}

/// The expiry property with what is left of it.
#[must_use]
pub fn expiry_property(seconds: Option<u32>) -> Vec<u8> {
    let mut block = Vec::new();
    if let Some(seconds) = seconds {
        block.push(MESSAGE_EXPIRY);
        block.extend_from_slice(&seconds.to_be_bytes());
    }
    block
}

/// The headers that hold a publish's properties, beside those for QoS and retain.
pub struct PropertyHeaders<'a> {
    texts: Vec<(Name, Value<'a>)>,
}

enum Name {
    Fixed(&'static str),
    User(String),
}

enum Value<'a> {
    Borrowed(&'a [u8]),
    Owned(String),
}

impl<'a> PropertyHeaders<'a> {
    #[must_use]
    pub fn new(properties: &PublishProperties<'a>) -> Self {
        let mut texts = Vec::new();
        let mut put = |name, value| texts.push((Name::Fixed(name), value));
        if properties.is_utf8 {
            put(header::PAYLOAD_FORMAT, Value::Borrowed(b"1"));
        }
        if let Some(seconds) = properties.expiry_seconds {
            put(header::MESSAGE_EXPIRY, Value::Owned(seconds.to_string()));
        }
        if let Some(text) = properties.content_type {
            put(header::CONTENT_TYPE, Value::Borrowed(text.as_bytes()));
        }
        if let Some(topic) = properties.response_topic {
            put(header::RESPONSE_TOPIC, Value::Borrowed(topic.as_bytes()));
        }
        if let Some(data) = properties.correlation_data {
            put(header::CORRELATION_DATA, Value::Borrowed(data));
        }
        for (name, value) in properties.user() {
            let name = Name::User(format!("{}{name}", header::USER_PREFIX));
            texts.push((name, Value::Borrowed(value.as_bytes())));
        }
        Self { texts }
    }

    #[must_use]
    pub fn as_slices(&self) -> Vec<(&str, &[u8])> {
        self.texts.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect()
    }
}

impl Name {
    fn as_str(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::User(text) => text,
        }
    }
}

impl Value<'_> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(text) => text.as_bytes(),
        }
    }
}

/// A message for one subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub message: Arc<Message>,
    /// The lower of what was published and what was granted.
    pub qos: Qos,
    pub retain: bool,
    /// The identifiers of the subscriptions that it matched.
    pub subscription_ids: Vec<u32>,
}

impl Delivery {
    #[must_use]
    pub fn new(message: Arc<Message>, granted: Qos) -> Self {
        let qos = message.qos.min(granted);
        Self { message, qos, retain: false, subscription_ids: Vec::new() }
    }

    /// What it costs to keep.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.message.bytes() + DELIVERY_OVERHEAD_BYTES
    }
}

#[cfg(test)]
mod tests;
