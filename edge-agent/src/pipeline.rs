//! From inputs to the buffer: each input a task or thread, one batcher task for all of them.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use schemas::{DeviceId, TopicName};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::batcher::{Batcher, Built};
use crate::buffer::{Buffer, WriteError, durable};
use crate::config::{Input, RowFormat};
use crate::inputs::csv::CsvRows;
use crate::inputs::host::Host;
use crate::inputs::json_lines::JsonLines;
use crate::inputs::{Bad, Row, Rows, source};
use crate::time::{Clock, Stamp};

/// A row on its way to the batcher.
pub struct Measured {
    pub topic: TopicName,
    pub row: Row,
    /// When it was read.
    pub at: Stamp,
}

/// Starts an input; it ends when asked to, or with its source.
pub fn start_input(
    input: &Input,
    clock: &Arc<Clock>,
    rows: mpsc::Sender<Measured>,
    stop: &CancellationToken,
) {
    let (clock, stop) = (clock.clone(), stop.clone());
    match input.clone() {
        Input::Host { interval, topic } => {
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = read_host(interval, &topic, &clock, rows) => {}
                }
            });
        }
        Input::Stdin { format, time_column, topic } => {
            // A read of standard input blocks for as long as nobody writes to it.
            tokio::task::spawn_blocking(move || {
                read_stdin(format, time_column.as_deref(), &topic, &clock, &rows, &stop);
            });
        }
    }
}

async fn read_host(interval: Duration, topic: &TopicName, clock: &Clock, rows: mpsc::Sender<Measured>) {
    let mut host = Host::default();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(row) = host.read() {
            let measured = Measured { topic: topic.clone(), row, at: clock.stamp() };
            if rows.send(measured).await.is_err() {
                return;
            }
        }
    }
}

fn read_stdin(
    format: RowFormat,
    time_column: Option<&str>,
    topic: &TopicName,
    clock: &Clock,
    rows: &mpsc::Sender<Measured>,
    stop: &CancellationToken,
) {
    let parsed = match stdin_rows(format, time_column) {
        Ok(parsed) => parsed,
        Err(error) => return tracing::error!(error, "standard input is not read"),
    };
    for row in parsed {
        match row {
            Ok(Ok(row)) => {
                let measured = Measured { topic: topic.clone(), row, at: clock.stamp() };
                if stop.is_cancelled() || rows.blocking_send(measured).is_err() {
                    return;
                }
            }
            Ok(Err(Bad::Row(bad))) => tracing::warn!(%bad, "a row of standard input is left out"),
            Ok(Err(Bad::Cell(bad))) => tracing::warn!(%bad, "of standard input"),
            Err(error) => return tracing::error!(%error, "standard input ends early"),
        }
    }
    tracing::info!("standard input has ended");
}

fn stdin_rows(format: RowFormat, time_column: Option<&str>) -> Result<Box<dyn Rows>, Box<dyn Error>> {
    let source = source::open(std::io::stdin())?;
    Ok(match format {
        RowFormat::JsonLines => Box::new(JsonLines::new(source, time_column)?),
        RowFormat::Csv => {
            let rows = CsvRows::new(source, time_column)?;
            rows.notices().iter().for_each(|notice| tracing::warn!(notice, "of standard input's header"));
            Box::new(rows)
        }
    })
}

/// Makes batches of rows until every input has ended, and ends itself when all of them are durable.
pub async fn batch_rows(
    mut rows: mpsc::Receiver<Measured>,
    device: DeviceId,
    boot: Uuid,
    linger: Duration,
    buffer: Buffer,
) {
    let mut open = OpenBatches { device, boot, linger, by_topic: HashMap::new() };
    let mut sink = BufferSink { buffer, waiting: JoinSet::new() };
    loop {
        tokio::select! {
            measured = rows.recv() => match measured {
                Some(measured) => open.push(&measured, &mut sink).await,
                None => break,
            },
            () = sleep_until(open.due()) => {}
        }
        open.flush(&mut sink, |due| due <= Instant::now()).await;
    }
    open.flush(&mut sink, |_| true).await;
    while sink.waiting.join_next().await.is_some() {}
}

/// The batches that are being filled.
struct OpenBatches {
    device: DeviceId,
    boot: Uuid,
    linger: Duration,
    by_topic: HashMap<TopicName, (Batcher, Instant)>,
}

impl OpenBatches {
    /// When the first of them has lingered long enough.
    fn due(&self) -> Option<Instant> {
        self.by_topic.values().filter(|(batcher, _)| !batcher.is_empty()).map(|(_, due)| *due).min()
    }

    async fn push(&mut self, measured: &Measured, sink: &mut BufferSink) {
        let due_at = Instant::now() + self.linger;
        let (device, boot) = (&self.device, self.boot);
        let fresh = || (Batcher::new(device.clone(), boot), due_at);
        let (batcher, due) = self.by_topic.entry(measured.topic.clone()).or_insert_with(fresh);
        if batcher.is_empty() {
            *due = due_at;
        }
        match batcher.push(&measured.row, measured.at) {
            Ok(Some(built)) => {
                *due = due_at;
                sink.append(&measured.topic, built).await;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "a row is left out"),
        }
    }

    async fn flush(&mut self, sink: &mut BufferSink, is_due: impl Fn(Instant) -> bool) {
        for (topic, (batcher, due)) in &mut self.by_topic {
            if !batcher.is_empty() && is_due(*due) {
                match batcher.flush() {
                    Ok(Some(built)) => sink.append(topic, built).await,
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "a batch could not be built"),
                }
            }
        }
    }
}

struct BufferSink {
    buffer: Buffer,
    /// Batches that are not durable yet.
    waiting: JoinSet<()>,
}

impl BufferSink {
    /// Waits for room in the writer's inbox, not for the disk. That the buffer failed shows at the uplink, which
    /// ends the agent.
    async fn append(&mut self, topic: &TopicName, built: Built) {
        while self.waiting.try_join_next().is_some() {}
        let Ok(answer) = self.buffer.append(&topic.clone().into(), built.boot, built.batch).await else {
            return;
        };
        let records = built.records;
        self.waiting.spawn(async move {
            match durable(answer).await {
                Ok(appended) if appended.dropped > 0 => {
                    tracing::warn!(
                        dropped = appended.dropped,
                        "the buffer is full; its oldest records were dropped"
                    );
                }
                Ok(_) | Err(WriteError::Closed | WriteError::Failed(_)) => {}
                Err(error @ (WriteError::Refused(_) | WriteError::Full)) => {
                    tracing::error!(%error, records, "records were not buffered");
                }
            }
        });
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
