//! Standard input, to its end.

use std::sync::atomic::{AtomicBool, Ordering};

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

/// Whether a thread of this process reads standard input.
static IS_READ: AtomicBool = AtomicBool::new(false);

impl Input for StdinInput {
    /// A read blocks for as long as nobody writes, and cannot be woken; what was read ahead would be lost with its
    /// reader. So its thread goes on until the sink is closed, also where the input is started again.
    fn run(self: Box<Self>, rows: RowSink, stop: CancellationToken) -> Running {
        Box::pin(async move {
            if IS_READ.swap(true, Ordering::AcqRel) {
                stop.cancelled().await;
                return Ok(());
            }
            let rows = rows.of_no_life();
            let reading = tokio::task::spawn_blocking(move || {
                let ended = read(&self.format, &rows);
                IS_READ.store(false, Ordering::Release);
                ended
            });
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                read = reading => read.map_err(InputError::new)?,
            }
        })
    }
}

fn read(format: &FormatConfig, rows: &RowSink) -> Result<(), InputError> {
    let parsed = open_rows(std::io::stdin(), format).map_err(InputError::new)?;
    for notice in parsed.notices() {
        tracing::warn!(input = rows.source().name, notice, "of standard input's header");
    }
    for said in parsed {
        let said =
            said.map_err(|error| InputError::new(format_args!("standard input ends early: {error}")))?;
        if let Some(row) = rows.good(said)
            && rows.blocking_send(row).is_err()
        {
            return Ok(());
        }
    }
    Ok(())
}
