//! What the columns of a CSV document are: one with the time, the others sensors.

use csv::StringRecord;
use schemas::{Measurement, Value};
use thiserror::Error;

use crate::config::{ColumnKey, ColumnSettings, ColumnType, CsvConfig, TimeConfig};
use crate::inputs::row::{BadCell, BadRow, Row};
use crate::inputs::time_column::{is_time_name, parse_time};
use crate::inputs::value::{cell_value, float_value};

/// A header that cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HeaderError {
    #[error("there is no header row")]
    NoHeader,
    #[error("there is no column {0:?}; the header has {1}")]
    NoColumn(String, String),
    #[error("there is no column {0}; the header has {1}")]
    NoNumber(usize, usize),
    #[error("two columns are named {0:?}")]
    SameName(String),
    #[error("column {0} has no name: give it one in the header")]
    NoName(usize),
}

pub const NO_TIME: &str = "no column is named time, timestamp, date, datetime or ts: every row gets the present \
     time; --time-column (time_column of an input) names the one that is the time";
pub const INDEX: &str =
    "the first column has no name and is left out; where it is the time, say so with --time-column ''";

/// The columns by their place.
#[derive(Debug)]
pub struct Table {
    sensors: Vec<Option<Sensor>>,
    time_column: Option<usize>,
    time: TimeConfig,
    /// With a header, every row has as many cells.
    is_exact: bool,
}

#[derive(Clone, Debug)]
struct Sensor {
    name: String,
    unit: Option<String>,
    kind: Option<ColumnType>,
}

impl Table {
    /// Of a document with a header; notices are for people.
    pub fn of_header(
        header: &StringRecord,
        csv: &CsvConfig,
        time: &TimeConfig,
        notices: &mut Vec<String>,
    ) -> Result<Self, HeaderError> {
        let names: Vec<&str> = header.iter().map(str::trim).collect();
        let time_column = match &time.column {
            Some(wanted) => Some(find(&names, wanted)?),
            None => names.iter().position(|name| is_time_name(name)),
        };
        let sensors = match csv.columns.as_slice() {
            [] => every_column(&names, time_column, notices)?,
            columns => chosen_columns(&names, columns)?,
        };
        if time_column.is_none() {
            notices.push(NO_TIME.to_owned());
        }
        Ok(Self { sensors, time_column, time: time.clone(), is_exact: true })
    }

    /// Of a document without one: columns are known by their number.
    pub fn of_numbers(csv: &CsvConfig, time: &TimeConfig) -> Self {
        let number = |column: &ColumnKey| if let ColumnKey::Number(number) = column { *number } else { 0 };
        let time_column = time.column.as_ref().and_then(|number| number.parse::<usize>().ok());
        let count = csv.columns.iter().map(|column| number(&column.column)).max().unwrap_or(0);
        let mut sensors = vec![None; count.min(COLUMNS_MAX)];
        for column in &csv.columns {
            let at = number(&column.column).saturating_sub(1);
            if let (Some(place), Some(name)) = (sensors.get_mut(at), &column.name) {
                *place = Some(Sensor { name: name.clone(), unit: column.unit.clone(), kind: column.kind });
            }
        }
        let time_column = time_column.map(|number| number.saturating_sub(1));
        Self { sensors, time_column, time: time.clone(), is_exact: false }
    }

    /// The row of a line; cells that are no measurement are put aside.
    pub fn row(&self, cells: &StringRecord, line: u64, aside: &mut Vec<BadCell>) -> Result<Row, BadRow> {
        let bad = |what: String| BadRow { line, what };
        if self.is_exact && cells.len() != self.sensors.len() {
            return Err(bad(format!("{} cells, the header has {}", cells.len(), self.sensors.len())));
        }
        let time_ms = match self.time_column {
            None => None,
            Some(column) => {
                let cell = cells.get(column).unwrap_or_default().trim();
                Some(parse_time(cell, &self.time).ok_or_else(|| bad(format!("{cell:?} is no time")))?)
            }
        };
        let mut measurements = Vec::with_capacity(self.sensors.len());
        for (sensor, cell) in self.sensors.iter().zip(cells.iter()) {
            let Some(sensor) = sensor else { continue };
            match sensor.value(cell) {
                Ok(None) => {}
                Ok(Some(value)) => {
                    let (name, unit) = (sensor.name.clone(), sensor.unit.clone());
                    measurements.push(Measurement { name, unit, value });
                }
                Err(what) => aside.push(BadCell { line, name: sensor.name.clone(), what }),
            }
        }
        if measurements.is_empty() {
            return Err(bad("no measurement in it".to_owned()));
        }
        Ok(Row::read(line, time_ms, measurements))
    }
}

/// No document has more; a number beyond is a slip.
const COLUMNS_MAX: usize = 16 * 1024;

impl Sensor {
    fn named(name: &str) -> Self {
        Self { name: name.to_owned(), unit: None, kind: None }
    }

    fn value(&self, cell: &str) -> Result<Option<Value>, &'static str> {
        let Some(kind) = self.kind else { return cell_value(cell) };
        let cell = cell.trim();
        if cell.is_empty() {
            return Ok(None);
        }
        match kind {
            ColumnType::Text => Ok(Some(Value::Text(cell.to_owned()))),
            ColumnType::Number => match cell_value(cell)? {
                Some(number @ (Value::Float(_) | Value::Integer(_))) => Ok(Some(number)),
                _ => decimal_comma(cell).ok_or("not a number").and_then(float_value).map(Some),
            },
            ColumnType::Boolean => match cell.to_ascii_lowercase().as_str() {
                "true" | "1" | "on" | "yes" | "t" | "y" => Ok(Some(Value::Bool(true))),
                "false" | "0" | "off" | "no" | "f" | "n" => Ok(Some(Value::Bool(false))),
                _ => Err("neither true nor false"),
            },
        }
    }
}

/// Where a column is said to be of numbers, `21,5` is one.
fn decimal_comma(cell: &str) -> Option<f64> {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, part) = cell.split_once(',')?;
    if !is_plain(whole.trim_start_matches(['-', '+'])) || !is_plain(part) {
        return None;
    }
    format!("{whole}.{part}").parse().ok()
}

fn find(names: &[&str], wanted: &str) -> Result<usize, HeaderError> {
    let at = names.iter().position(|name| *name == wanted);
    at.ok_or_else(|| HeaderError::NoColumn(wanted.to_owned(), names.join(", ")))
}

fn every_column(
    names: &[&str],
    time_column: Option<usize>,
    notices: &mut Vec<String>,
) -> Result<Vec<Option<Sensor>>, HeaderError> {
    let mut sensors: Vec<Option<Sensor>> = Vec::with_capacity(names.len());
    for (column, name) in names.iter().enumerate() {
        if Some(column) == time_column {
            sensors.push(None);
            continue;
        }
        if name.is_empty() && column == 0 && names.len() > 1 {
            notices.push(INDEX.to_owned());
            sensors.push(None);
            continue;
        }
        if name.is_empty() {
            return Err(HeaderError::NoName(column + 1));
        }
        refuse_twice(&sensors, name)?;
        sensors.push(Some(Sensor::named(name)));
    }
    Ok(sensors)
}

fn chosen_columns(names: &[&str], columns: &[ColumnSettings]) -> Result<Vec<Option<Sensor>>, HeaderError> {
    let mut sensors: Vec<Option<Sensor>> = vec![None; names.len()];
    for column in columns {
        let at = match &column.column {
            ColumnKey::Name(name) => find(names, name)?,
            ColumnKey::Number(number) => {
                let at = number.checked_sub(1).filter(|at| *at < names.len());
                at.ok_or(HeaderError::NoNumber(*number, names.len()))?
            }
        };
        let name = column.name.as_deref().unwrap_or(names[at]);
        if name.is_empty() {
            return Err(HeaderError::NoName(at + 1));
        }
        refuse_twice(&sensors, name)?;
        let (unit, kind) = (column.unit.clone(), column.kind);
        sensors[at] = Some(Sensor { name: name.to_owned(), unit, kind });
    }
    Ok(sensors)
}

fn refuse_twice(sensors: &[Option<Sensor>], name: &str) -> Result<(), HeaderError> {
    match sensors.iter().flatten().any(|other| other.name == name) {
        true => Err(HeaderError::SameName(name.to_owned())),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::TimeFormat;

    use super::*;

    fn column(key: ColumnKey, name: Option<&str>, kind: Option<ColumnType>) -> ColumnSettings {
        ColumnSettings { column: key, name: name.map(str::to_owned), unit: Some("Cel".into()), kind }
    }

    fn named(key: &str, name: Option<&str>, kind: Option<ColumnType>) -> ColumnSettings {
        column(ColumnKey::Name(key.into()), name, kind)
    }

    fn table(header: &[&str], columns: Vec<ColumnSettings>, time: &TimeConfig) -> Result<Table, HeaderError> {
        let csv = CsvConfig { columns, ..CsvConfig::default() };
        Table::of_header(&StringRecord::from(header.to_vec()), &csv, time, &mut Vec::new())
    }

    #[test]
    fn a_mapping_says_which_columns_are_read_and_as_what() {
        let columns = vec![
            named("T1", Some("oven"), Some(ColumnType::Number)),
            column(ColumnKey::Number(4), None, Some(ColumnType::Boolean)),
            named("code", None, Some(ColumnType::Text)),
        ];
        let table = table(&["when", "T1", "noise", "door", "code"], columns, &TimeConfig::default()).unwrap();
        let mut aside = Vec::new();
        let row = table.row(&StringRecord::from(vec!["x", "21,5", "9", "on", "007"]), 2, &mut aside).unwrap();
        let values: Vec<_> = row.measurements.iter().map(|m| (m.name.as_str(), m.value.clone())).collect();
        assert_eq!(
            values,
            [("oven", Value::Float(21.5)), ("door", Value::Bool(true)), ("code", Value::Text("007".into()))]
        );
        assert_eq!(row.measurements[0].unit.as_deref(), Some("Cel"));
        table.row(&StringRecord::from(vec!["x", "warm", "9", "ajar", "1"]), 3, &mut aside).unwrap();
        let told: Vec<_> = aside.iter().map(|bad| bad.what).collect();
        assert_eq!(told, ["not a number", "neither true nor false"]);
    }

    #[test]
    fn a_mapping_that_does_not_fit_the_header_is_refused() {
        let time = TimeConfig::default();
        let refused = |columns| table(&["a", "b"], columns, &time).unwrap_err().to_string();
        assert!(refused(vec![named("c", None, None)]).contains("no column \"c\"; the header has a, b"));
        assert!(refused(vec![column(ColumnKey::Number(3), None, None)]).contains("no column 3"));
        assert!(refused(vec![named("a", Some("b"), None), named("b", None, None)]).contains("two columns"));
    }

    #[test]
    fn without_a_header_columns_are_numbers() {
        let columns = vec![column(ColumnKey::Number(3), Some("t"), None)];
        let csv = CsvConfig { columns, header: false, ..CsvConfig::default() };
        let format = TimeFormat::Pattern("%d.%m.%Y".into());
        let time = TimeConfig { column: Some("1".into()), format, ..TimeConfig::default() };
        let table = Table::of_numbers(&csv, &time);
        let mut aside = Vec::new();
        let row = table.row(&StringRecord::from(vec!["11.01.2016", "x", "5", "y"]), 1, &mut aside).unwrap();
        assert_eq!((row.time_ms, row.measurements.len()), (Some(1_452_470_400_000), 1));
        assert!(table.row(&StringRecord::from(vec!["11.01.2016"]), 2, &mut aside).is_err());
    }
}
