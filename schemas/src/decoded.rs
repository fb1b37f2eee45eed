//! One record decoded for people and sinks, and the JSON view of it.
//!
//! ```text
//! {"device", "time", "values": {sensor: value}, "units": {sensor: unit}, "tags": {…}}   a pack
//! {"device", "gap": {"count", "from", "to", "reason"}}                                  a gap
//! {"device", "time", "text"} or {"device", "time", "bytes", "base64"}                   anything else
//! ```
//!
//! Empty members are left out. Times are RFC 3339 in UTC with milliseconds. A count that is unknown is
//! `"unknown"`. `"untimed": true` marks a time that is the arrival's.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::batch::{BatchHeader, Record, TimestampType, read_gap};
use crate::gap::Gap;
use crate::headers::{self, StreamStart, Untimed};
use crate::senml::{Measurement, decode_pack};

mod json;

/// One record as `tail`, the JSON view and the sinks see it.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedRecord {
    /// The key: a device, or a plain message's MQTT topic. `None` where the record has no key.
    pub device: Option<String>,
    pub timestamp_ms: i64,
    pub content: Content,
    /// Headers `tag.*`, without the prefix.
    pub tags: BTreeMap<String, String>,
    /// Whether the timestamp is the arrival's, because the record could never be stamped.
    pub untimed: bool,
    /// When it was measured as far as that is known, where it is untimed.
    pub untimed_since_boot: Option<Untimed>,
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

/// Decodes a record of this batch. What is not understood is [`Content::Raw`], never an error.
pub fn decode_record(batch: &BatchHeader, record: &Record) -> DecodedRecord {
    decode_record_at(timestamp_ms(batch, record), record)
}

/// The same where a Kafka client has already worked out the record's timestamp, in ms since 1970; the record's
/// deltas are not looked at.
pub fn decode_record_at(timestamp_ms: i64, record: &Record) -> DecodedRecord {
    DecodedRecord {
        device: record.key.as_deref().map(text),
        timestamp_ms,
        content: content(record),
        tags: tags(record),
        untimed: record.header(headers::UNTIMED).is_some(),
        untimed_since_boot: value_of(record, headers::UNTIMED)
            .and_then(|value| Untimed::from_header(value).ok()),
        stream_start: value_of(record, headers::STREAM_START)
            .and_then(|value| StreamStart::from_header(value).ok()),
    }
}

fn timestamp_ms(batch: &BatchHeader, record: &Record) -> i64 {
    match batch.attributes.timestamp_type() {
        TimestampType::LogAppend => batch.max_timestamp,
        TimestampType::Create => batch.base_timestamp.saturating_add(record.timestamp_delta),
    }
}

fn content(record: &Record) -> Content {
    if let Ok(Some(gap)) = read_gap(record) {
        return Content::Gap(gap);
    }
    let content_type = value_of(record, headers::CONTENT_TYPE).map(|value| text(value));
    let value = record.value.clone().unwrap_or_default();
    if content_type.as_deref().is_none_or(|named| named == headers::SENML_CBOR)
        && let Ok(measurements) = decode_pack(&value)
    {
        return Content::Measurements(measurements);
    }
    Content::Raw { bytes: value, content_type }
}

fn tags(record: &Record) -> BTreeMap<String, String> {
    let tag = |(name, value): &(Bytes, Option<Bytes>)| {
        let name = name.strip_prefix(headers::TAG_PREFIX.as_bytes())?;
        Some((text(name), value.as_deref().map(text).unwrap_or_default()))
    };
    record.headers.iter().filter_map(tag).collect()
}

fn value_of<'a>(record: &'a Record, name: &str) -> Option<&'a Bytes> {
    record.header(name).flatten()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
