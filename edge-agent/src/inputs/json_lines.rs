//! JSON lines: one object a line; its time by name, every other field a sensor, nested ones joined with `/`.

use std::collections::HashSet;
use std::io::{self, BufRead, Read};

use schemas::{Measurement, Value};
use thiserror::Error;

use super::json::{Fields, Json};
use super::row::{Bad, BadRow, Row};
use super::source::{Opening, opening};
use super::time_column::{is_time_name, parse_time, unix_time};
use super::value::{float_value, integer_value};
use crate::limits::LINE_BYTES_MAX;

#[derive(Debug, Error)]
pub enum JsonLinesError {
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    #[error("a JSON array; one object a line is needed")]
    Array,
}

/// The rows of a source of JSON lines.
pub struct JsonLines<R> {
    source: R,
    time_field: Option<String>,
    line: u64,
    text: Vec<u8>,
}

impl<R: BufRead> JsonLines<R> {
    /// `time_field` names the field that is the time; without it, the first that is named like one.
    pub fn new(mut source: R, time_field: Option<&str>) -> Result<Self, JsonLinesError> {
        if opening(&mut source)? == Opening::Array {
            return Err(JsonLinesError::Array);
        }
        Ok(Self { source, time_field: time_field.map(str::to_owned), line: 0, text: Vec::new() })
    }

    /// Reads the next line; `Ok(false)` at the end.
    fn read_line(&mut self) -> io::Result<bool> {
        self.text.clear();
        self.line += 1;
        let bound = u64::try_from(LINE_BYTES_MAX).expect("a line's bound fits 64 bits") + 1;
        Ok(self.source.by_ref().take(bound).read_until(b'\n', &mut self.text)? > 0)
    }

    /// Leaves the rest of a line that is too long.
    fn skip_line(&mut self) -> io::Result<()> {
        while !self.text.ends_with(b"\n") {
            self.text.clear();
            if self.source.by_ref().take(64 << 10).read_until(b'\n', &mut self.text)? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn row(&self) -> Result<Row, String> {
        let Json::Object(mut fields) =
            serde_json::from_slice(&self.text).map_err(|error| error.to_string())?
        else {
            return Err("not an object".to_owned());
        };
        let time_ms = self.take_time(&mut fields)?;
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
        Ok(Row { line: self.line, time_ms, measurements })
    }

    fn take_time(&self, fields: &mut Fields) -> Result<Option<i64>, String> {
        let name = match &self.time_field {
            Some(name) => Some(name.clone()),
            None => fields.keys().find(|name| is_time_name(name)).cloned(),
        };
        let Some(name) = name else { return Ok(None) };
        let value = fields.remove(&name).ok_or_else(|| format!("there is no field {name:?}"))?;
        let time = match &value {
            Json::Text(text) => parse_time(text.trim()).ok_or_else(|| format!("{name}: {text:?} is no time")),
            Json::Number(number) => {
                number.as_f64().and_then(unix_time).ok_or_else(|| format!("{name}: {number} is no time"))
            }
            _ => Err(format!("{name}: what is neither text nor a number is no time")),
        };
        time.map(Some)
    }
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

impl<R: BufRead> Iterator for JsonLines<R> {
    type Item = io::Result<Result<Row, Bad>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read_line() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
            let line = self.line;
            if self.text.len() > LINE_BYTES_MAX {
                let what = format!("longer than {LINE_BYTES_MAX} bytes");
                return Some(self.skip_line().map(|()| Err(BadRow { line, what }.into())));
            }
            if self.text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return Some(Ok(self.row().map_err(|what| BadRow { line, what }.into())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Result<Row, Bad>> {
        JsonLines::new(text.as_bytes(), None).unwrap().map(Result::unwrap).collect()
    }

    fn values(row: &Row) -> Vec<(&str, &Value)> {
        row.measurements.iter().map(|m| (m.name.as_str(), &m.value)).collect()
    }

    #[test]
    fn nested_objects_are_joined_with_a_slash() {
        let rows = rows(
            "{\"ts\": 1452533400, \"pump\": {\"on\": true, \"speed\": {\"rpm\": 90}}, \"mode\": \"eco\"}\n",
        );
        let row = rows[0].as_ref().unwrap();
        assert_eq!(row.time_ms, Some(1_452_533_400_000));
        assert_eq!(
            values(row),
            [
                ("mode", &Value::Text("eco".into())),
                ("pump/on", &Value::Bool(true)),
                ("pump/speed/rpm", &Value::Float(90.0)),
            ]
        );
    }

    #[test]
    fn integers_stay_exact_and_null_is_nothing() {
        let rows = rows("{\"a\": 9007199254740993, \"b\": null, \"c\": 1.5, \"d\": 18446744073709551615}");
        let row = rows[0].as_ref().unwrap();
        assert_eq!(
            values(row),
            [
                ("a", &Value::Integer(9_007_199_254_740_993)),
                ("c", &Value::Float(1.5)),
                ("d", &Value::Integer(18_446_744_073_709_551_615)),
            ]
        );
        assert_eq!(row.time_ms, None);
    }

    #[test]
    fn a_bad_line_is_named_and_the_rest_goes_on() {
        let rows = rows("{\"a\":1}\n\n[1]\n{\"a\":\n{\"time\":\"soon\",\"a\":1}\n{}\n{\"a\":2}\n");
        let line = |bad: &Bad| match bad {
            Bad::Row(bad) => bad.line,
            Bad::Cell(bad) => bad.line,
        };
        let lines: Vec<_> = rows.iter().map(|row| row.as_ref().err().map(line)).collect();
        assert_eq!(lines, [None, Some(3), Some(4), Some(5), Some(6), None]);
    }

    #[test]
    fn a_row_with_two_fields_of_one_name_is_refused() {
        let text = "{\"a/b\":1,\"a\":{\"b\":2}}\n{\"a\":1,\"a\":1}\n{\"a/0\":1,\"a\":[2]}\n{\"a\":1,\"b\":{\"a\":1}}\n";
        let rows = rows(text);
        for (row, told) in
            rows.iter().zip(["line 1: two fields are named \"a/b\"", "line 2: two", "line 3: two"])
        {
            let bad = row.as_ref().unwrap_err().to_string();
            assert!(bad.starts_with(told), "{bad}");
        }
        assert!(rows[3].is_ok());
    }

    #[test]
    fn an_array_is_refused_as_a_whole() {
        let error = JsonLines::new(" \n[\n{\"a\":1}]".as_bytes(), None).err().unwrap();
        assert!(matches!(error, JsonLinesError::Array));
    }

    #[test]
    fn a_line_beyond_the_bound_is_skipped_whole() {
        let long = format!("{{\"a\":\"{}\"}}\n{{\"b\":1}}\n", "x".repeat(LINE_BYTES_MAX));
        let rows = rows(&long);
        assert_eq!(rows.len(), 2);
        assert!(rows[0].is_err() && rows[1].is_ok());
    }
}
