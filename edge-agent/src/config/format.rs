//! How rows are written in what an input reads: CSV, JSON lines or InfluxDB line protocol, and the details of each.

use jiff::civil::date;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZone;
use serde::Deserialize;
use thiserror::Error;

/// The keys of an input that belong here.
pub(super) const FORMAT_KEYS: [&str; 8] =
    ["format", "time_column", "time_format", "time_zone", "precision", "delimiter", "header", "columns"];

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct FormatSettings {
    pub format: Option<RowFormat>,
    /// The column (CSV) or field (JSON) with the time; else the first named time, timestamp, date, datetime or ts.
    pub time_column: Option<String>,
    /// `unix`, `unix_ms`, `unix_us`, `unix_ns`, or a pattern such as `%d.%m.%Y %H:%M:%S` (strptime).
    pub time_format: Option<String>,
    /// Of times that name none: `Europe/Berlin`, `+02:00`, or a POSIX zone. UTC where it is absent.
    pub time_zone: Option<String>,
    /// Of line protocol's timestamps: `ns` (default), `us`, `ms`, `s`, `m`, `h`.
    pub precision: Option<Precision>,
    /// Of CSV: one character; else told from the header.
    pub delimiter: Option<char>,
    /// Whether CSV has a header row; true where it is absent.
    pub header: Option<bool>,
    /// Of CSV: the columns that are read, and as what; all of them where it is absent.
    pub columns: Vec<ColumnSettings>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum RowFormat {
    #[default]
    Csv,
    JsonLines,
    LineProtocol,
}

/// One unit of line protocol's timestamps.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum Precision {
    #[default]
    #[serde(rename = "ns", alias = "n")]
    Nanosecond,
    #[serde(rename = "us", alias = "u")]
    Microsecond,
    #[serde(rename = "ms")]
    Millisecond,
    #[serde(rename = "s")]
    Second,
    #[serde(rename = "m")]
    Minute,
    #[serde(rename = "h")]
    Hour,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ColumnSettings {
    pub column: ColumnKey,
    /// The sensor; the column's own name where it is absent.
    pub name: Option<String>,
    /// SenML's name of the unit.
    pub unit: Option<String>,
    /// What its cells are; told from each cell where it is absent.
    #[serde(rename = "type")]
    pub kind: Option<ColumnType>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum ColumnKey {
    /// From 1.
    Number(usize),
    Name(String),
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnType {
    Number,
    Text,
    Boolean,
}

/// The format of an input, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct FormatConfig {
    pub format: RowFormat,
    pub time: TimeConfig,
    pub precision: Precision,
    pub csv: CsvConfig,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TimeConfig {
    pub column: Option<String>,
    pub format: TimeFormat,
    pub zone: TimeZone,
}

impl Default for TimeConfig {
    fn default() -> Self {
        Self { column: None, format: TimeFormat::Told, zone: TimeZone::UTC }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum TimeFormat {
    /// RFC 3339, a date with or without a time of day, or Unix time, whose unit is told by its size.
    #[default]
    Told,
    /// Unix time; so many of its units make a millisecond, or the other way round.
    Unix(UnixUnit),
    /// strptime's.
    Pattern(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnixUnit {
    Second,
    Millisecond,
    Microsecond,
    Nanosecond,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CsvConfig {
    pub delimiter: Option<u8>,
    pub header: bool,
    /// Empty where every column is read.
    pub columns: Vec<ColumnSettings>,
}

impl Default for CsvConfig {
    fn default() -> Self {
        Self { delimiter: None, header: true, columns: Vec::new() }
    }
}

#[derive(Debug, Error)]
pub enum FormatError {
    #[error("`format` is missing: csv, json-lines or line-protocol")]
    NoFormat,
    #[error("`{0}` has no meaning for this format")]
    Foreign(&'static str),
    #[error("time_format: {0:?}: {1}")]
    TimeFormat(String, String),
    #[error("time_zone: {0:?}: {1}")]
    TimeZone(String, String),
    #[error("delimiter: an ASCII character other than a quote or an end of line is needed")]
    Delimiter,
    #[error("columns: columns count from 1")]
    ColumnZero,
    #[error("columns: without a header, columns are numbers from 1, not {0:?}")]
    NoHeader(String),
    #[error("columns: column {0} has no name: give it one")]
    NoName(usize),
}

impl FormatConfig {
    /// A format with nothing else said.
    pub fn plain(format: RowFormat) -> Self {
        Self {
            format,
            time: TimeConfig::default(),
            precision: Precision::default(),
            csv: CsvConfig::default(),
        }
    }
}

impl FormatSettings {
    pub(super) fn validate(self) -> Result<FormatConfig, FormatError> {
        let format = self.format.ok_or(FormatError::NoFormat)?;
        self.refuse_foreign(format)?;
        let header = self.header.unwrap_or(true);
        for column in &self.columns {
            match &column.column {
                ColumnKey::Number(0) => return Err(FormatError::ColumnZero),
                ColumnKey::Number(number) if !header && column.name.is_none() => {
                    return Err(FormatError::NoName(*number));
                }
                ColumnKey::Name(name) if !header => return Err(FormatError::NoHeader(name.clone())),
                _ => {}
            }
        }
        let is_good =
            |delimiter: &char| delimiter.is_ascii() && !matches!(delimiter, '"' | '\n' | '\r' | '\0');
        let delimiter = match self.delimiter {
            Some(delimiter) if is_good(&delimiter) => Some(delimiter as u8),
            Some(_) => return Err(FormatError::Delimiter),
            None => None,
        };
        let zone = match &self.time_zone {
            Some(text) => zone(text)?,
            None => TimeZone::UTC,
        };
        let time_format = time_format(self.time_format.as_deref())?;
        Ok(FormatConfig {
            format,
            time: TimeConfig { column: self.time_column, format: time_format, zone },
            precision: self.precision.unwrap_or_default(),
            csv: CsvConfig { delimiter, header, columns: self.columns },
        })
    }

    fn refuse_foreign(&self, format: RowFormat) -> Result<(), FormatError> {
        let csv = RowFormat::Csv;
        let given = [
            ("time_column", self.time_column.is_some(), format != RowFormat::LineProtocol),
            ("time_format", self.time_format.is_some(), format != RowFormat::LineProtocol),
            ("time_zone", self.time_zone.is_some(), format != RowFormat::LineProtocol),
            ("precision", self.precision.is_some(), format == RowFormat::LineProtocol),
            ("delimiter", self.delimiter.is_some(), format == csv),
            ("header", self.header.is_some(), format == csv),
            ("columns", !self.columns.is_empty(), format == csv),
        ];
        match given.into_iter().find(|(_, is_given, has_meaning)| *is_given && !has_meaning) {
            Some((key, ..)) => Err(FormatError::Foreign(key)),
            None => Ok(()),
        }
    }
}

fn zone(text: &str) -> Result<TimeZone, FormatError> {
    DateTimeParser::new()
        .parse_time_zone(text)
        .map_err(|error| FormatError::TimeZone(text.to_owned(), error.to_string()))
}

/// What a pattern reads of a time that was written with it: not all that can be written can be read.
fn read_again(pattern: &str) -> Result<BrokenDownTime, jiff::Error> {
    let any = date(2016, 1, 11).at(17, 30, 5, 250_000_000).to_zoned(TimeZone::UTC)?;
    BrokenDownTime::parse(pattern, strtime::format(pattern, &any)?)
}

fn time_format(text: Option<&str>) -> Result<TimeFormat, FormatError> {
    Ok(match text {
        None => TimeFormat::Told,
        Some("unix") => TimeFormat::Unix(UnixUnit::Second),
        Some("unix_ms") => TimeFormat::Unix(UnixUnit::Millisecond),
        Some("unix_us") => TimeFormat::Unix(UnixUnit::Microsecond),
        Some("unix_ns") => TimeFormat::Unix(UnixUnit::Nanosecond),
        Some(pattern) => {
            let wrong = |what: String| FormatError::TimeFormat(pattern.to_owned(), what);
            if !pattern.contains('%') {
                return Err(wrong("neither unix, unix_ms, unix_us, unix_ns nor a pattern with %".to_owned()));
            }
            let read = read_again(pattern).map_err(|error| wrong(error.to_string()))?;
            if read.iana_time_zone().is_some() {
                return Err(wrong("names of zones are not read: `time_zone` can name one".to_owned()));
            }
            if read.to_timestamp().is_err() && read.to_date().is_err() {
                return Err(wrong("it tells no date".to_owned()));
            }
            TimeFormat::Pattern(pattern.to_owned())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(json: &str) -> Result<FormatConfig, String> {
        let settings: FormatSettings = serde_json::from_str(json).map_err(|error| error.to_string())?;
        settings.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_said_is_understood() {
        let config = format(
            r#"{"format":"csv","time_column":"when","time_format":"%d.%m.%Y %H:%M","time_zone":"+02:00",
                "delimiter":";","columns":[{"column":"T","name":"t","unit":"Cel","type":"number"},{"column":3}]}"#,
        );
        let config = config.unwrap();
        assert_eq!(config.time.format, TimeFormat::Pattern("%d.%m.%Y %H:%M".into()));
        assert_eq!((config.csv.delimiter, config.csv.header), (Some(b';'), true));
        assert_eq!(config.csv.columns[1].column, ColumnKey::Number(3));
        let config = format(r#"{"format":"line-protocol","precision":"s"}"#).unwrap();
        assert_eq!(config.precision, Precision::Second);
        let posix = r#"{"format":"csv","time_zone":"CET-1CEST,M3.5.0,M10.5.0/3"}"#;
        assert!(format(posix).is_ok());
    }

    #[test]
    fn whatever_tells_a_date_can_be_a_pattern() {
        for pattern in [
            "%Y-%m-%dT%H:%M:%S%.f",
            "%d/%m/%y",
            "%a, %d %b %Y %I:%M:%S %p %z",
            "%A %e %B %Y",
            "%Y%j",
            "%G-W%V-%u",
            "%s",
            "%s.%f",
            "[%D %R]",
        ] {
            let config = format(&format!(r#"{{"format":"csv","time_format":"{pattern}"}}"#));
            assert!(config.is_ok(), "{pattern}: {config:?}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (json, told) in [
            ("{}", "`format` is missing"),
            (r#"{"format":"xml"}"#, "xml"),
            (r#"{"format":"csv","time_format":"soon"}"#, "neither unix"),
            (r#"{"format":"csv","time_format":"%d %"}"#, "time_format"),
            (r#"{"format":"csv","time_format":"%Q"}"#, "time_format: \"%Q\": names of zones"),
            (r#"{"format":"csv","time_format":"%F %T %Q"}"#, "names of zones"),
            (r#"{"format":"csv","time_format":"%H:%M"}"#, "time_format: \"%H:%M\": it tells no date"),
            (r#"{"format":"csv","time_format":"%d.%m.%Y %H:%M %Z"}"#, "%Z"),
            (r#"{"format":"csv","time_format":"%c"}"#, "%c"),
            (r#"{"format":"csv","time_zone":"Atlantis/Sunk"}"#, "Atlantis"),
            (r#"{"format":"csv","delimiter":"\""}"#, "delimiter"),
            (r#"{"format":"csv","delimiter":"ab"}"#, "ab"),
            (r#"{"format":"csv","columns":[{"column":0}]}"#, "count from 1"),
            (r#"{"format":"csv","header":false,"columns":[{"column":"T"}]}"#, "numbers"),
            (r#"{"format":"csv","header":false,"columns":[{"column":2}]}"#, "has no name"),
            (r#"{"format":"csv","precision":"s"}"#, "`precision` has no meaning"),
            (r#"{"format":"json-lines","columns":[{"column":1}]}"#, "`columns` has no meaning"),
        ] {
            let said = format(json).unwrap_err();
            assert!(said.contains(told), "{json}: {said}");
        }
    }
}
