//! `ingest`: rows of a file into the buffer, whether an agent runs or not.

mod sink;
mod source;
mod tally;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use program::Failure;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::sink::Sink;
use self::source::open_rows;
use self::tally::Tally;
use super::common::{open_clock, runtime};
use super::{IngestArgs, load, text};
use crate::batcher::Batcher;
use crate::data_dir::DataDir;
use crate::destination::{Destination, Priority};
use crate::device_id;
use crate::inputs::{Bad, BadRow, Row, Rows};
use crate::limits::ROW_INBOX;
use crate::time::{Clock, Stamp};

pub fn execute(args: &IngestArgs) -> Result<(), Failure> {
    program::logging::start_quiet();
    let flags = vec![("device_id", text(args.device_id.as_ref())), ("topic", text(args.topic.as_ref()))];
    let config = load(&args.common, flags)?;
    let rows = open_rows(args)?;
    let dir = DataDir::create(&config.data_dir).map_err(Failure::usage)?;
    let device = device_id::fix(&dir, config.device_id.as_ref()).map_err(Failure::usage)?;
    let mut tally = Tally::default();
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let clock = open_clock(&dir);
        let mut sink = Sink::open(&dir, &device, &clock, &config).await?;
        let batcher = Batcher::new(device, clock.boot());
        let priority = args.priority.map(Priority::from).unwrap_or_default();
        let destination = Destination { topic: config.topic, priority };
        let mut filling = Filling { destination, linger: config.linger, batcher, due: None };
        let taken = filling.take(rows, clock, &mut sink, &mut tally).await;
        // What was handed over is counted and closed cleanly, whatever ended the rows.
        let settled = sink.finish(&mut tally).await;
        let closed = sink.close().await;
        tally.say();
        taken.and(settled).and(closed)
    });
    // A thread that reads standard input cannot be woken; the process does not wait for it.
    runtime.shutdown_background();
    ended.and_then(|()| tally.judge())
}

/// The batch that is being filled.
struct Filling {
    destination: Destination,
    linger: Duration,
    batcher: Batcher,
    /// When it has lingered long enough; none while it is empty.
    due: Option<Instant>,
}

/// What the source said, and when.
type Said = (io::Result<Result<Row, Bad>>, Stamp);

impl Filling {
    /// Takes all rows of a source, or those before a signal.
    async fn take(
        &mut self,
        rows: Box<dyn Rows>,
        clock: Arc<Clock>,
        sink: &mut Sink,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let mut terminated = std::pin::pin!(program::signals::termination().map_err(Failure::run)?);
        let mut inbox = read(rows, clock);
        let mut said = Vec::with_capacity(ROW_INBOX);
        let mut stopped = None;
        while stopped.is_none() {
            tokio::select! {
                count = inbox.recv_many(&mut said, ROW_INBOX) => if count == 0 { break },
                () = sleep_until(self.due) => {}
                signal = &mut terminated => stopped = Some(signal),
            }
            for (said, at) in said.drain(..) {
                self.push(said, at, sink, tally).await?;
            }
            if self.due.is_some_and(|due| due <= Instant::now()) {
                self.flush(sink, tally).await?;
                // The source is slow: there is time to see that everything is durable.
                sink.finish(tally).await?;
            }
        }
        self.flush(sink, tally).await?;
        match stopped {
            Some(signal) => Err(Failure::run(format!("{signal} came before the rows' end"))),
            None => Ok(()),
        }
    }

    async fn push(
        &mut self,
        said: io::Result<Result<Row, Bad>>,
        at: Stamp,
        sink: &mut Sink,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let row = match said {
            Ok(Ok(row)) => row,
            Ok(Err(bad)) => {
                tally.note_bad(&bad);
                return Ok(());
            }
            Err(error) => {
                tally.broken = Some(error);
                return Ok(());
            }
        };
        match self.batcher.push(&row, at) {
            Ok(None) => {}
            Ok(Some(built)) => {
                self.due = None;
                sink.append(&self.destination, built, tally).await?;
            }
            Err(error) => tally.note_bad(&BadRow { line: row.line, what: error.to_string() }.into()),
        }
        if self.batcher.is_empty() {
            self.due = None;
        } else if self.due.is_none() {
            self.due = Some(Instant::now() + self.linger);
        }
        Ok(())
    }

    async fn flush(&mut self, sink: &mut Sink, tally: &mut Tally) -> Result<(), Failure> {
        self.due = None;
        match self.batcher.flush().map_err(Failure::run)? {
            Some(built) => sink.append(&self.destination, built, tally).await,
            None => Ok(()),
        }
    }
}

/// Reads rows on a thread of their own, since a read may block for as long as nobody writes; ends with the source.
fn read(rows: Box<dyn Rows>, clock: Arc<Clock>) -> mpsc::Receiver<Said> {
    let (sender, inbox) = mpsc::channel(ROW_INBOX);
    tokio::task::spawn_blocking(move || {
        for said in rows {
            let is_end = said.is_err();
            if sender.blocking_send((said, clock.stamp())).is_err() || is_end {
                return;
            }
        }
    });
    inbox
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
