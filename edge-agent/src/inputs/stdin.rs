//! Standard input, to its end.

use tokio_util::sync::CancellationToken;

use super::format::open_rows;
use super::sink::RowSink;
use super::{Input, InputError, Running};
use crate::config::FormatConfig;

pub struct StdinInput {
    format: FormatConfig,
}

impl StdinInput {
    pub fn new(format: FormatConfig) -> Self {
        Self { format }
    }
}

impl Input for StdinInput {
    /// A read blocks for as long as nobody writes, and cannot be woken: its thread is left behind.
    fn run(self: Box<Self>, rows: RowSink, stop: CancellationToken) -> Running {
        Box::pin(async move {
            let stopped = stop.clone();
            let reading = tokio::task::spawn_blocking(move || read(&self.format, &rows, &stopped));
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                read = reading => read.map_err(InputError::new)?,
            }
        })
    }
}

fn read(format: &FormatConfig, rows: &RowSink, stop: &CancellationToken) -> Result<(), InputError> {
    let parsed = open_rows(std::io::stdin(), format).map_err(InputError::new)?;
    for notice in parsed.notices() {
        tracing::warn!(input = rows.source().name, notice, "of standard input's header");
    }
    for said in parsed {
        let said =
            said.map_err(|error| InputError::new(format_args!("standard input ends early: {error}")))?;
        if stop.is_cancelled() {
            return Ok(());
        }
        if let Some(row) = rows.good(said)
            && rows.blocking_send(row).is_err()
        {
            return Ok(());
        }
    }
    Ok(())
}
