//! What is done to measurements before they are kept: scaled, renamed, thinned out.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use schemas::{Measurement, Value};

use super::row::Row;
use crate::config::{Deadband, SensorRule};
use crate::limits::FILTERED_SENSORS_MAX;
use crate::time::Stamp;

/// The rules that concern one input, and what was kept last of each sensor.
#[derive(Debug, Default)]
pub struct Filter {
    rules: Vec<SensorRule>,
    /// By the name that the input gives.
    sensors: HashMap<String, Sensor>,
}

/// The filter of an input, over all its lives. Who learns that a row was not stored after all has it as well.
#[derive(Clone, Debug)]
pub struct SharedFilter(Arc<Mutex<Filter>>);

impl SharedFilter {
    pub fn new(filter: Filter) -> Self {
        Self(Arc::new(Mutex::new(filter)))
    }

    /// As [`Filter::apply`].
    pub fn apply(&self, row: &mut Row, at: Stamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).apply(row, at);
    }

    /// What was kept may not be stored: what comes next stands for it, however like it is.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).forget();
    }

    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[derive(Debug)]
struct Sensor {
    /// Which rule is its.
    rule: Option<usize>,
    last: Option<Kept>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Kept {
    value: Last,
    at: Stamp,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Last {
    Number(f64),
    /// The hash of what is no number: that it changes is all that matters.
    Other(u64),
}

impl Filter {
    /// `rules` are those that concern the input.
    pub fn new(rules: Vec<SensorRule>) -> Self {
        Self { rules, sensors: HashMap::new() }
    }

    /// Leaves in the row what is kept of it; `at` is when it was measured.
    pub fn apply(&mut self, row: &mut Row, at: Stamp) {
        if self.rules.is_empty() {
            return;
        }
        let tags = &mut row.tags;
        row.measurements.retain_mut(|measurement| self.keep(measurement, at, tags));
    }

    fn forget(&mut self) {
        self.sensors.values_mut().for_each(|sensor| sensor.last = None);
    }

    fn keep(&mut self, measurement: &mut Measurement, at: Stamp, tags: &mut Vec<(String, String)>) -> bool {
        let Some((rule, last)) = self.sensor(&measurement.name) else { return true };
        if rule.drop {
            return false;
        }
        scale(rule, &mut measurement.value);
        let value = comparable(&measurement.value);
        if let Some(last) = last {
            if last.is_some_and(|last| !is_kept(rule, last, Kept { value, at })) {
                return false;
            }
            *last = Some(Kept { value, at });
        }
        if let Some(unit) = &rule.unit {
            measurement.unit = Some(unit.clone());
        }
        if let Some(name) = &rule.rename {
            measurement.name = name.replace("{}", &measurement.name);
        }
        for (name, value) in &rule.tags {
            if !tags.iter().any(|(own, _)| own == name) {
                tags.push((name.clone(), value.clone()));
            }
        }
        true
    }

    /// The rule of a sensor and what was kept of it last; of sensors beyond the bound nothing is remembered.
    fn sensor(&mut self, name: &str) -> Option<(&SensorRule, Option<&mut Option<Kept>>)> {
        if !self.sensors.contains_key(name) {
            let rule = self.rules.iter().position(|rule| rule.pattern.matches(name));
            if self.sensors.len() >= FILTERED_SENSORS_MAX {
                return rule.map(|rule| (&self.rules[rule], None));
            }
            self.sensors.insert(name.to_owned(), Sensor { rule, last: None });
        }
        let sensor = self.sensors.get_mut(name)?;
        Some((self.rules.get(sensor.rule?)?, Some(&mut sensor.last)))
    }
}

fn scale(rule: &SensorRule, value: &mut Value) {
    let is_scaled = rule.scale != 1.0 || rule.offset != 0.0;
    if let (true, Some(number)) = (is_scaled, number(value)) {
        *value = Value::Float(number * rule.scale + rule.offset);
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        _ => None,
    }
}

fn comparable(value: &Value) -> Last {
    if let Some(number) = number(value) {
        return Last::Number(number);
    }
    let mut hash = DefaultHasher::new();
    match value {
        Value::Text(text) => text.hash(&mut hash),
        Value::Bool(truth) => truth.hash(&mut hash),
        Value::Bytes(bytes) => bytes.hash(&mut hash),
        Value::Float(_) | Value::Integer(_) => {}
    }
    Last::Other(hash.finish())
}

fn is_kept(rule: &SensorRule, last: Kept, now: Kept) -> bool {
    // Times of two clocks cannot be compared, and a clock may have been set back.
    let since = match (last.at, now.at) {
        (Stamp::Wall(last), Stamp::Wall(now)) | (Stamp::Boot(last), Stamp::Boot(now)) if now >= last => {
            now.saturating_sub(last)
        }
        _ => return true,
    };
    if since < rule.interval_min_ms {
        return false;
    }
    if rule.interval_max_ms.is_some_and(|max| since >= max) {
        return true;
    }
    match (rule.deadband, last.value, now.value) {
        (None, ..) => true,
        (Some(deadband), Last::Number(last), Last::Number(now)) => {
            let band = match deadband {
                Deadband::Absolute(band) => band,
                Deadband::Percent(percent) => last.abs() * percent / 100.0,
            };
            (now - last).abs() > band
        }
        (Some(_), last, now) => last != now,
    }
}

#[cfg(test)]
mod tests {
    use glob::Pattern;

    use super::*;

    fn rule(pattern: &str) -> SensorRule {
        SensorRule {
            pattern: Pattern::new(pattern).unwrap(),
            input: None,
            deadband: None,
            interval_min_ms: 0,
            interval_max_ms: None,
            scale: 1.0,
            offset: 0.0,
            rename: None,
            unit: None,
            tags: Vec::new(),
            drop: false,
        }
    }

    fn row(name: &str, value: impl Into<Value>) -> Row {
        Row::now(vec![Measurement { name: name.into(), unit: None, value: value.into() }])
    }

    /// Which of the values, one a second, are kept.
    fn kept<V: Into<Value> + Copy>(rule: SensorRule, values: &[V]) -> Vec<usize> {
        let mut filter = Filter::new(vec![rule]);
        let times = (0..).map(|second| Stamp::Boot(1000 * second));
        let mut kept = Vec::new();
        for (index, (value, at)) in values.iter().zip(times).enumerate() {
            let mut row = row("t", *value);
            filter.apply(&mut row, at);
            if !row.measurements.is_empty() {
                kept.push(index);
            }
        }
        kept
    }

    #[test]
    fn a_deadband_is_measured_from_the_last_value_that_was_kept() {
        let absolute = SensorRule { deadband: Some(Deadband::Absolute(0.5)), ..rule("t") };
        assert_eq!(kept(absolute, &[20.0, 20.4, 20.5, 20.6, 20.2, 20.0]), [0, 3, 5]);
        let percent = SensorRule { deadband: Some(Deadband::Percent(10.0)), ..rule("t") };
        assert_eq!(kept(percent, &[100.0, 109.0, 111.0, 101.0, 99.0]), [0, 2, 4]);
        let change = SensorRule { deadband: Some(Deadband::Absolute(0.0)), ..rule("t") };
        assert_eq!(kept(change.clone(), &[1.0, 1.0, 2.0, 2.0]), [0, 2]);
        assert_eq!(kept(change, &["open", "open", "shut", "open"]), [0, 2, 3]);
    }

    #[test]
    fn intervals_thin_out_and_bring_back() {
        let slow = SensorRule { interval_min_ms: 2000, ..rule("t") };
        assert_eq!(kept(slow, &[1.0; 6]), [0, 2, 4]);
        let alive =
            SensorRule { deadband: Some(Deadband::Absolute(1.0)), interval_max_ms: Some(3000), ..rule("t") };
        assert_eq!(kept(alive, &[1.0, 1.0, 5.0, 5.0, 5.0, 5.0, 5.0]), [0, 2, 5]);
    }

    #[test]
    fn a_clock_that_is_set_back_or_becomes_known_holds_nothing_up() {
        let mut filter = Filter::new(vec![SensorRule { interval_min_ms: 60_000, ..rule("t") }]);
        let mut is_kept = |at| {
            let mut row = row("t", 1.0);
            filter.apply(&mut row, at);
            !row.measurements.is_empty()
        };
        assert!(is_kept(Stamp::Boot(5000)));
        assert!(is_kept(Stamp::Wall(1_700_000_000_000)));
        assert!(!is_kept(Stamp::Wall(1_700_000_000_001)));
        assert!(is_kept(Stamp::Wall(1_600_000_000_000)));
    }

    #[test]
    fn the_first_rule_that_fits_is_the_sensors() {
        let rules = vec![
            SensorRule {
                scale: 0.1,
                offset: -40.0,
                unit: Some("Cel".into()),
                rename: Some("oven/{}".into()),
                tags: vec![("line".into(), "2".into())],
                ..rule("temp?")
            },
            SensorRule { drop: true, ..rule("*") },
        ];
        let mut filter = Filter::new(rules);
        let mut mixed = row("temp1", 650.0);
        mixed.measurements.extend(row("noise", 1.0).measurements);
        filter.apply(&mut mixed, Stamp::Boot(0));
        let [only] = mixed.measurements.as_slice() else { panic!("{mixed:?}") };
        assert_eq!((only.name.as_str(), only.unit.as_deref()), ("oven/temp1", Some("Cel")));
        assert_eq!(only.value, Value::Float(25.0));
        assert_eq!(mixed.tags, [("line".to_owned(), "2".to_owned())]);
    }
}
