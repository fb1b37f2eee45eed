//! One destination's rows into batches, and batches into the buffer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemas::DeviceId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::tuning::Tuning;
use crate::batcher::{Batcher, Built};
use crate::buffer::{Buffer, Marks, WriteError, durable};
use crate::destination::Destination;
use crate::inputs::{Mark, Measured, NotStored, Receipt, SharedFilter};
use crate::limits::{APPENDS_WAITING_MAX, ROW_INBOX, WAITED_FOR_LINGER_MAX};

/// What batchers are made with.
#[derive(Clone)]
pub struct Batching {
    pub device: DeviceId,
    /// This boot, for rows that only its clock can time.
    pub boot: Uuid,
    pub tuning: Arc<Tuning>,
    pub buffer: Buffer,
}

impl Batching {
    /// Makes batches of the rows for one destination until it is stopped, and ends when all that had come by then
    /// is durable. Where the buffer takes no more, rows wait in the channel, and inputs before it.
    pub async fn run(
        self,
        destination: Destination,
        mut rows: mpsc::Receiver<Measured>,
        stop: CancellationToken,
    ) {
        let Self { device, boot, tuning, buffer } = self;
        let mut flushes = tuning.flushes();
        let mut filling =
            Filling { batcher: Batcher::new(device, boot), riders: Riders::default(), due: None };
        let mut sink = BufferSink { buffer, destination, waiting: JoinSet::new() };
        let mut arrived = Vec::with_capacity(ROW_INBOX);
        loop {
            tokio::select! {
                count = rows.recv_many(&mut arrived, ROW_INBOX) => if count == 0 { break },
                () = sleep_until(filling.due) => {}
                Ok(()) = flushes.changed() => filling.flush(&mut sink).await,
                // An input that cannot be woken may still hold the other end.
                () = stop.cancelled(), if !rows.is_closed() => rows.close(),
            }
            for measured in arrived.drain(..) {
                filling.push(measured, tuning.linger(), &mut sink).await;
            }
            if filling.due.is_some_and(|due| due <= Instant::now()) {
                filling.flush(&mut sink).await;
            }
        }
        filling.flush(&mut sink).await;
        while sink.waiting.join_next().await.is_some() {}
    }
}

/// What goes with a batch: who waits for it, and how far its sources were read with it.
#[derive(Debug, Default)]
struct Riders {
    receipts: Vec<Receipt>,
    marks: BTreeMap<String, Mark>,
    /// What let its rows through.
    filters: Vec<SharedFilter>,
    /// A source is put away when this is durable.
    is_put_away: bool,
}

/// The batch that is being filled.
struct Filling {
    batcher: Batcher,
    riders: Riders,
    /// When it has lingered long enough; none while it is empty.
    due: Option<Instant>,
}

impl Filling {
    /// `linger` is the one that is configured.
    async fn push(&mut self, measured: Measured, linger: Duration, sink: &mut BufferSink) {
        let Measured { source, row, at, receipt, mark, filter, room } = measured;
        let pushed = self.batcher.push(&row, at);
        drop((row, room));
        let mut is_waited_for = false;
        // A batch that ended with nothing after it has the row in it; else the row began the next one.
        let begins_next = matches!(pushed, Ok(Some(_))) && !self.batcher.is_empty();
        let before = begins_next.then(|| std::mem::take(&mut self.riders));
        if let Some(mark) = mark {
            self.riders.marks.insert(source.name.clone(), mark);
        }
        match pushed {
            Ok(built) => {
                // A file that is read waits for its last row alone, and has time.
                is_waited_for = receipt.is_some() && mark.is_none();
                self.riders.is_put_away |= receipt.is_some() && mark.is_some();
                self.riders.receipts.extend(receipt);
                if !self.riders.filters.iter().any(|known| known.is(&filter)) {
                    self.riders.filters.push(filter);
                }
                if let Some(built) = built {
                    self.due = None;
                    let riders = before.unwrap_or_else(|| std::mem::take(&mut self.riders));
                    sink.append(built, riders).await;
                }
            }
            Err(error) => {
                source.health.bad(&source.name, &error);
                filter.forget();
                if let Some(receipt) = receipt {
                    receipt.not_stored(NotStored::Refused(error.to_string()));
                }
            }
        }
        if self.batcher.is_empty() {
            self.due = None;
        } else {
            // Longer than configured where the flash is to be spared.
            let now = Instant::now();
            let due = self.due.get_or_insert_with(|| now + sink.buffer.wear().linger(linger));
            // Whoever waits gives up after some seconds and sends everything again.
            if is_waited_for {
                *due = (*due).min(now + WAITED_FOR_LINGER_MAX);
            }
        }
    }

    async fn flush(&mut self, sink: &mut BufferSink) {
        self.due = None;
        let riders = std::mem::take(&mut self.riders);
        match self.batcher.flush() {
            Ok(Some(built)) => sink.append(built, riders).await,
            // Marks of rows that were refused go with the next batch.
            Ok(None) => self.riders.marks = riders.marks,
            Err(error) => {
                tracing::error!(%error, "a batch could not be built");
                riders.answer(&Err(NotStored::Refused(error.to_string())));
            }
        }
    }
}

impl Riders {
    fn answer(self, outcome: &Result<(), NotStored>) {
        if outcome.is_err() {
            self.filters.iter().for_each(SharedFilter::forget);
        }
        for receipt in self.receipts {
            match outcome {
                Ok(()) => receipt.stored(),
                Err(why) => receipt.not_stored(why.clone()),
            }
        }
    }
}

struct BufferSink {
    buffer: Buffer,
    destination: Destination,
    /// Batches that are not durable yet.
    waiting: JoinSet<()>,
}

impl BufferSink {
    /// Waits for the oldest where many are not durable yet. That the buffer failed shows at the uplink, which ends
    /// the agent.
    async fn append(&mut self, built: Built, riders: Riders) {
        while self.waiting.try_join_next().is_some() {}
        while self.waiting.len() >= APPENDS_WAITING_MAX {
            self.waiting.join_next().await;
        }
        let of_inputs = riders.marks.iter().map(|(input, mark)| (input.clone(), mark.to_string())).collect();
        let marks = Marks { of_inputs, is_put_away: riders.is_put_away };
        let appended = self.buffer.append_marked(&self.destination, built.boot, built.batch, marks).await;
        let Ok(answer) = appended else { return riders.answer(&Err(NotStored::Closed)) };
        let records = built.records;
        self.waiting.spawn(async move {
            let outcome = match durable(answer).await {
                Ok(appended) => {
                    if appended.dropped > 0 {
                        let dropped = appended.dropped;
                        tracing::warn!(dropped, "the buffer is full; its oldest records were dropped");
                    }
                    Ok(())
                }
                Err(WriteError::Closed | WriteError::Failed(_)) => Err(NotStored::Closed),
                // The buffer says so once, and a gap stands for them.
                Err(WriteError::Full) => Err(NotStored::Full),
                Err(error) => {
                    tracing::error!(%error, records, "records were not buffered");
                    Err(NotStored::Full)
                }
            };
            riders.answer(&outcome);
        });
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use schemas::{Measurement, TopicName};

    use super::*;
    use crate::buffer::{BufferOptions, Durability};
    use crate::data_dir::DataDir;
    use crate::inputs::{Filter, Health, Row, RowSink, Source, queue};
    use crate::time::Clock;

    #[tokio::test]
    async fn a_linger_that_is_stretched_is_not_taken_for_the_configured_one() {
        let folder = tempfile::tempdir().unwrap();
        let (device, topic) = (DeviceId::try_from("d").unwrap(), TopicName::try_from("t").unwrap());
        let dir = DataDir::create(folder.path()).unwrap();
        let options = BufferOptions {
            durability: Durability::Off,
            flash_bytes_per_day_max: Some(1 << 20),
            ..BufferOptions::new(dir, device.clone(), topic.clone(), 8 << 20)
        };
        let buffer = Buffer::open(&options).unwrap();
        let configured = Duration::from_secs(1);
        buffer.wear().linger(configured);
        (0..8).for_each(|_| buffer.wear().note_commit(1 << 20, std::time::Instant::now()));
        let stretched = buffer.wear().stretched();
        assert!(stretched > Some(configured));

        let (destination, (rows, mut inbox)) = (Destination::from(topic), queue(1));
        let (name, tags, health) = ("test".to_owned(), Vec::new(), Health::default());
        let source = Source { name, destination: destination.clone(), tags, health, is_trial: false };
        let clock = Arc::new(Clock::of_this_machine());
        let input = RowSink::new(source, Filter::default(), clock.clone(), rows, Arc::default());
        input
            .send(Row::now(vec![Measurement { name: "n".into(), unit: None, value: 1.into() }]))
            .await
            .unwrap();
        let batcher = Batcher::new(device, clock.boot());
        let mut filling = Filling { batcher, riders: Riders::default(), due: None };
        let mut sink = BufferSink { buffer: buffer.clone(), destination, waiting: JoinSet::new() };
        let began = Instant::now();
        filling.push(inbox.recv().await.unwrap(), configured, &mut sink).await;
        assert_eq!(buffer.wear().stretched(), stretched, "it is known as stretched, and shrinks again");
        let due = filling.due.unwrap() - began;
        assert!(due >= stretched.unwrap() && due < 2 * stretched.unwrap(), "{due:?}");
    }
}
