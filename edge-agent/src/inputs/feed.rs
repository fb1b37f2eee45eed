//! Lines into rows into a sink.

use super::InputError;
use super::format::LineParser;
use super::lines::too_long;
use super::mark::Mark;
use super::row::{Bad, Row};
use super::sink::{Closed, RowSink};
use crate::config::FormatConfig;

/// Why feeding ends.
pub enum FeedEnd {
    /// The agent stops.
    Closed,
    /// What comes cannot be understood from here on.
    Failed(InputError),
}

impl From<Closed> for FeedEnd {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl From<std::io::Error> for FeedEnd {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(InputError::new(error))
    }
}

impl FeedEnd {
    /// What an input ends with.
    pub fn into_result(self) -> Result<(), InputError> {
        match self {
            Self::Closed => Ok(()),
            Self::Failed(error) => Err(error),
        }
    }
}

/// Takes lines one by one.
pub struct LineFeed {
    parser: LineParser,
    rows: RowSink,
    said: Vec<Result<Row, Bad>>,
}

impl LineFeed {
    pub fn new(format: &FormatConfig, rows: RowSink) -> Self {
        Self { parser: LineParser::new(format), rows, said: Vec::new() }
    }

    /// Another document begins; where it is read from its middle, its first line may be its header.
    pub fn restart(&mut self, header: Option<&[u8]>) -> Result<(), FeedEnd> {
        self.parser.restart();
        if let (Some(header), true) = (header, self.parser.has_header()) {
            self.parse(1, header)?;
        }
        Ok(())
    }

    /// Hands the row of a line on, with how far the source was read with it.
    pub async fn line(&mut self, number: u64, text: &[u8], mark: Option<Mark>) -> Result<(), FeedEnd> {
        self.parse(number, text)?;
        for said in self.said.drain(..) {
            if let Some(row) = self.rows.good(said) {
                self.rows.send_with(row, None, mark).await?;
            }
        }
        Ok(())
    }

    pub fn too_long(&self, number: u64) {
        self.rows.bad(&format_args!("line {number}: {}", too_long()));
    }

    fn parse(&mut self, number: u64, text: &[u8]) -> Result<(), FeedEnd> {
        let parsed = self.parser.line(number, text, &mut self.said);
        for notice in self.parser.take_notices() {
            tracing::warn!(input = self.rows.source().name, notice, "of the header");
        }
        parsed.map_err(|error| FeedEnd::Failed(InputError::new(error)))
    }
}
