//! Line protocol of a request into rows.

use super::answer::Partial;
use crate::config::{FormatConfig, Precision, RowFormat};
use crate::inputs::lines::too_long;
use crate::inputs::{Bad, LineParser, Row};
use crate::limits::LINE_BYTES_MAX;

/// Of a line that is refused, so many characters are shown.
const SHOWN_CHARS_MAX: usize = 100;

/// InfluxDB 1 knows n, u, µ, ms, s, m and h, InfluxDB 2 ns, us, ms and s.
pub fn precision(text: &str) -> Option<Precision> {
    Some(match text {
        "" | "n" | "ns" => Precision::Nanosecond,
        "u" | "us" | "µ" | "µs" => Precision::Microsecond,
        "ms" => Precision::Millisecond,
        "s" => Precision::Second,
        "m" => Precision::Minute,
        "h" => Precision::Hour,
        _ => return None,
    })
}

/// The rows of all good lines, and what is to be told of the others.
pub fn parse(body: &[u8], precision: Precision) -> (Vec<Row>, Option<Partial>) {
    let format = FormatConfig { precision, ..FormatConfig::plain(RowFormat::LineProtocol) };
    let mut parser = LineParser::new(&format);
    let (mut rows, mut said) = (Vec::new(), Vec::new());
    let mut partial: Option<Partial> = None;
    for (line, text) in (1..).zip(body.split(|byte| *byte == b'\n')) {
        let what = if text.len() > LINE_BYTES_MAX {
            Some(too_long())
        } else {
            // Line protocol has no header that could be wrong.
            let _ = parser.line(line, text, &mut said);
            said.drain(..).filter_map(|said| said.map(|row| rows.push(row)).err()).map(what).last()
        };
        if let Some(what) = what {
            let first = || Partial { line, text: shortened(text), what, refused: 0, stored: 0 };
            partial.get_or_insert_with(first).refused += 1;
        }
    }
    if let Some(partial) = &mut partial {
        partial.stored = rows.len();
    }
    (rows, partial)
}

fn what(bad: Bad) -> String {
    match bad {
        Bad::Row(bad) => bad.what,
        Bad::Cell(bad) => bad.what.to_owned(),
    }
}

fn shortened(line: &[u8]) -> String {
    let bytes = &line[..line.len().min(4 * SHOWN_CHARS_MAX)];
    String::from_utf8_lossy(bytes).trim().chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_lines_are_taken_and_the_first_bad_one_is_told() {
        let body = b"m a=1 1\r\n\n# comment\nm a\nm a=x\xff\nm a=2 2";
        let (rows, partial) = parse(body, Precision::Second);
        let times: Vec<_> = rows.iter().map(|row| row.time_ms).collect();
        assert_eq!(times, [Some(1000), Some(2000)]);
        let partial = partial.unwrap();
        assert_eq!((partial.line, partial.refused, partial.stored), (4, 2, 2));
        let told = partial.to_string();
        assert!(
            told.starts_with("partial write: line 4: unable to parse 'm a': a field is missing"),
            "{told}"
        );
        assert!(told.ends_with("stored=2 dropped=2"), "{told}");
        assert!(parse(b"\n", Precision::Second).1.is_none());
    }

    #[test]
    fn a_line_beyond_the_bound_is_refused_alone() {
        let long = format!("m a=\"{}\"\nm b=1", "x".repeat(LINE_BYTES_MAX));
        let (rows, partial) = parse(long.as_bytes(), Precision::Second);
        assert_eq!((rows.len(), partial.unwrap().text.len()), (1, SHOWN_CHARS_MAX));
    }
}
