//! One destination's rows into batches, and batches into the buffer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemas::DeviceId;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::nap;
use super::tuning::Tuning;
use crate::batcher::{Batcher, Built};
use crate::buffer::{Buffer, Marks, WorkError, WriteError, durable};
use crate::destination::Destination;
use crate::inputs::{Handed, Mark, Measured, NotStored, Receipt, SharedFilter};
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
        mut rows: mpsc::Receiver<Handed>,
        waited_for: Arc<Notify>,
        stop: CancellationToken,
    ) {
        let Self { device, boot, tuning, buffer } = self;
        let mut flushes = tuning.flushes();
        let mut filling =
            Filling { batcher: Batcher::new(device, boot), riders: Riders::default(), due: None };
        let mut sink = BufferSink { buffer, destination, waiting: JoinSet::new() };
        let mut arrived = Vec::with_capacity(ROW_INBOX);
        let mut napping = None;
        loop {
            let mut is_flushed = false;
            tokio::select! {
                count = rows.recv_many(&mut arrived, ROW_INBOX), if napping.is_none() => if count == 0 { break },
                () = sleep_until(napping) => {}
                () = waited_for.notified(), if napping.is_some() => {}
                () = sleep_until(filling.due) => {}
                Ok(()) = flushes.changed() => is_flushed = true,
                // An input that cannot be woken may still hold the other end.
                () = stop.cancelled(), if !rows.is_closed() => rows.close(),
            }
            if napping.is_some() || is_flushed {
                let came = std::iter::from_fn(|| rows.try_recv().ok());
                arrived.extend(came.take(ROW_INBOX));
            }
            let taken = arrived.len();
            for handed in arrived.drain(..) {
                match handed {
                    Handed::Row(measured) => filling.push(measured, tuning.linger(), &mut sink).await,
                    Handed::End { receipt, at_once } => filling.end(receipt, at_once, &mut sink).await,
                }
            }
            if is_flushed || filling.due.is_some_and(|due| due <= Instant::now()) {
                filling.flush(&mut sink).await;
            }
            napping = nap::until(taken, filling.due, Instant::now());
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
    /// What was read up to here may be put away when this is durable.
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
                is_waited_for = receipt.is_some();
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

    /// Answered when all that came so far is on the disk. It is in batches that are durable in their order.
    async fn end(&mut self, receipt: Receipt, at_once: bool, sink: &mut BufferSink) {
        if self.batcher.is_empty() {
            return sink.settle(receipt).await;
        }
        self.riders.receipts.push(receipt);
        self.riders.is_put_away = true;
        if at_once {
            self.due = Some(Instant::now());
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
    /// Answers when all that was appended is on the disk.
    async fn settle(&mut self, receipt: Receipt) {
        while self.waiting.join_next().await.is_some() {}
        match self.buffer.sync().await {
            Ok(()) => receipt.stored(),
            Err(WriteError::Refused(WorkError::NoRoom)) => receipt.not_stored(NotStored::NoRoom),
            Err(_) => receipt.not_stored(NotStored::Closed),
        }
    }

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
                // The same, but that gap is not written yet.
                Err(WriteError::Refused(WorkError::NoRoom)) => Err(NotStored::NoRoom),
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
    use std::path::Path;

    use schemas::{Measurement, TopicName};

    use super::*;
    use crate::buffer::{BufferOptions, Durability};
    use crate::data_dir::DataDir;
    use crate::inputs::mark::{FileId, Head};
    use crate::inputs::{Filter, Health, Row, RowSink, Source, queue};
    use crate::time::Clock;

    /// An input and what it feeds, on a buffer in this folder.
    struct Line {
        input: RowSink,
        inbox: mpsc::Receiver<Handed>,
        filling: Filling,
        sink: BufferSink,
    }

    impl Line {
        fn of(folder: &Path, options: impl FnOnce(BufferOptions) -> BufferOptions) -> Self {
            let (device, topic) = (DeviceId::try_from("d").unwrap(), TopicName::try_from("t").unwrap());
            let dir = DataDir::create(folder).unwrap();
            let buffer =
                Buffer::open(&options(BufferOptions::new(dir, device.clone(), topic.clone(), 8 << 20)));
            let (destination, (rows, inbox)) = (Destination::from(topic), queue(4));
            let (name, tags, health) = ("test".to_owned(), Vec::new(), Health::default());
            let source = Source { name, destination: destination.clone(), tags, health, is_trial: false };
            let clock = Arc::new(Clock::of_this_machine());
            let batcher = Batcher::new(device, clock.boot());
            let input = RowSink::new(source, Filter::default(), clock, rows, Arc::default());
            let filling = Filling { batcher, riders: Riders::default(), due: None };
            let sink = BufferSink { buffer: buffer.unwrap(), destination, waiting: JoinSet::new() };
            Self { input, inbox, filling, sink }
        }

        async fn push(&mut self, mark: Option<Mark>, linger: Duration) {
            let row = Row::now(vec![Measurement { name: "n".into(), unit: None, value: 1.into() }]);
            self.input.send_with(row, None, mark).await.unwrap();
            let Some(Handed::Row(measured)) = self.inbox.recv().await else { panic!("it was sent") };
            self.filling.push(measured, linger, &mut self.sink).await;
        }
    }

    #[tokio::test]
    async fn a_linger_that_is_stretched_is_not_taken_for_the_configured_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut line = Line::of(folder.path(), |options| BufferOptions {
            durability: Durability::Off,
            flash_bytes_per_day_max: Some(1 << 20),
            ..options
        });
        let buffer = line.sink.buffer.clone();
        let configured = Duration::from_secs(1);
        buffer.wear().linger(configured);
        (0..8).for_each(|_| buffer.wear().note_commit(1 << 20, std::time::Instant::now()));
        let stretched = buffer.wear().stretched();
        assert!(stretched > Some(configured));
        let began = Instant::now();
        line.push(None, configured).await;
        assert_eq!(buffer.wear().stretched(), stretched, "it is known as stretched, and shrinks again");
        let due = line.filling.due.unwrap() - began;
        assert!(due >= stretched.unwrap() && due < 2 * stretched.unwrap(), "{due:?}");
    }

    #[tokio::test]
    async fn of_a_file_only_what_is_behind_its_last_row_has_the_disk_written() {
        let folder = tempfile::tempdir().unwrap();
        let relaxed = |options| BufferOptions { durability: Durability::Relaxed, ..options };
        let mut line = Line::of(folder.path(), relaxed);
        let synced = || std::fs::read(folder.path().join("synced")).unwrap();
        let file = FileId { device: 1, inode: 2, head: Head::of(b"") };
        let linger = Duration::from_secs(60);
        for offset in 0..4 {
            let before = synced();
            line.push(Some(Mark { file, offset }), linger).await;
            if offset % 2 == 0 {
                line.filling.flush(&mut line.sink).await;
                while line.sink.waiting.join_next().await.is_some() {}
                assert_eq!(synced(), before, "rows of a file have time");
            }
            let (receipt, stored) = Receipt::pair();
            line.filling.end(receipt, offset == 3, &mut line.sink).await;
            if offset % 2 == 1 {
                assert_eq!(line.filling.due.is_some_and(|due| due <= Instant::now()), offset == 3);
                line.filling.flush(&mut line.sink).await;
            }
            assert_eq!(stored.wait().await, Ok(()));
            assert_ne!(synced(), before);
        }
    }
}
