//! What the agent tells of itself: one record, as any sensor's.

use std::fs;

use schemas::{Measurement, Value};

use crate::inputs::{InputState, Row};
use crate::status::Status;

/// How the agent fares now. Units are SenML's (RFC 8428, RFC 8798).
pub fn report(status: &Status, knows_time: bool) -> Row {
    let mut measurements = Vec::with_capacity(16);
    let mut add = |name: &str, unit: Option<&str>, value: f64| {
        let unit = unit.map(str::to_owned);
        measurements.push(Measurement { name: name.to_owned(), unit, value: Value::Float(value) });
    };
    add("agent.buffer.records", None, status.buffer.records as f64);
    add("agent.buffer.bytes", Some("B"), status.buffer.bytes as f64);
    add("agent.buffer.age", Some("s"), status.buffer.oldest_age_ms.unwrap_or(0) as f64 / 1000.0);
    add("agent.records.appended", None, status.records.appended as f64);
    add("agent.records.acknowledged", None, status.records.acknowledged as f64);
    add("agent.records.dropped", None, status.records.dropped as f64);
    add("agent.records.quarantined", None, status.records.quarantined as f64);
    add("agent.flash.written", Some("B"), status.buffer.flash_bytes as f64);
    let failing = status.inputs.values().filter(|input| input.state == InputState::Failing).count();
    add("agent.inputs.failing", None, failing as f64);
    if let Some(uplink) = &status.uplink {
        add("agent.uplink.sent", Some("B"), uplink.bytes_sent as f64);
        add("agent.uplink.reconnects", None, uplink.main.reconnects as f64);
    }
    if let Some(version) = status.desired.as_ref().and_then(|desired| desired.verdict.version) {
        add("agent.desired.version", None, version as f64);
    }
    if let Some(bytes) = resident_bytes() {
        add("agent.memory", Some("B"), bytes);
    }
    if let Some(celsius) = hottest() {
        add("agent.temperature", Some("Cel"), celsius);
    }
    if let Some(desired) = &status.desired {
        let value = Value::Text(desired.verdict.state.to_string());
        measurements.push(Measurement { name: "agent.desired.state".to_owned(), unit: None, value });
    }
    let value = Value::Bool(knows_time);
    measurements.push(Measurement { name: "agent.clock.known".to_owned(), unit: None, value });
    Row::now(measurements)
}

/// proc(5): the second field is the resident set in pages.
fn resident_bytes() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages as f64 * rustix::param::page_size() as f64)
}

/// Of the machine's thermal zones.
fn hottest() -> Option<f64> {
    let zones = fs::read_dir("/sys/class/thermal").ok()?.flatten();
    let read = |zone: fs::DirEntry| fs::read_to_string(zone.path().join("temp")).ok()?.trim().parse().ok();
    let milli: Vec<f64> = zones.filter_map(read).collect();
    milli.into_iter().reduce(f64::max).map(|milli| milli / 1000.0)
}
