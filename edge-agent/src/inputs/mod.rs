//! Inputs make rows: what a device measured at one instant. They know no batch and no buffer; what comes after
//! them is a [`RowSink`].

mod async_lines;
pub(crate) mod beside;
mod csv;
pub mod exec;
mod feed;
pub mod files;
mod filter;
pub mod format;
mod health;
pub mod host;
pub mod http;
mod json;
mod json_lines;
pub mod line_protocol;
mod lines;
mod listener;
pub mod mark;
pub mod modbus;
pub mod mqtt;
mod progress;
mod queue;
pub mod receipt;
pub mod report;
mod roster;
mod row;
pub mod senml;
pub mod sink;
pub mod socket;
pub mod source;
pub mod stdin;
pub mod tail;
mod time_column;
mod value;

use std::fmt::Display;
use std::pin::Pin;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub use filter::{Filter, SharedFilter};
pub use format::{DocumentError, LineParser, open_rows, read_rows};
pub use health::{Health, HealthView, InputState};
pub use mark::Mark;
pub use progress::Progress;
pub use queue::{Handed, RowSender, WaitingRoom, queue, queue_within};
pub use receipt::{NotStored, Receipt, Stored};
pub use roster::Roster;
pub use row::{Bad, BadCell, BadRow, Row, Rows};
pub use sink::{Closed, Measured, RowSink, Source};

/// One input while it runs. `Ok` is its end for good (it was stopped, or its source has ended); an error is
/// logged, and the input is built anew after a moment.
pub type Running = Pin<Box<dyn Future<Output = Result<(), InputError>> + Send>>;

/// A source of rows. It must end soon after `stop`, or when the sink is closed; what it sees that is no row it
/// says to [`RowSink::bad`] and goes on. It must not block its thread.
pub trait Input: Send {
    fn run(self: Box<Self>, rows: RowSink, stop: CancellationToken) -> Running;
}

/// Why an input cannot go on: one line for people.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct InputError(String);

impl InputError {
    pub fn new(what: impl Display) -> Self {
        Self(what.to_string())
    }
}
