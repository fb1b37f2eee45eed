//! The JSON view.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

use crate::decoded::{Content, DecodedRecord};
use crate::gap::{Gap, GapCount};
use crate::senml::{Measurement, Value};

impl DecodedRecord {
    /// The JSON view's object.
    pub fn to_json(&self) -> Json {
        let mut object = Map::new();
        if let Some(device) = &self.device {
            object.insert("device".into(), json!(device));
        }
        if !matches!(self.content, Content::Gap(_)) {
            object.insert("time".into(), time(self.timestamp_ms));
        }
        match &self.content {
            Content::Measurements(measurements) => insert_measurements(&mut object, measurements),
            Content::Gap(gap) => {
                object.insert("gap".into(), gap_object(gap));
            }
            Content::Raw { bytes, .. } => insert_raw(&mut object, bytes),
        }
        if !self.tags.is_empty() {
            object.insert("tags".into(), json!(self.tags));
        }
        if self.untimed {
            object.insert("untimed".into(), Json::Bool(true));
        }
        Json::Object(object)
    }
}

fn insert_measurements(object: &mut Map<String, Json>, measurements: &[Measurement]) {
    let values: Map<String, Json> =
        measurements.iter().map(|measured| (measured.name.clone(), value(&measured.value))).collect();
    let units: Map<String, Json> = measurements
        .iter()
        .filter_map(|measured| Some((measured.name.clone(), json!(measured.unit.as_ref()?))))
        .collect();
    object.insert("values".into(), Json::Object(values));
    if !units.is_empty() {
        object.insert("units".into(), Json::Object(units));
    }
}

fn value(value: &Value) -> Json {
    match value {
        Value::Float(number) => json!(number),
        // Below −2⁶³ serde_json has no exact number; the digits as text are better than another number.
        Value::Integer(number) => serde_json::Number::from_i128(*number)
            .map_or_else(|| Json::String(number.to_string()), Json::Number),
        Value::Text(text) => json!(text),
        Value::Bool(truth) => json!(truth),
        Value::Bytes(bytes) => Json::String(BASE64.encode(bytes)),
    }
}

fn gap_object(gap: &Gap) -> Json {
    let mut object = Map::new();
    let count = match gap.count {
        GapCount::Known(count) => json!(count),
        GapCount::Unknown => json!("unknown"),
    };
    object.insert("count".into(), count);
    for (name, ms) in [("from", gap.from_ms), ("to", gap.to_ms)] {
        if let Some(ms) = ms {
            object.insert(name.into(), time(ms));
        }
    }
    object.insert("reason".into(), json!(gap.reason.as_str()));
    Json::Object(object)
}

/// Text where it is text that a terminal can show; else its length and the bytes in base64.
fn insert_raw(object: &mut Map<String, Json>, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) => {
            object.insert("text".into(), json!(text));
        }
        _ => {
            object.insert("bytes".into(), json!(bytes.len()));
            object.insert("base64".into(), Json::String(BASE64.encode(bytes)));
        }
    }
}

/// The year 0, in ms since 1970: RFC 3339 has none before it.
const YEAR_0_MS: i64 = -62_167_219_200_000;

/// RFC 3339 in UTC; the bare number of ms beyond the years that it can say.
fn time(ms: i64) -> Json {
    match Timestamp::from_millisecond(ms) {
        Ok(time) if ms >= YEAR_0_MS => Json::String(format!("{time:.3}")),
        _ => json!(ms),
    }
}
