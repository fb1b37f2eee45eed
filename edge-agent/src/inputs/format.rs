//! Rows in the format that an input is told, from a whole document or line by line.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use thiserror::Error;

use super::csv::{CsvError, CsvLine, CsvRows, HeaderError};
use super::lines::{Line, Lines, too_long};
use super::row::{Bad, BadRow, Row, Rows};
use super::source::{self, Opening};
use super::{json_lines, line_protocol};
use crate::config::{FormatConfig, RowFormat};

/// Why a document cannot be read at all.
#[derive(Debug, Error)]
pub enum DocumentError {
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    #[error(transparent)]
    Csv(#[from] CsvError),
    #[error("a JSON array; one object a line is needed")]
    Array,
}

/// The rows of a whole document.
pub fn open_rows(
    source: impl Read + Send + 'static,
    config: &FormatConfig,
) -> Result<Box<dyn Rows>, DocumentError> {
    read_rows(source::open(source)?, config)
}

/// The same of a source whose byte order mark is left out already.
pub fn read_rows(
    mut source: impl BufRead + Send + 'static,
    config: &FormatConfig,
) -> Result<Box<dyn Rows>, DocumentError> {
    match config.format {
        RowFormat::Csv => Ok(Box::new(CsvRows::new(source, config)?)),
        RowFormat::JsonLines if source::opening(&mut source)? == Opening::Array => Err(DocumentError::Array),
        RowFormat::JsonLines | RowFormat::LineProtocol => Ok(Box::new(LineRows::new(source, config))),
    }
}

/// Makes rows of lines that come one by one. CSV's first line is its header, where it has one; a cell does not
/// go on over an end of line.
pub struct LineParser(Format);

enum Format {
    Csv(Box<CsvLine>),
    Other(FormatConfig),
}

impl LineParser {
    pub fn new(config: &FormatConfig) -> Self {
        Self(match config.format {
            RowFormat::Csv => Format::Csv(Box::new(CsvLine::new(config))),
            RowFormat::JsonLines | RowFormat::LineProtocol => Format::Other(config.clone()),
        })
    }

    /// Takes a line, with or without its end; what is said of it is added. An error is of CSV's header, and means
    /// that nothing after it can be understood either.
    pub fn line(
        &mut self,
        number: u64,
        text: &[u8],
        said: &mut Vec<Result<Row, Bad>>,
    ) -> Result<(), HeaderError> {
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        match &mut self.0 {
            Format::Csv(csv) => csv.line(number, text, said),
            Format::Other(config) => {
                if let Some(row) = parse_line(text, config) {
                    let row = row.map(|row| Row { line: number, ..row });
                    said.push(row.map_err(|what| BadRow { line: number, what }.into()));
                }
                Ok(())
            }
        }
    }

    /// Another document begins; one of CSV has a header of its own.
    pub fn restart(&mut self) {
        if let Format::Csv(csv) = &mut self.0 {
            csv.restart();
        }
    }

    /// Whether a document's first line is a header.
    pub fn has_header(&self) -> bool {
        matches!(&self.0, Format::Csv(csv) if csv.has_header())
    }

    /// What was made of a header that its writer may not have meant, for people.
    pub fn take_notices(&mut self) -> Vec<String> {
        match &mut self.0 {
            Format::Csv(csv) => csv.take_notices(),
            Format::Other(_) => Vec::new(),
        }
    }
}

/// `None` for a line that says nothing.
fn parse_line(text: &[u8], config: &FormatConfig) -> Option<Result<Row, String>> {
    if config.format != RowFormat::LineProtocol {
        return Some(json_lines::parse_line(text, &config.time));
    }
    if line_protocol::is_nothing(text) {
        return None;
    }
    let text = std::str::from_utf8(text).map_err(|error| error.to_string());
    Some(text.and_then(|text| line_protocol::parse_line(text, config.precision)))
}

/// The rows of a document in which every line is one.
struct LineRows<R> {
    lines: Lines<R>,
    parser: LineParser,
    said: Vec<Result<Row, Bad>>,
    queue: VecDeque<Result<Row, Bad>>,
}

impl<R: BufRead> LineRows<R> {
    fn new(source: R, config: &FormatConfig) -> Self {
        let (parser, lines) = (LineParser::new(config), Lines::new(source));
        Self { lines, parser, said: Vec::new(), queue: VecDeque::new() }
    }
}

impl<R: BufRead> Iterator for LineRows<R> {
    type Item = io::Result<Result<Row, Bad>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.queue.is_empty() {
            let number = self.lines.number + 1;
            match self.lines.next_line() {
                Ok(Some(Line::Text(text))) => {
                    if let Err(error) = self.parser.line(number, text, &mut self.said) {
                        return Some(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                    }
                    self.queue.extend(self.said.drain(..));
                }
                Ok(Some(Line::TooLong)) => {
                    self.queue.push_back(Err(BadRow { line: number, what: too_long() }.into()));
                }
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        self.queue.pop_front().map(Ok)
    }
}

impl<R: BufRead + Send> Rows for LineRows<R> {
    fn bytes_read(&self) -> u64 {
        self.lines.position
    }

    fn notices(&self) -> &[String] {
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::LINE_BYTES_MAX;

    fn rows(format: RowFormat, text: &'static str) -> Vec<Result<Row, Bad>> {
        let rows = open_rows(text.as_bytes(), &FormatConfig::plain(format)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn bad_lines(rows: &[Result<Row, Bad>]) -> Vec<Option<u64>> {
        let line = |bad: &Bad| match bad {
            Bad::Row(bad) => bad.line,
            Bad::Cell(bad) => bad.line,
        };
        rows.iter().map(|row| row.as_ref().err().map(line)).collect()
    }

    #[test]
    fn a_bad_line_is_named_and_the_rest_goes_on() {
        let json = "{\"a\":1}\n\n[1]\n{\"a\":\n{\"time\":\"soon\",\"a\":1}\n{}\n{\"a\":2}\n";
        let rows_of = rows(RowFormat::JsonLines, json);
        assert_eq!(bad_lines(&rows_of), [None, Some(3), Some(4), Some(5), Some(6), None]);
        assert_eq!(rows_of[5].as_ref().unwrap().line, 7);
        let protocol = rows(RowFormat::LineProtocol, "# comment\nm a=1\nm a\n\nm a=2");
        assert_eq!(bad_lines(&protocol), [None, Some(3), None]);
    }

    #[test]
    fn an_array_is_refused_as_a_whole() {
        let config = FormatConfig::plain(RowFormat::JsonLines);
        let error = open_rows(" \n[\n{\"a\":1}]".as_bytes(), &config).err().unwrap();
        assert!(matches!(error, DocumentError::Array));
    }

    #[test]
    fn a_line_beyond_the_bound_is_skipped_whole() {
        let long = format!("{{\"a\":\"{}\"}}\n{{\"b\":1}}\n", "x".repeat(LINE_BYTES_MAX));
        let rows = open_rows(io::Cursor::new(long), &FormatConfig::plain(RowFormat::JsonLines)).unwrap();
        let rows: Vec<_> = rows.map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        assert!(rows[0].is_err() && rows[1].is_ok());
    }

    #[test]
    fn a_position_is_where_reading_can_go_on() {
        for (format, text) in [
            (RowFormat::Csv, "ts,a\n1,\"2\n3\"\n4,5\n"),
            (RowFormat::LineProtocol, "m a=1 1000\nm a=2 4000000\n"),
        ] {
            let mut rows = open_rows(text.as_bytes(), &FormatConfig::plain(format)).unwrap();
            rows.next().unwrap().unwrap().unwrap();
            let rest = text.len() as u64 - rows.bytes_read();
            assert_eq!(rest, text.lines().last().unwrap().len() as u64 + 1, "{format:?}");
        }
    }
}
