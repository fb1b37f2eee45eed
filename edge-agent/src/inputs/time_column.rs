//! Which column is the time, and what its values mean.

use jiff::civil::{Date, DateTime};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

use crate::config::{TimeConfig, TimeFormat, UnixUnit};

/// The names by which a time column is known, in any case.
const NAMES: [&str; 5] = ["time", "timestamp", "date", "datetime", "ts"];

/// Unix times nearer to 1970 than this (the year 5138) are seconds, up to a thousand times of it milliseconds.
const SECONDS_MAX: f64 = 1e11;

/// The year 0, in ms since 1970: RFC 3339 has none before it.
const YEAR_0_MS: i64 = -62_167_219_200_000;

pub fn is_time_name(name: &str) -> bool {
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// ms since 1970 of a cell or a text.
pub fn parse_time(text: &str, time: &TimeConfig) -> Option<i64> {
    let ms = match &time.format {
        TimeFormat::Told => match text.parse::<f64>() {
            Ok(number) => return unix_time(number),
            Err(_) => told_time(text, &time.zone)?,
        },
        TimeFormat::Unix(unit) => unix_text(text, *unit)?,
        TimeFormat::Pattern(pattern) => pattern_time(text, pattern, &time.zone)?,
    };
    (ms >= YEAR_0_MS).then_some(ms)
}

/// The same of a JSON number.
pub fn number_time(number: &serde_json::Number, time: &TimeConfig) -> Option<i64> {
    match time.format {
        TimeFormat::Told => number.as_f64().and_then(unix_time),
        TimeFormat::Unix(_) | TimeFormat::Pattern(_) => parse_time(&number.to_string(), time),
    }
}

fn told_time(text: &str, zone: &TimeZone) -> Option<i64> {
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at.as_millisecond());
    }
    let civil = text.parse::<DateTime>();
    let civil = civil.or_else(|_| text.parse::<Date>().map(|day| day.at(0, 0, 0, 0))).ok()?;
    in_zone(civil, zone)
}

fn in_zone(civil: DateTime, zone: &TimeZone) -> Option<i64> {
    Some(civil.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond())
}

/// A pattern with an offset in it says all; else the zone is the configured one. A pattern without a time of day
/// is midnight.
fn pattern_time(text: &str, pattern: &str, zone: &TimeZone) -> Option<i64> {
    let parsed = BrokenDownTime::parse(pattern, text).ok()?;
    if let Ok(at) = parsed.to_timestamp() {
        return Some(at.as_millisecond());
    }
    let civil = parsed.to_datetime().or_else(|_| parsed.to_date().map(|day| day.at(0, 0, 0, 0))).ok()?;
    in_zone(civil, zone)
}

/// Exact for integers, which nanoseconds since 1970 are not as doubles.
fn unix_text(text: &str, unit: UnixUnit) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return match unit {
            UnixUnit::Second => number.checked_mul(1000),
            UnixUnit::Millisecond => Some(number),
            UnixUnit::Microsecond => Some(number.div_euclid(1000)),
            UnixUnit::Nanosecond => Some(number.div_euclid(1_000_000)),
        };
    }
    let number: f64 = text.parse().ok()?;
    let ms = match unit {
        UnixUnit::Second => number * 1000.0,
        UnixUnit::Millisecond => number,
        UnixUnit::Microsecond => number / 1000.0,
        UnixUnit::Nanosecond => number / 1_000_000.0,
    };
    (ms.abs() < SECONDS_MAX * 1000.0).then(|| ms.round() as i64)
}

/// Unix seconds or milliseconds, told apart by size: milliseconds of the years 1966 to 1973 are taken for seconds.
fn unix_time(number: f64) -> Option<i64> {
    let ms = if number.abs() < SECONDS_MAX { number * 1000.0 } else { number };
    // 2⁵³ ms would be exact still; the bound keeps microseconds from being taken for milliseconds.
    let ms = (ms.abs() < SECONDS_MAX * 1000.0).then(|| ms.round() as i64)?;
    (ms >= YEAR_0_MS).then_some(ms)
}

#[cfg(test)]
mod tests {
    use jiff::tz::Offset;

    use super::*;

    fn told(text: &str) -> Option<i64> {
        parse_time(text, &TimeConfig::default())
    }

    fn with(text: &str, format: TimeFormat, hours: i8) -> Option<i64> {
        let zone = TimeZone::fixed(Offset::constant(hours));
        parse_time(text, &TimeConfig { column: None, format, zone })
    }

    #[test]
    fn every_way_of_writing_one_instant_is_the_same() {
        let same = [
            "2016-01-11T17:30:00Z",
            "2016-01-11T18:30:00+01:00",
            "2016-01-11 17:30:00",
            "2016-01-11 17:30",
            "2016-01-11T17:30:00",
            "2016-01-11 17:30:00.000",
            "1452533400",
            "1452533400.0",
            "1452533400000",
        ];
        for text in same {
            assert_eq!(told(text), Some(1_452_533_400_000), "{text}");
        }
        assert_eq!(told("2016-01-11"), Some(1_452_470_400_000));
        assert_eq!(told("1452533400.25"), Some(1_452_533_400_250));
        assert_eq!(told("-1"), Some(-1000));
        assert_eq!(told("-99999999999"), None, "before the year 0");
        assert_eq!(told("-100000000000"), Some(-100_000_000_000));
        assert_eq!(told("99999999999"), Some(99_999_999_999_000));
        assert_eq!(told("100000000000"), Some(100_000_000_000));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "soon",
            "17:30",
            "2016-13-01",
            "2016-02-30 00:00",
            "1e300",
            "NaN",
            "inf",
            "1452533400000000",
            "-000001-01-01T00:00:00Z",
            "-009999-01-02",
        ] {
            assert_eq!(told(text), None, "{text}");
        }
    }

    #[test]
    fn a_zone_is_for_times_that_name_none() {
        assert_eq!(with("2016-01-11 18:30", TimeFormat::Told, 1), Some(1_452_533_400_000));
        assert_eq!(with("2016-01-11T17:30:00Z", TimeFormat::Told, 1), Some(1_452_533_400_000));
        let german = || TimeFormat::Pattern("%d.%m.%Y %H:%M:%S".into());
        assert_eq!(with("11.01.2016 18:30:00", german(), 1), Some(1_452_533_400_000));
        assert_eq!(with("2016-01-11 18:30:00", german(), 1), None);
        let offset = TimeFormat::Pattern("%Y-%m-%d %H:%M %z".into());
        assert_eq!(with("2016-01-11 17:30 +0000", offset, 1), Some(1_452_533_400_000));
        assert_eq!(with("11/01/16", TimeFormat::Pattern("%d/%m/%y".into()), 0), Some(1_452_470_400_000));
    }

    #[test]
    fn unix_times_of_a_known_unit_are_exact() {
        let unix = |text: &str, unit| with(text, TimeFormat::Unix(unit), 5);
        assert_eq!(unix("1452533400.25", UnixUnit::Second), Some(1_452_533_400_250));
        assert_eq!(unix("86400000", UnixUnit::Millisecond), Some(86_400_000));
        assert_eq!(unix("1452533400000123", UnixUnit::Microsecond), Some(1_452_533_400_000));
        assert_eq!(unix("1452533400999999999", UnixUnit::Nanosecond), Some(1_452_533_400_999));
        assert_eq!(unix("-1", UnixUnit::Nanosecond), Some(-1));
        assert_eq!(unix("9223372036854775807", UnixUnit::Second), None);
        let number = serde_json::Number::from(1_452_533_400_000_999_999i64);
        let time = TimeConfig { format: TimeFormat::Unix(UnixUnit::Nanosecond), ..TimeConfig::default() };
        assert_eq!(number_time(&number, &time), Some(1_452_533_400_000));
    }

    #[test]
    fn names_are_known_in_any_case() {
        assert!(is_time_name("Date") && is_time_name("TS") && is_time_name("dateTime"));
        assert!(!is_time_name("times") && !is_time_name("NSM"));
    }
}
