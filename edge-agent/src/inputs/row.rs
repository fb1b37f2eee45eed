//! A row, and where rows come from.

use schemas::{Measurement, Value};
use thiserror::Error;

/// What was measured at one instant; it becomes one record.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where it stands in its source, from 1; 0 where there are no lines.
    pub line: u64,
    /// ms since 1970, where the source says when; `None` is now.
    pub time_ms: Option<i64>,
    /// So many ms before now it was measured, where the source says no more than that.
    pub age_ms: i64,
    /// Names and values; they become the record's headers `tag.*`.
    pub tags: Vec<(String, String)>,
    /// Never empty.
    pub measurements: Vec<Measurement>,
}

impl Row {
    /// About what it takes up in memory.
    pub fn bytes(&self) -> usize {
        let measured = self.measurements.iter().map(|measured| {
            let value = match &measured.value {
                Value::Text(text) => text.len(),
                Value::Bytes(bytes) => bytes.len(),
                Value::Float(_) | Value::Integer(_) | Value::Bool(_) => 0,
            };
            let unit = measured.unit.as_ref().map_or(0, String::len);
            size_of::<Measurement>() + measured.name.len() + unit + value
        });
        let tags = self.tags.iter().map(|(name, value)| 2 * size_of::<String>() + name.len() + value.len());
        size_of::<Self>() + measured.sum::<usize>() + tags.sum::<usize>()
    }

    /// Measured now, by a source without lines.
    pub fn now(measurements: Vec<Measurement>) -> Self {
        Self { line: 0, time_ms: None, age_ms: 0, tags: Vec::new(), measurements }
    }

    /// Read from a line that may say when it was measured.
    pub fn read(line: u64, time_ms: Option<i64>, measurements: Vec<Measurement>) -> Self {
        Self { line, time_ms, age_ms: 0, tags: Vec::new(), measurements }
    }
}

/// A row that cannot be taken. The rows after it can.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line}: {what}")]
pub struct BadRow {
    /// From 1; a header is line 1.
    pub line: u64,
    pub what: String,
}

/// A cell that is left out of a row that is taken.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line}: {name}: {what}; the cell is left out")]
pub struct BadCell {
    /// From 1.
    pub line: u64,
    /// The sensor's.
    pub name: String,
    pub what: &'static str,
}

/// What can be wrong within a source that goes on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Bad {
    #[error(transparent)]
    Row(#[from] BadRow),
    /// Said before its row.
    #[error(transparent)]
    Cell(#[from] BadCell),
}

/// Rows of a source, each taken or refused on its own. `Err` outside is the source itself failing.
pub trait Rows: Iterator<Item = std::io::Result<Result<Row, Bad>>> + Send {
    /// Bytes up to the end of what was said last.
    fn bytes_read(&self) -> u64;

    /// What was made of the source's beginning that its writer may not have meant, for people.
    fn notices(&self) -> &[String];
}
