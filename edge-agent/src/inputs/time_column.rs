//! Which column is the time, and what its values mean.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// The names by which a time column is known, in any case.
const NAMES: [&str; 5] = ["time", "timestamp", "date", "datetime", "ts"];

/// Unix times nearer to 1970 than this (the year 5138) are seconds, up to a thousand times of it milliseconds.
const SECONDS_MAX: f64 = 1e11;

pub fn is_time_name(name: &str) -> bool {
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// The year 0, in ms since 1970: RFC 3339 has none before it.
const YEAR_0_MS: i64 = -62_167_219_200_000;

/// ms since 1970 of RFC 3339, `YYYY-MM-DD[ HH:MM[:SS]]` in UTC, or Unix seconds or milliseconds.
pub fn parse_time(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<f64>() {
        return unix_time(number);
    }
    let ms = match text.parse::<jiff::Timestamp>() {
        Ok(at) => at.as_millisecond(),
        Err(_) => {
            let civil = text.parse::<DateTime>();
            let civil = civil.or_else(|_| text.parse::<Date>().map(|day| day.at(0, 0, 0, 0))).ok()?;
            civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond()
        }
    };
    (ms >= YEAR_0_MS).then_some(ms)
}

/// Unix seconds or milliseconds, told apart by size: milliseconds of the years 1966 to 1973 are taken for seconds.
pub fn unix_time(number: f64) -> Option<i64> {
    let ms = if number.abs() < SECONDS_MAX { number * 1000.0 } else { number };
    // 2⁵³ ms would be exact still; the bound keeps microseconds from being taken for milliseconds.
    let ms = (ms.abs() < SECONDS_MAX * 1000.0).then(|| ms.round() as i64)?;
    (ms >= YEAR_0_MS).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(parse_time(text), Some(1_452_533_400_000), "{text}");
        }
        assert_eq!(parse_time("2016-01-11"), Some(1_452_470_400_000));
        assert_eq!(parse_time("1452533400.25"), Some(1_452_533_400_250));
        assert_eq!(parse_time("-1"), Some(-1000));
        assert_eq!(parse_time("-99999999999"), None, "before the year 0");
        assert_eq!(parse_time("-100000000000"), Some(-100_000_000_000));
        assert_eq!(parse_time("99999999999"), Some(99_999_999_999_000));
        assert_eq!(parse_time("100000000000"), Some(100_000_000_000));
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
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_known_in_any_case() {
        assert!(is_time_name("Date") && is_time_name("TS") && is_time_name("dateTime"));
        assert!(!is_time_name("times") && !is_time_name("NSM"));
    }
}
