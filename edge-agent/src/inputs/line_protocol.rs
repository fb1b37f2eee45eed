//! InfluxDB line protocol, as its reference for version 2 describes it ("Line protocol", special characters and
//! data types), which is what Telegraf writes too.
//!
//! ```text
//! weather,location=us-midwest temperature=82,humidity=71i 1465839830100400200
//! ```
//!
//! A field is the sensor `{measurement}.{field}`, a tag is the record's. Lines end at every end of line, also at
//! one within quotes.

use std::borrow::Cow;

use schemas::{Measurement, Value};

use super::row::Row;
use super::value::{float_value, integer_value};
use crate::config::Precision;

/// Later and earlier times than this (the years 5138 and −1199), in ms since 1970, are no measurement's.
const TIME_MS_MAX: u64 = 100_000_000_000_000;

/// Whether a line says nothing: it is blank or a comment.
pub fn is_nothing(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.is_empty() || line.starts_with(b"#")
}

/// The row of one line, without its end.
pub fn parse_line(text: &str, precision: Precision) -> Result<Row, String> {
    let mut line = Line { text: text.trim() };
    let name = line.name(b", ", b", ").filter(|name| !name.is_empty()).ok_or("the measurement is missing")?;
    let mut tags = Vec::new();
    while line.skip(b',') {
        tags.push(line.tag()?);
    }
    line.spaces().then_some(()).ok_or("the fields are missing")?;
    let mut measurements = Vec::new();
    loop {
        let (field, value) = line.field()?;
        measurements.push(Measurement { name: format!("{name}.{field}"), unit: None, value });
        if !line.skip(b',') {
            break;
        }
    }
    let time_ms = line.time(precision)?;
    if let Some(twice) = twice(tags.iter().map(|(name, _)| name.as_str())) {
        return Err(format!("two tags are named {twice:?}"));
    }
    if let Some(twice) = twice(measurements.iter().map(|measured| measured.name.as_str())) {
        return Err(format!("two fields are named {twice:?}"));
    }
    Ok(Row { tags, ..Row::read(0, time_ms, measurements) })
}

/// What is left of a line.
struct Line<'a> {
    text: &'a str,
}

impl<'a> Line<'a> {
    fn next(&self) -> Option<u8> {
        self.text.as_bytes().first().copied()
    }

    /// Takes so many bytes, which end where a character ends.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.text.split_at_checked(bytes).unwrap_or((self.text, ""));
        self.text = rest;
        taken
    }

    fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.next() == Some(byte);
        if is_next {
            self.take(1);
        }
        is_next
    }

    /// Whether there is at least one space.
    fn spaces(&mut self) -> bool {
        let bare = self.text.trim_start_matches(' ');
        let is_any = bare.len() < self.text.len();
        self.text = bare;
        is_any
    }

    /// A name or a tag's value up to one of `ends`, which all are ASCII; a backslash before one of `special` takes
    /// its meaning away, before anything else it is itself. `None` where it would end the line.
    fn name(&mut self, ends: &[u8], special: &[u8]) -> Option<Cow<'a, str>> {
        let bytes = self.text.as_bytes();
        let (mut at, mut is_escaped) = (0, false);
        while let Some(byte) = bytes.get(at) {
            if *byte == b'\\' && bytes.get(at + 1).is_some_and(|next| special.contains(next)) {
                is_escaped = true;
                at += 2;
            } else if ends.contains(byte) {
                let taken = self.take(at);
                return Some(if is_escaped { unescaped(taken, special) } else { Cow::Borrowed(taken) });
            } else {
                at += 1;
            }
        }
        None
    }

    fn tag(&mut self) -> Result<(String, String), String> {
        let name =
            self.name(b"=, ", b",= ").filter(|name| !name.is_empty()).ok_or("a tag's name is missing")?;
        if !self.skip(b'=') {
            return Err(format!("tag {name:?} has no value"));
        }
        let value = self.name(b", ", b",= ").ok_or("the fields are missing")?;
        if value.is_empty() {
            return Err(format!("tag {name:?} has no value"));
        }
        Ok((name.into_owned(), value.into_owned()))
    }

    fn field(&mut self) -> Result<(String, Value), String> {
        let missing = || "a field is missing, or its value is";
        let name = self.name(b"=, ", b",= ").filter(|name| !name.is_empty()).ok_or_else(missing)?;
        if !self.skip(b'=') {
            return Err(format!("field {name:?} has no value"));
        }
        let value = match self.next() {
            Some(b'"') => self.text_value(),
            _ => {
                let ends = |byte: &u8| matches!(byte, b',' | b' ');
                let bytes = self.text.bytes().position(|byte| ends(&byte)).unwrap_or(self.text.len());
                scalar(self.take(bytes))
            }
        };
        let value = value.map_err(|what| format!("field {name:?}: {what}"))?;
        Ok((name.into_owned(), value))
    }

    /// Within quotes a backslash stands before a quote or a backslash.
    fn text_value(&mut self) -> Result<Value, &'static str> {
        self.take(1);
        let value = self.name(b"\"", b"\"\\").ok_or("the closing quote is missing")?;
        self.take(1);
        Ok(Value::Text(value.into_owned()))
    }

    /// The rest of the line.
    fn time(&mut self, precision: Precision) -> Result<Option<i64>, String> {
        let is_apart = self.spaces();
        match (is_apart, self.text) {
            (_, "") => Ok(None),
            (false, rest) => Err(format!("{:?} after a field's value", shortened(rest))),
            (true, rest) => {
                let time = rest.parse().ok().and_then(|units| to_ms(units, precision));
                time.map(Some).ok_or_else(|| format!("{:?} is no timestamp", shortened(rest)))
            }
        }
    }
}

fn unescaped(text: &str, special: &[u8]) -> Cow<'static, str> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let is_special = |next: &char| u8::try_from(*next).is_ok_and(|next| special.contains(&next));
        let escaped = if character == '\\' { characters.next_if(is_special) } else { None };
        plain.push(escaped.unwrap_or(character));
    }
    Cow::Owned(plain)
}

fn scalar(text: &str) -> Result<Value, &'static str> {
    const WRONG: &str = "neither a number, a boolean nor a quoted text";
    match text {
        "" => return Err("the value is missing"),
        "t" | "T" | "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "f" | "F" | "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    if let Some(integer) = text.strip_suffix('i') {
        return integer.parse().map(integer_value).map_err(|_| "no 64-bit integer");
    }
    if let Some(integer) = text.strip_suffix('u') {
        let integer: u64 = integer.parse().map_err(|_| "no unsigned 64-bit integer")?;
        return Ok(i64::try_from(integer).map_or(Value::Integer(integer.into()), integer_value));
    }
    let looks_so = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
    match text.parse() {
        Ok(number) if looks_so => float_value(number),
        _ => Err(WRONG),
    }
}

fn to_ms(units: i64, precision: Precision) -> Option<i64> {
    let ms = match precision {
        Precision::Nanosecond => units.div_euclid(1_000_000),
        Precision::Microsecond => units.div_euclid(1000),
        Precision::Millisecond => units,
        Precision::Second => units.checked_mul(1000)?,
        Precision::Minute => units.checked_mul(60_000)?,
        Precision::Hour => units.checked_mul(3_600_000)?,
    };
    (ms.unsigned_abs() < TIME_MS_MAX).then_some(ms)
}

fn twice<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut seen = std::collections::HashSet::new();
    names.into_iter().find(|name| !seen.insert(*name)).map(str::to_owned)
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row {
        parse_line(text, Precision::Nanosecond).unwrap_or_else(|what| panic!("{text}: {what}"))
    }

    fn values(row: &Row) -> Vec<(&str, &Value)> {
        row.measurements.iter().map(|m| (m.name.as_str(), &m.value)).collect()
    }

    fn tags(row: &Row) -> Vec<(&str, &str)> {
        row.tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn a_line_has_tags_fields_and_a_time() {
        let row =
            row("weather,location=us-midwest,season=summer temperature=82,humidity=71i 1465839830100400200");
        assert_eq!(tags(&row), [("location", "us-midwest"), ("season", "summer")]);
        let [temperature, humidity] = values(&row)[..] else { panic!("{row:?}") };
        assert_eq!(temperature, ("weather.temperature", &Value::Float(82.0)));
        assert_eq!(humidity, ("weather.humidity", &Value::Float(71.0)));
        assert_eq!(row.time_ms, Some(1_465_839_830_100));
    }

    #[test]
    fn every_type_of_value_is_taken() {
        let row = row(
            "m a=1,b=-1.5e+3,c=9007199254740993i,d=18446744073709551615u,e=t,f=FALSE,g=\"a, \\\"b\\\" c\\\\\"",
        );
        let expected = [
            Value::Float(1.0),
            Value::Float(-1500.0),
            Value::Integer(9_007_199_254_740_993),
            Value::Integer(18_446_744_073_709_551_615),
            Value::Bool(true),
            Value::Bool(false),
            Value::Text("a, \"b\" c\\".into()),
        ];
        let values: Vec<_> = row.measurements.into_iter().map(|measured| measured.value).collect();
        assert_eq!(values, expected);
        assert_eq!(row.time_ms, None);
    }

    /// The examples of InfluxDB's reference, "Special characters".
    #[test]
    fn what_is_special_can_be_escaped() {
        let spaced = row(r#"my\ Measurement fieldKey="string value""#);
        assert_eq!(values(&spaced)[0].0, "my Measurement.fieldKey");
        let quoted = row(r#"myMeasurement fieldKey="\"string\" within a string""#);
        assert_eq!(values(&quoted)[0].1, &Value::Text("\"string\" within a string".into()));
        let keys = row(r"myMeasurement,tag\ Key1=tag\ Value1,tag\ Key2=tag\ Value2 fieldKey=100");
        assert_eq!(tags(&keys), [("tag Key1", "tag Value1"), ("tag Key2", "tag Value2")]);
        let emoji = row("myMeasurement,tagKey=🍭 fieldKey=\"Launch 🚀\" 1556813561098000000");
        assert_eq!((tags(&emoji)[0].1, emoji.time_ms), ("🍭", Some(1_556_813_561_098)));
        let equals = row(r"m,a\=b=c\,d f\=g=1");
        assert_eq!((tags(&equals)[0], values(&equals)[0].0), (("a=b", "c,d"), "m.f=g"));
        let path = row(r"disk,path=C:\dir\x used=1");
        assert_eq!(tags(&path)[0].1, r"C:\dir\x", "a backslash before anything else is itself");
        assert_eq!(values(&row(r"a=b c=1"))[0].0, "a=b.c");
    }

    #[test]
    fn a_time_has_the_precision_that_is_said() {
        for (time, precision) in [
            ("1465839830100400200", Precision::Nanosecond),
            ("1465839830100400", Precision::Microsecond),
            ("1465839830100", Precision::Millisecond),
        ] {
            let row = parse_line(&format!("m v=1 {time}"), precision).unwrap();
            assert_eq!(row.time_ms, Some(1_465_839_830_100));
        }
        let row = |precision| parse_line("m v=1 -24", precision).unwrap().time_ms;
        assert_eq!(row(Precision::Second), Some(-24_000));
        assert_eq!(row(Precision::Minute), Some(-1_440_000));
        assert_eq!(row(Precision::Hour), Some(-86_400_000));
        assert_eq!(row(Precision::Nanosecond), Some(-1));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, told) in [
            ("", "measurement"),
            ("weather", "measurement"),
            ("weather,location=x", "fields are missing"),
            ("weather ", "measurement"),
            (",a=b c=1", "measurement is missing"),
            ("m,a= c=1", "tag \"a\" has no value"),
            ("m,a c=1", "tag \"a\" has no value"),
            ("m c", "field is missing"),
            ("m c=", "the value is missing"),
            ("m c=1,", "field is missing"),
            ("m c=1,,d=2", "field is missing"),
            ("m c=x", "neither a number"),
            ("m c=NaN", "neither a number"),
            ("m c=inf", "neither a number"),
            ("m c=1e999", "too large"),
            ("m c=1.5i", "no 64-bit integer"),
            ("m c=-1u", "no unsigned"),
            ("m c=\"x", "closing quote"),
            ("m c=\"x\"y", "after a field"),
            ("m c=1 soon", "no timestamp"),
            ("m c=1 9223372036854775807 1", "no timestamp"),
            ("m c=1,c=2", "two fields are named \"m.c\""),
            ("m,a=1,a=2 c=1", "two tags are named \"a\""),
        ] {
            let said = parse_line(text, Precision::Nanosecond).unwrap_err();
            assert!(said.contains(told), "{text}: {said}");
        }
        assert!(parse_line("m c=1 9223372036854775807", Precision::Second).is_err());
        assert!(is_nothing(b" \r\n") && is_nothing(b"# a comment") && !is_nothing(b"m c=1"));
    }
}
