//! Reads everything that is stored in turn, slowly, so that damage is found before anyone needs the bytes.
//!
//! What it finds is told by the reader, like the damage that any other read meets.
//!
//! A pass begins at any partition, and ends when it comes round to it: on a hub that is started again before all is read,
//! none is always the last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use schemas::{Offset, PartitionId};

use crate::limits::{SCRUB_LOOK, SCRUB_PASS_MIN, SCRUB_STEP_BYTES};
use crate::readers::Readers;

/// What a step has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Read so many bytes.
    Read(usize),
    /// The partition is done.
    Partition,
    /// All are; there was this many of them.
    Pass(usize),
}

pub(crate) struct Scrubber {
    readers: Readers,
    /// Bytes per second that are read.
    rate_bytes: u64,
    /// Where passes begin.
    drawn: u64,
    /// The partition at which this pass began, and the one that is read.
    begun_at: Option<PartitionId>,
    at: Option<PartitionId>,
    /// It has come to the last partition and gone on with the first.
    is_round: bool,
    next: Offset,
    /// Partitions of this pass until now.
    turned_to: usize,
    /// Some of this pass could not be read, for another reason than damage.
    has_failed: bool,
    /// A pass has come to its end, and everything was read.
    pub(crate) is_read_through: Arc<AtomicBool>,
}

impl Scrubber {
    /// `drawn` is any number: passes begin at a partition that it chooses.
    pub(crate) fn new(readers: Readers, rate_bytes: u64, drawn: u64) -> Self {
        Self {
            readers,
            rate_bytes,
            drawn,
            begun_at: None,
            at: None,
            is_round: false,
            next: Offset(0),
            turned_to: 0,
            has_failed: false,
            is_read_through: Arc::default(),
        }
    }

    /// Until the other end of `stop` is dropped.
    pub(crate) fn run(mut self, stop: &Receiver<()>) {
        let mut begun = Instant::now();
        loop {
            let pause = match self.step() {
                Step::Read(bytes) => self.pause_after(bytes),
                Step::Partition => Duration::ZERO,
                // Partitions may come any moment.
                Step::Pass(0) => SCRUB_LOOK,
                Step::Pass(_) => {
                    let took = begun.elapsed();
                    tracing::debug!(?took, "all partitions were read through");
                    begun = Instant::now() + SCRUB_PASS_MIN.saturating_sub(took);
                    SCRUB_PASS_MIN.saturating_sub(took)
                }
            };
            if stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }

    /// Reads on, a piece at most.
    pub(crate) fn step(&mut self) -> Step {
        let Some(reader) = self.at.and_then(|at| self.readers.get(at)) else { return self.turn() };
        match reader.scrub(self.next, SCRUB_STEP_BYTES) {
            Ok(step) => match step.next {
                Some(next) if next > self.next => {
                    self.next = next;
                    Step::Read(step.bytes)
                }
                _ => self.turn(),
            },
            Err(error) => {
                tracing::warn!(partition = %reader.id(), %error, "a partition could not be read through");
                self.has_failed = true;
                self.turn()
            }
        }
    }

    /// Turns to the next partition.
    fn turn(&mut self) -> Step {
        self.at = self.following();
        self.next = Offset(0);
        if self.at.is_some() {
            self.turned_to += 1;
            return Step::Partition;
        }
        (self.begun_at, self.is_round) = (None, false);
        if !std::mem::take(&mut self.has_failed) {
            // Behind whatever it has told of damage.
            self.is_read_through.store(true, Ordering::Release);
        }
        Step::Pass(std::mem::take(&mut self.turned_to))
    }

    /// None at the end of the pass.
    fn following(&mut self) -> Option<PartitionId> {
        let (Some(at), Some(begun_at)) = (self.at, self.begun_at) else {
            self.begun_at = self.readers.any(self.drawn);
            return self.begun_at;
        };
        let mut following = self.readers.after(at);
        if following.is_none() && !self.is_round {
            self.is_round = true;
            following = self.readers.any(0);
        }
        following.filter(|id| !self.is_round || *id < begun_at)
    }

    fn pause_after(&self, bytes: usize) -> Duration {
        let micros = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1_000_000) / self.rate_bytes;
        Duration::from_micros(micros)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use partition_log::{FileCache, LogOptions, Origin, PartitionLog};
    use schemas::{BatchBuilder, BuilderOptions, LeaderEpoch, PartitionIndex, RawBatch, TopicId};
    use uuid::Uuid;

    use super::*;

    const RATE_BYTES: u64 = 1 << 20;

    fn log(dir: &std::path::Path, n: i32, files: &FileCache, batches: i64) -> PartitionLog {
        let id = PartitionId { topic: TopicId(Uuid::from_u128(7)), index: PartitionIndex(n) };
        let options = LogOptions { segment_bytes: 1 << 20 };
        let mut log = PartitionLog::create(&dir.join(n.to_string()), id, options, files).expect("created");
        for stamp in 0..batches {
            let mut builder = BatchBuilder::new(BuilderOptions::default());
            let value: Vec<u8> = (0..500_000).map(|at| (at * 31 % 251) as u8).collect();
            builder.push(1000, None, Some(&value), &[]).expect("room");
            let batch = RawBatch::parse(builder.finish().expect("a batch")).expect("one");
            log.append(&batch, &Origin::Kafka, LeaderEpoch(1), stamp).expect("appended");
            log.publish().expect("published");
        }
        log
    }

    /// Steps until all partitions are done; returns the pieces that were read.
    fn pass(scrubber: &mut Scrubber) -> usize {
        let mut pieces = 0;
        loop {
            match scrubber.step() {
                Step::Read(_) => pieces += 1,
                Step::Partition => {}
                Step::Pass(_) => return pieces,
            }
        }
    }

    #[test]
    fn every_partition_is_read_through_and_damage_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let told = Arc::new(AtomicUsize::new(0));
        let count = told.clone();
        let files = FileCache::new(4).watched(Arc::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        let readers = Readers::default();
        let logs: Vec<_> = (0..3).map(|n| log(dir.path(), n, &files, 6)).collect();
        logs.iter().for_each(|log| readers.insert(log.reader()));
        let mut scrubber = Scrubber::new(readers, RATE_BYTES, 0);
        let is_read_through = scrubber.is_read_through.clone();
        assert_eq!([scrubber.step(), scrubber.step()].map(|step| step == Step::Partition), [true, false]);
        assert!(!is_read_through.load(Ordering::Relaxed), "there is more");
        assert!(pass(&mut scrubber) >= 8 && is_read_through.load(Ordering::Relaxed));
        assert_eq!(told.load(Ordering::Relaxed), 0);
        let entries = std::fs::read_dir(dir.path().join("1")).expect("readable");
        let path = entries
            .map(|entry| entry.expect("an entry").path())
            .find(|path| path.extension().is_some_and(|it| it == "log"));
        let path = path.expect("a segment");
        let mut bytes = std::fs::read(&path).expect("readable");
        bytes[300_000] ^= 1;
        std::fs::write(&path, bytes).expect("written");
        pass(&mut scrubber);
        assert!(told.load(Ordering::Relaxed) >= 1);
    }

    #[test]
    fn what_is_read_takes_as_long_as_its_rate_says() {
        let scrubber = |rate_bytes| Scrubber::new(Readers::default(), rate_bytes, 0);
        assert_eq!(scrubber(1 << 20).pause_after(1 << 20), Duration::from_secs(1));
        assert_eq!(scrubber(4 << 20).pause_after(1 << 20), Duration::from_millis(250));
        assert_eq!(scrubber(1 << 20).pause_after(0), Duration::ZERO);
    }

    #[test]
    fn a_partition_that_is_closed_meanwhile_is_left_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = FileCache::new(4);
        let readers = Readers::default();
        let first = log(dir.path(), 0, &files, 6);
        let second = log(dir.path(), 1, &files, 2);
        [&first, &second].into_iter().for_each(|log| readers.insert(log.reader()));
        let mut scrubber = Scrubber::new(readers.clone(), RATE_BYTES, 0);
        assert_eq!(scrubber.step(), Step::Partition);
        assert!(matches!(scrubber.step(), Step::Read(_)));
        readers.remove(first.id());
        assert_eq!(scrubber.step(), Step::Partition);
        assert_eq!(scrubber.at, Some(second.id()));
        readers.remove(second.id());
        assert_eq!(scrubber.step(), Step::Pass(2));
        assert_eq!(scrubber.step(), Step::Pass(0), "there is nothing: it is looked again soon");
    }

    #[test]
    fn a_pass_begins_where_it_is_drawn_and_comes_round() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = FileCache::new(4);
        let readers = Readers::default();
        let logs: Vec<_> = (0..4).map(|n| log(dir.path(), n, &files, 0)).collect();
        logs.iter().for_each(|log| readers.insert(log.reader()));
        let order = |drawn: u64| {
            let mut scrubber = Scrubber::new(readers.clone(), RATE_BYTES, drawn);
            let mut order = Vec::new();
            for _ in 0..2 {
                while scrubber.step() == Step::Partition {
                    order.extend(scrubber.at.map(|id| id.index.0));
                }
            }
            order
        };
        assert_eq!(order(0), [0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(order(2), [2, 3, 0, 1, 2, 3, 0, 1]);
        assert_eq!(order(7), [3, 0, 1, 2, 3, 0, 1, 2]);
        let mut scrubber = Scrubber::new(readers.clone(), RATE_BYTES, 1);
        assert_eq!(scrubber.step(), Step::Partition);
        readers.remove(logs[1].id());
        assert_eq!([(); 3].map(|()| scrubber.step()), [Step::Partition; 3], "2, 3 and 0");
        assert_eq!(scrubber.step(), Step::Pass(4), "where it began nothing is any more");
    }
}
