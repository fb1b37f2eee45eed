//! A row, and where rows come from.

use schemas::Measurement;
use thiserror::Error;

/// What was measured at one instant; it becomes one record.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where it stands in its source, from 1; 0 where there are no lines.
    pub line: u64,
    /// ms since 1970, where the source says when; `None` is now.
    pub time_ms: Option<i64>,
    /// Never empty.
    pub measurements: Vec<Measurement>,
}

/// A row that cannot be taken. The rows after it can.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("line {line}: {what}")]
pub struct BadRow {
    /// From 1; a header is line 1.
    pub line: u64,
    pub what: String,
}

/// Rows of a source, each taken or refused on its own. `Err` outside is the source itself failing.
pub trait Rows: Iterator<Item = std::io::Result<Result<Row, BadRow>>> + Send {}

impl<T: Iterator<Item = std::io::Result<Result<Row, BadRow>>> + Send> Rows for T {}
