//! CSV: a header row, one column with the time, every other column a sensor of that name. The columns are
//! separated by commas, or by what the header has instead of them.

mod line;
mod table;

use std::collections::VecDeque;
use std::io::{self, BufRead, Chain, Cursor, Read};

use csv::{ReaderBuilder, StringRecord};
use thiserror::Error;

pub use line::CsvLine;
pub use table::HeaderError;

use self::table::Table;
use super::row::{Bad, BadCell, BadRow, Row, Rows};
use crate::config::FormatConfig;
use crate::limits::LINE_BYTES_MAX;

#[derive(Debug, Error)]
pub enum CsvError {
    #[error("{0}")]
    Unreadable(#[from] csv::Error),
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("the header is longer than {LINE_BYTES_MAX} bytes")]
    LongHeader,
}

impl From<io::Error> for CsvError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error.into())
    }
}

const SEMICOLONS: &str = "the columns are taken to be separated by ';'; numbers have a decimal point";
const TABS: &str = "the columns are taken to be separated by tabs";

/// The rows of one CSV document.
pub struct CsvRows<R> {
    reader: csv::Reader<Chain<Cursor<Vec<u8>>, R>>,
    record: StringRecord,
    table: Table,
    notices: Vec<String>,
    /// Cells of the row that was read, to be told before it.
    bad_cells: VecDeque<BadCell>,
    read: Option<io::Result<Result<Row, BadRow>>>,
}

impl<R: BufRead> CsvRows<R> {
    /// Reads the header, where there is to be one.
    pub fn new(mut source: R, config: &FormatConfig) -> Result<Self, CsvError> {
        let first_line = first_line(&mut source)?;
        let mut notices = Vec::new();
        let delimiter = config.csv.delimiter.unwrap_or_else(|| delimiter(&first_line, &mut notices));
        let mut reader = builder(delimiter).from_reader(Cursor::new(first_line).chain(source));
        let table = if config.csv.header {
            let mut header = StringRecord::new();
            if !reader.read_record(&mut header)? {
                return Err(HeaderError::NoHeader.into());
            }
            Table::of_header(&header, &config.csv, &config.time, &mut notices)?
        } else {
            Table::of_numbers(&config.csv, &config.time)
        };
        let (record, bad_cells) = (StringRecord::new(), VecDeque::new());
        Ok(Self { reader, record, table, notices, bad_cells, read: None })
    }

    fn read_row(&mut self) -> Option<io::Result<Result<Row, BadRow>>> {
        match self.reader.read_record(&mut self.record) {
            Ok(false) => None,
            Ok(true) => {
                let line = self.record.position().map_or(0, csv::Position::line);
                let mut aside = Vec::new();
                let row = self.table.row(&self.record, line, &mut aside);
                self.bad_cells.extend(aside);
                Some(Ok(row))
            }
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                match error.into_kind() {
                    csv::ErrorKind::Io(error) => Some(Err(error)),
                    csv::ErrorKind::Utf8 { err, .. } => Some(Ok(Err(BadRow { line, what: err.to_string() }))),
                    kind => Some(Ok(Err(BadRow { line, what: format!("{kind:?}") }))),
                }
            }
        }
    }
}

impl<R: BufRead> Iterator for CsvRows<R> {
    type Item = io::Result<Result<Row, Bad>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bad_cells.is_empty() && self.read.is_none() {
            self.read = self.read_row();
        }
        match self.bad_cells.pop_front() {
            Some(bad) => Some(Ok(Err(bad.into()))),
            None => self.read.take().map(|read| Ok(read?.map_err(Bad::from))),
        }
    }
}

impl<R: BufRead + Send> Rows for CsvRows<R> {
    fn bytes_read(&self) -> u64 {
        self.reader.position().byte()
    }

    fn notices(&self) -> &[String] {
        &self.notices
    }
}

fn builder(delimiter: u8) -> ReaderBuilder {
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).flexible(true).delimiter(delimiter);
    builder
}

/// Everything up to the end of the first line with something in it.
fn first_line(source: &mut impl BufRead) -> Result<Vec<u8>, CsvError> {
    let mut text = Vec::new();
    let mut source = source.take(LINE_BYTES_MAX as u64);
    while text.iter().all(u8::is_ascii_whitespace) && source.read_until(b'\n', &mut text)? > 0 {}
    if text.len() == LINE_BYTES_MAX && !text.ends_with(b"\n") { Err(CsvError::LongHeader) } else { Ok(text) }
}

/// A comma, where the header has one or nothing else that separates.
fn delimiter(header: &[u8], notices: &mut Vec<String>) -> u8 {
    let mut is_quoted = false;
    let bare: Vec<u8> = header
        .iter()
        .copied()
        .filter(|byte| {
            is_quoted ^= *byte == b'"';
            !is_quoted
        })
        .collect();
    let has = |delimiter| bare.trim_ascii().contains(&delimiter);
    let found = [(b',', ""), (b';', SEMICOLONS), (b'\t', TABS)].into_iter().find(|(byte, _)| has(*byte));
    let (delimiter, notice) = found.unwrap_or((b',', ""));
    if !notice.is_empty() {
        notices.push(notice.to_owned());
    }
    delimiter
}

#[cfg(test)]
mod tests {
    use schemas::Value;

    use super::table::{INDEX, NO_TIME};
    use super::*;
    use crate::config::RowFormat;

    fn open<'a>(text: &'a str, time_column: Option<&str>) -> Result<CsvRows<&'a [u8]>, CsvError> {
        let mut config = FormatConfig::plain(RowFormat::Csv);
        config.time.column = time_column.map(str::to_owned);
        CsvRows::new(text.as_bytes(), &config)
    }

    fn rows(text: &str) -> Vec<Result<Row, Bad>> {
        open(text, None).unwrap().map(Result::unwrap).collect()
    }

    fn names(row: &Row) -> Vec<&str> {
        row.measurements.iter().map(|m| m.name.as_str()).collect()
    }

    #[test]
    fn a_row_is_one_record_with_every_other_column_as_a_sensor() {
        let text = "\"date\",\"T1\",\"WeekStatus\"\r\n\"2016-01-11 17:30:00\",\" 19.89\",\"Weekday\"\r\n";
        let rows = rows(text);
        let [Ok(row)] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!(row.time_ms, Some(1_452_533_400_000));
        assert_eq!(names(row), ["T1", "WeekStatus"]);
        assert_eq!(row.measurements[0].value, Value::Float(19.89));
        assert_eq!(row.measurements[1].value, Value::Text("Weekday".into()));
    }

    #[test]
    fn the_published_file_is_understood_as_it_is() {
        let text = include_str!("../../../tests/data/appliances-excerpt.csv");
        let rows: Vec<Row> = rows(text).into_iter().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 4);
        assert!(rows.iter().all(|row| row.measurements.len() == 31));
        let times: Vec<_> = rows.iter().filter_map(|row| row.time_ms).collect();
        assert_eq!((times[0], times[3]), (1_452_533_400_000, 1_464_370_800_000));
        let value =
            |row: &Row, name: &str| row.measurements.iter().find(|m| m.name == name).unwrap().value.clone();
        assert_eq!(value(&rows[0], "Appliances"), Value::Float(50.0));
        assert_eq!(value(&rows[3], "Appliances"), Value::Float(270.0));
        assert_eq!(value(&rows[0], "T_out"), Value::Float(6.25));
        assert_eq!(value(&rows[3], "RH_6"), Value::Float(1.0));
        assert_eq!(value(&rows[3], "Day_of_week"), Value::Text("Friday".into()));
    }

    #[test]
    fn an_empty_cell_is_no_measurement() {
        let rows = rows("ts,a,b\n1,,2\n");
        assert_eq!(names(rows[0].as_ref().unwrap()), ["b"]);
    }

    fn told(rows: &[Result<Row, Bad>]) -> Vec<Option<String>> {
        rows.iter().map(|row| row.as_ref().err().map(ToString::to_string)).collect()
    }

    #[test]
    fn a_bad_row_is_named_by_its_line_and_the_rest_goes_on() {
        let told = told(&rows("ts,a\n1,2\nsoon,3\n3\n4,\n5,6\n"));
        let told: Vec<_> = told.iter().map(Option::as_deref).collect();
        let wrong = [
            "line 3: \"soon\" is no time",
            "line 4: 1 cells, the header has 2",
            "line 5: no measurement in it",
        ]
        .map(Some);
        assert_eq!(told, [None, wrong[0], wrong[1], wrong[2], None]);
    }

    #[test]
    fn a_cell_that_is_no_measurement_is_left_out_of_its_row() {
        let rows = rows("ts,a,b\n1,NaN,2\n2,inf,-inf\n");
        let [Err(cell), Ok(row), Err(one), Err(other), Err(Bad::Row(_))] = rows.as_slice() else {
            panic!("{rows:?}")
        };
        assert_eq!(
            cell.to_string(),
            "line 2: a: NaN and infinities are no measurement; the cell is left out"
        );
        assert_eq!(names(row), ["b"]);
        assert!(matches!((one, other), (Bad::Cell(_), Bad::Cell(_))));
    }

    #[test]
    fn the_time_column_can_be_named() {
        let text = "date,when,a\nx,2016-01-11 17:30,1\n";
        let mut rows = open(text, Some("when")).unwrap();
        let row = rows.next().unwrap().unwrap().unwrap();
        assert_eq!((row.time_ms, names(&row)), (Some(1_452_533_400_000), vec!["date", "a"]));
        let missing = open(text, Some("at")).err().unwrap().to_string();
        assert!(missing.contains("no column \"at\"; the header has date, when, a"), "{missing}");
    }

    #[test]
    fn without_a_time_column_a_row_is_measured_now_and_that_is_told() {
        assert_eq!(open("a,b\n1,2\n", None).unwrap().notices(), [NO_TIME]);
        assert_eq!(rows("a,b\n1,2\n")[0].as_ref().unwrap().time_ms, None);
    }

    #[test]
    fn what_the_header_has_instead_of_commas_separates_the_columns() {
        for (text, told) in [("ts;\"a,b\";c\n1;2;3\n", SEMICOLONS), ("\n ts\tc\n1\t2\n", TABS)] {
            let mut rows = open(text, None).unwrap();
            assert_eq!(rows.notices(), [told]);
            let row = rows.next().unwrap().unwrap().unwrap();
            assert_eq!((row.time_ms, names(&row).last()), (Some(1000), Some(&"c")), "{text}");
        }
        let commas = open("ts,a;b\n1,2\n", None).unwrap();
        assert!(commas.notices().is_empty());
    }

    #[test]
    fn a_nameless_first_column_is_left_out_and_told() {
        let text = ",ts,a\n0,1,2\n";
        let mut rows = open(text, None).unwrap();
        assert_eq!(rows.notices(), [INDEX]);
        assert_eq!(names(&rows.next().unwrap().unwrap().unwrap()), ["a"]);
        let text = ",a\n2016-01-11,2\n";
        let mut rows = open(text, Some("")).unwrap();
        assert!(rows.notices().is_empty());
        assert_eq!(rows.next().unwrap().unwrap().unwrap().time_ms, Some(1_452_470_400_000));
        let other = open("ts,,a\n", None).err().unwrap().to_string();
        assert_eq!(other, "column 2 has no name: give it one in the header");
    }

    #[test]
    fn a_header_that_cannot_be_understood_is_refused() {
        for text in ["", "ts,a,a\n", "ts,,a\n"] {
            assert!(open(text, None).is_err(), "{text:?}");
        }
    }
}
