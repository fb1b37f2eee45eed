//! CSV: a header row, one column with the time, every other column a sensor of that name.

use std::io::Read;

use csv::{ReaderBuilder, StringRecord};
use schemas::Measurement;
use thiserror::Error;

use super::row::{BadRow, Row};
use super::time_column::{is_time_name, parse_time};
use super::value::cell_value;

#[derive(Debug, Error)]
pub enum CsvError {
    #[error("{0}")]
    Unreadable(#[from] csv::Error),
    #[error("there is no header row")]
    NoHeader,
    #[error("there is no column {0:?}; the header has {1}")]
    NoTimeColumn(String, String),
    #[error("two columns are named {0:?}")]
    SameName(String),
    #[error("column {0} has no name")]
    NoName(usize),
}

/// The rows of one CSV document.
pub struct CsvRows<R> {
    reader: csv::Reader<R>,
    record: StringRecord,
    /// The sensor of each column; `None` for the time's.
    sensors: Vec<Option<String>>,
    time_column: Option<usize>,
}

impl<R: Read> CsvRows<R> {
    /// Reads the header. `time_column` names the column that is the time; without it the first that is named
    /// like one, if any.
    pub fn new(source: R, time_column: Option<&str>) -> Result<Self, CsvError> {
        let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(source);
        let mut header = StringRecord::new();
        if !reader.read_record(&mut header)? {
            return Err(CsvError::NoHeader);
        }
        let names: Vec<&str> = header.iter().map(|name| name.trim_start_matches('\u{feff}').trim()).collect();
        let time_column = match time_column {
            Some(wanted) => Some(
                names
                    .iter()
                    .position(|name| *name == wanted)
                    .ok_or_else(|| CsvError::NoTimeColumn(wanted.to_owned(), names.join(", ")))?,
            ),
            None => names.iter().position(|name| is_time_name(name)),
        };
        let sensors = sensors(&names, time_column)?;
        Ok(Self { reader, record: StringRecord::new(), sensors, time_column })
    }

    fn row(&self, line: u64) -> Result<Row, BadRow> {
        let bad = |what: String| BadRow { line, what };
        if self.record.len() != self.sensors.len() {
            return Err(bad(format!("{} cells, the header has {}", self.record.len(), self.sensors.len())));
        }
        let time_ms = match self.time_column {
            None => None,
            Some(column) => {
                let cell = self.record.get(column).unwrap_or_default().trim();
                Some(parse_time(cell).ok_or_else(|| bad(format!("{cell:?} is no time")))?)
            }
        };
        let mut measurements = Vec::with_capacity(self.sensors.len());
        for (sensor, cell) in self.sensors.iter().zip(self.record.iter()) {
            let Some(name) = sensor else { continue };
            if let Some(value) = cell_value(cell).map_err(|what| bad(format!("{name}: {what}")))? {
                measurements.push(Measurement { name: name.clone(), unit: None, value });
            }
        }
        if measurements.is_empty() {
            return Err(bad("no measurement in it".to_owned()));
        }
        Ok(Row { line, time_ms, measurements })
    }
}

fn sensors(names: &[&str], time_column: Option<usize>) -> Result<Vec<Option<String>>, CsvError> {
    let mut sensors: Vec<Option<String>> = Vec::with_capacity(names.len());
    for (column, name) in names.iter().enumerate() {
        if Some(column) == time_column {
            sensors.push(None);
            continue;
        }
        if name.is_empty() {
            return Err(CsvError::NoName(column + 1));
        }
        if sensors.iter().flatten().any(|other| other == name) {
            return Err(CsvError::SameName((*name).to_owned()));
        }
        sensors.push(Some((*name).to_owned()));
    }
    Ok(sensors)
}

impl<R: Read> Iterator for CsvRows<R> {
    type Item = std::io::Result<Result<Row, BadRow>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.reader.read_record(&mut self.record) {
            Ok(false) => None,
            Ok(true) => {
                let line = self.record.position().map_or(0, csv::Position::line);
                Some(Ok(self.row(line)))
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

#[cfg(test)]
mod tests {
    use schemas::Value;

    use super::*;

    fn rows(text: &str) -> Vec<Result<Row, BadRow>> {
        CsvRows::new(text.as_bytes(), None).unwrap().map(Result::unwrap).collect()
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
        let text = include_str!("../../tests/data/appliances-excerpt.csv");
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

    #[test]
    fn a_bad_row_is_named_by_its_line_and_the_rest_goes_on() {
        let rows = rows("ts,a\n1,2\nsoon,3\n2,NaN\n3\n4,\n5,6\n");
        let lines: Vec<_> = rows.iter().map(|row| row.as_ref().err().map(|bad| bad.line)).collect();
        assert_eq!(lines, [None, Some(3), Some(4), Some(5), Some(6), None]);
        assert!(rows[1].as_ref().unwrap_err().to_string().contains("line 3: \"soon\" is no time"));
    }

    #[test]
    fn the_time_column_can_be_named() {
        let text = "date,when,a\nx,2016-01-11 17:30,1\n";
        let mut rows = CsvRows::new(text.as_bytes(), Some("when")).unwrap();
        let row = rows.next().unwrap().unwrap().unwrap();
        assert_eq!((row.time_ms, names(&row)), (Some(1_452_533_400_000), vec!["date", "a"]));
        let missing = CsvRows::new(text.as_bytes(), Some("at")).err().unwrap().to_string();
        assert!(missing.contains("no column \"at\"; the header has date, when, a"), "{missing}");
    }

    #[test]
    fn without_a_time_column_a_row_is_measured_now() {
        assert_eq!(rows("a,b\n1,2\n")[0].as_ref().unwrap().time_ms, None);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_name() {
        assert_eq!(
            rows("\u{feff}date,a\n2016-01-11,2\n")[0].as_ref().unwrap().time_ms,
            Some(1_452_470_400_000)
        );
    }

    #[test]
    fn a_header_that_cannot_be_understood_is_refused() {
        for text in ["", "ts,a,a\n", "ts,,a\n"] {
            assert!(CsvRows::new(text.as_bytes(), None).is_err(), "{text:?}");
        }
    }
}
