//! One record decoded for people and sinks.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::batch::{BatchHeader, Record};
use crate::gap::Gap;
use crate::headers::{StreamStart, Untimed};
use crate::senml::Measurement;

/// One record as `tail`, the JSON view and the sinks see it.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedRecord {
    /// The key: a device, or a plain message's MQTT topic. `None` where the record has no key.
    pub device: Option<String>,
    pub timestamp_ms: i64,
    pub content: Content,
    /// Headers `tag.*`, without the prefix.
    pub tags: BTreeMap<String, String>,
    pub untimed: Option<Untimed>,
    pub stream_start: Option<StreamStart>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    Measurements(Vec<Measurement>),
    Gap(Gap),
    /// What is not a SenML pack, as it came; with its media type where a header names one.
    Raw {
        bytes: Bytes,
        content_type: Option<String>,
    },
}

/// Decodes a record. What is not understood is [`Content::Raw`], never an error.
pub fn decode_record(_batch: &BatchHeader, _record: &Record) -> DecodedRecord {
    unimplemented!()
}

impl DecodedRecord {
    /// The JSON view's object.
    pub fn to_json(&self) -> serde_json::Value {
        unimplemented!()
    }
}
