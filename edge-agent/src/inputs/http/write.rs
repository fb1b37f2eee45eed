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

/// The rows of all good lines, one after another: together they would take many times the room of the body. What is
/// to be told of the others is known at the end.
pub struct Lines<'a> {
    rest: Option<&'a [u8]>,
    line: u64,
    parser: LineParser,
    said: Vec<Result<Row, Bad>>,
    taken: usize,
    partial: Option<Partial>,
}

impl<'a> Lines<'a> {
    pub fn new(body: &'a [u8], precision: Precision) -> Self {
        let format = FormatConfig { precision, ..FormatConfig::plain(RowFormat::LineProtocol) };
        let parser = LineParser::new(&format);
        Self { rest: Some(body), line: 0, parser, said: Vec::new(), taken: 0, partial: None }
    }

    /// None where all lines were good.
    pub fn finish(self) -> Option<Partial> {
        self.partial.map(|partial| Partial { stored: self.taken, ..partial })
    }

    fn next_line(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (text, rest) = end.map_or((rest, None), |end| (&rest[..end], rest.get(end + 1..)));
        (self.rest, self.line) = (rest, self.line + 1);
        Some(text)
    }

    fn parse(&mut self, text: &[u8]) -> Result<Option<Row>, String> {
        if text.len() > LINE_BYTES_MAX {
            return Err(too_long());
        }
        // Line protocol has no header that could be wrong, and says one thing of a line.
        let _ = self.parser.line(self.line, text, &mut self.said);
        self.said.drain(..).next_back().transpose().map_err(what)
    }
}

impl Iterator for Lines<'_> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        loop {
            let text = self.next_line()?;
            match self.parse(text) {
                Ok(Some(row)) => {
                    self.taken += 1;
                    return Some(row);
                }
                Ok(None) => {}
                Err(what) => {
                    let line = self.line;
                    let first = || Partial { line, text: shortened(text), what, refused: 0, stored: 0 };
                    self.partial.get_or_insert_with(first).refused += 1;
                }
            }
        }
    }
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

    fn parse(body: &[u8]) -> (Vec<Row>, Option<Partial>) {
        let mut lines = Lines::new(body, Precision::Second);
        (lines.by_ref().collect(), lines.finish())
    }

    #[test]
    fn good_lines_are_taken_and_the_first_bad_one_is_told() {
        let body = b"m a=1 1\r\n\n# comment\nm a\nm a=x\xff\nm a=2 2";
        let (rows, partial) = parse(body);
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
        assert!(parse(b"\n").1.is_none() && parse(b"").1.is_none());
    }

    #[test]
    fn a_line_beyond_the_bound_is_refused_alone() {
        let long = format!("m a=\"{}\"\nm b=1", "x".repeat(LINE_BYTES_MAX));
        let (rows, partial) = parse(long.as_bytes());
        assert_eq!((rows.len(), partial.unwrap().text.len()), (1, SHOWN_CHARS_MAX));
    }
}
