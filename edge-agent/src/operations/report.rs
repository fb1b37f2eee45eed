//! What the agent tells of itself: one record, as any sensor's.

use std::fs;

use schemas::{Measurement, Value};

use crate::inputs::{InputState, Row};
use crate::status::Status;
use crate::time::ClockStatus;

/// How the agent fares now. Units are SenML's (RFC 8428, RFC 8798).
pub fn report(status: &Status) -> Row {
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
    if let Some(clock) = &status.clock {
        add_clock(&mut measurements, clock);
    }
    Row::now(measurements)
}

/// What is known of the time; how far a hub's clock differs and by how much the kernel's was set only where that is so.
fn add_clock(measurements: &mut Vec<Measurement>, clock: &ClockStatus) {
    let mut add = |name: &str, unit: Option<&str>, value| {
        let (name, unit) = (name.to_owned(), unit.map(str::to_owned));
        measurements.push(Measurement { name, unit, value });
    };
    let seconds = |ms: i64| Value::Float(ms as f64 / 1000.0);
    add("agent.clock.known", None, Value::Bool(clock.source.is_some()));
    if let Some(source) = clock.source {
        add("agent.clock.source", None, Value::Text(source.word().to_owned()));
    }
    add("agent.clock.jumps", None, Value::Float(clock.jumps as f64));
    if let Some(jump) = clock.last_jump {
        add("agent.clock.jump", Some("s"), seconds(jump.by_ms));
    }
    if let Some(by_ms) = clock.hub_differs_ms {
        add("agent.clock.hub-differs", Some("s"), seconds(by_ms));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Jump, Source};

    fn told(clock: &ClockStatus) -> Vec<(String, Value)> {
        let mut measurements = Vec::new();
        add_clock(&mut measurements, clock);
        measurements.into_iter().map(|it| (it.name, it.value)).collect()
    }

    #[test]
    fn the_clock_is_told_with_what_is_wrong_about_it() {
        let unknown = ClockStatus {
            source: None,
            now_ms: None,
            since_ms: None,
            last_known_ms: 1,
            jumps: 0,
            last_jump: None,
            last_jump_at_ms: None,
            hub_differs_ms: None,
            hardware_clock: None,
        };
        let is = |name: &str, value| (format!("agent.clock.{name}"), value);
        let none = Value::Float(0.0);
        assert_eq!(told(&unknown), [is("known", Value::Bool(false)), is("jumps", none)]);
        let jump = Jump { by_ms: -1500, at_boot_ms: 9, is_followed: true };
        let known = ClockStatus {
            source: Some(Source::Kernel),
            jumps: 2,
            last_jump: Some(jump),
            hub_differs_ms: Some(60_000),
            ..unknown
        };
        let all = [
            is("known", Value::Bool(true)),
            is("source", Value::Text("kernel".to_owned())),
            is("jumps", Value::Float(2.0)),
            is("jump", Value::Float(-1.5)),
            is("hub-differs", Value::Float(60.0)),
        ];
        assert_eq!(told(&known), all);
    }
}
