//! JSON lines: one object a line; its time by name, every other field a sensor, nested ones joined with `/`.

use std::collections::HashSet;

use schemas::{Measurement, Value};

use super::json::{Fields, Json};
use super::row::Row;
use super::time_column::{is_time_name, number_time, parse_time};
use super::value::{float_value, integer_value};
use crate::config::TimeConfig;

/// The row of one line.
pub fn parse_line(text: &[u8], time: &TimeConfig) -> Result<Row, String> {
    let Json::Object(mut fields) = serde_json::from_slice(text).map_err(|error| error.to_string())? else {
        return Err("not an object".to_owned());
    };
    let time_ms = take_time(&mut fields, time)?;
    let mut measurements = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        flatten(name, value, &mut measurements)?;
    }
    if let Some(name) = named_twice(&measurements) {
        return Err(format!("two fields are named {name:?}"));
    }
    if measurements.is_empty() {
        return Err("no measurement in it".to_owned());
    }
    Ok(Row::read(0, time_ms, measurements))
}

/// The time in the field that is named, or else in the first that is named like one.
fn take_time(fields: &mut Fields, time: &TimeConfig) -> Result<Option<i64>, String> {
    let name = match &time.column {
        Some(name) => Some(name.clone()),
        None => fields.keys().find(|name| is_time_name(name)).cloned(),
    };
    let Some(name) = name else { return Ok(None) };
    let value = fields.remove(&name).ok_or_else(|| format!("there is no field {name:?}"))?;
    let found = match &value {
        Json::Text(text) => {
            parse_time(text.trim(), time).ok_or_else(|| format!("{name}: {text:?} is no time"))
        }
        Json::Number(number) => {
            number_time(number, time).ok_or_else(|| format!("{name}: {number} is no time"))
        }
        _ => Err(format!("{name}: what is neither text nor a number is no time")),
    };
    found.map(Some)
}

fn flatten(name: String, value: Json, found: &mut Vec<Measurement>) -> Result<(), String> {
    let value = match value {
        Json::Null => return Ok(()),
        Json::Object(fields) => {
            return fields
                .into_iter()
                .try_for_each(|(inner, value)| flatten(format!("{name}/{inner}"), value, found));
        }
        Json::Array(items) => {
            return items
                .into_iter()
                .enumerate()
                .try_for_each(|(index, value)| flatten(format!("{name}/{index}"), value, found));
        }
        Json::Bool(value) => Value::Bool(value),
        Json::Text(text) => Value::Text(text),
        Json::Number(number) => number_value(&number).map_err(|what| format!("{name}: {what}"))?,
    };
    if name.is_empty() {
        return Err("a field has no name".to_owned());
    }
    found.push(Measurement { name, unit: None, value });
    Ok(())
}

/// A name that is there nested and joined, or joined twice.
fn named_twice(measurements: &[Measurement]) -> Option<&str> {
    let mut names = HashSet::with_capacity(measurements.len());
    measurements.iter().map(|measured| measured.name.as_str()).find(|name| !names.insert(*name))
}

fn number_value(number: &serde_json::Number) -> Result<Value, &'static str> {
    match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(integer), _, _) => Ok(integer_value(integer)),
        (None, Some(integer), _) => Ok(Value::Integer(integer.into())),
        (None, None, Some(number)) => float_value(number),
        (None, None, None) => Err("no number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Result<Row, String> {
        parse_line(text.as_bytes(), &TimeConfig::default())
    }

    fn values(row: &Row) -> Vec<(&str, &Value)> {
        row.measurements.iter().map(|m| (m.name.as_str(), &m.value)).collect()
    }

    #[test]
    fn nested_objects_are_joined_with_a_slash() {
        let text =
            "{\"ts\": 1452533400, \"pump\": {\"on\": true, \"speed\": {\"rpm\": 90}}, \"mode\": \"eco\"}\n";
        let row = row(text).unwrap();
        assert_eq!(row.time_ms, Some(1_452_533_400_000));
        assert_eq!(
            values(&row),
            [
                ("mode", &Value::Text("eco".into())),
                ("pump/on", &Value::Bool(true)),
                ("pump/speed/rpm", &Value::Float(90.0)),
            ]
        );
    }

    #[test]
    fn integers_stay_exact_and_null_is_nothing() {
        let row =
            row("{\"a\": 9007199254740993, \"b\": null, \"c\": 1.5, \"d\": 18446744073709551615}").unwrap();
        assert_eq!(
            values(&row),
            [
                ("a", &Value::Integer(9_007_199_254_740_993)),
                ("c", &Value::Float(1.5)),
                ("d", &Value::Integer(18_446_744_073_709_551_615)),
            ]
        );
        assert_eq!(row.time_ms, None);
    }

    #[test]
    fn a_line_that_is_no_row_is_refused() {
        for (text, told) in [
            ("[1]", "not an object"),
            ("{\"a\":", "EOF"),
            ("{\"time\":\"soon\",\"a\":1}", "\"soon\" is no time"),
            ("{}", "no measurement"),
            ("{\"a/b\":1,\"a\":{\"b\":2}}", "two fields are named \"a/b\""),
            ("{\"a\":1,\"a\":1}", "two fields are named \"a\""),
            ("{\"a/0\":1,\"a\":[2]}", "two fields are named \"a/0\""),
            ("{\"\":1}", "no name"),
        ] {
            let said = row(text).unwrap_err();
            assert!(said.contains(told), "{text}: {said}");
        }
        assert!(row("{\"a\":1,\"b\":{\"a\":1}}").is_ok());
    }
}
