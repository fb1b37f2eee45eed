//! A partition on real files, and batches to put into it.
#![allow(dead_code, reason = "every test uses its own part of it")]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use partition_log::{FileCache, LogOptions, Origin, PartitionLog, PartitionReader, PartitionState};
use schemas::{
    BatchBuilder, BuilderOptions, LeaderEpoch, Offset, PartitionId, PartitionIndex, ProducerEpoch,
    ProducerId, RawBatch, Sequence, TopicId,
};
use tempfile::TempDir;

pub const EPOCH: LeaderEpoch = LeaderEpoch(3);
pub const EVERYTHING: usize = 1 << 30;

pub fn partition_id() -> PartitionId {
    let topic = "6f1d2f0e-5a8c-4b6e-9a77-2f3b1c0d9e11".parse().expect("a UUID");
    PartitionId { topic: TopicId(topic), index: PartitionIndex(2) }
}

pub struct Partition {
    pub dir: TempDir,
    pub files: FileCache,
    pub log: PartitionLog,
}

impl Partition {
    pub fn new(segment_bytes: u32) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let files = FileCache::new(16);
        let options = LogOptions { segment_bytes };
        let log =
            PartitionLog::create(&dir.path().join("p"), partition_id(), options, &files).expect("created");
        Self { dir, files, log }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("p")
    }

    pub fn reader(&self) -> PartitionReader {
        self.log.reader()
    }

    /// Appends one batch and publishes it.
    pub fn append(&mut self, batch: &RawBatch, stamp_ms: i64) -> Offset {
        let base = self.log.append(batch, &Origin::Kafka, EPOCH, stamp_ms).expect("appended");
        self.log.publish().expect("published");
        base
    }

    /// What a checkpoint makes durable.
    pub fn checkpoint(&mut self) -> PartitionState {
        for file in self.log.take_dirty().expect("published") {
            file.sync().expect("synced");
        }
        PartitionState::decode(&self.log.state().encode()).expect("a state is read back")
    }

    /// As after a crash: only the files and this state are left.
    pub fn recover(&mut self, state: &PartitionState) -> Vec<partition_log::Damage> {
        let (log, damage) = PartitionLog::recover(&self.path(), state, &self.files).expect("recovered");
        self.log = log;
        damage
    }

    pub fn logs(&self) -> Vec<PathBuf> {
        files_in(&self.path(), "log")
    }

    pub fn indexes(&self) -> Vec<PathBuf> {
        files_in(&self.path(), "index")
    }
}

pub fn files_in(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    paths
}

/// Names and contents of everything in the directory.
pub fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = [files_in(dir, "log"), files_in(dir, "index")].concat();
    all.sort();
    all.into_iter()
        .map(|path| {
            let bytes = fs::read(&path).expect("readable");
            (PathBuf::from(path.file_name().expect("a name")), bytes)
        })
        .collect()
}

/// Records of (timestamp, key, value).
pub type Row<'a> = (i64, Option<&'a str>, Option<&'a str>);

pub fn batch_of(rows: &[Row<'_>]) -> RawBatch {
    build(rows, None)
}

pub fn build(rows: &[Row<'_>], producer: Option<(ProducerId, ProducerEpoch, Sequence)>) -> RawBatch {
    let mut builder = BatchBuilder::new(BuilderOptions { producer, ..BuilderOptions::default() });
    for (timestamp, key, value) in rows {
        builder.push(*timestamp, key.map(str::as_bytes), value.map(str::as_bytes), &[]).expect("room");
    }
    RawBatch::parse(builder.finish().expect("records")).expect("one batch")
}

/// `count` records with numbered values, one millisecond apart.
pub fn numbered(first: i64, count: i64) -> RawBatch {
    let values: Vec<String> = (first..first + count).map(|number| format!("value {number}")).collect();
    let rows = (first..).zip(&values).map(|(number, value)| (1000 + number, None, Some(value.as_str())));
    batch_of(&rows.collect::<Vec<_>>())
}

/// All batches of a read.
pub fn split(mut bytes: Bytes) -> Vec<RawBatch> {
    std::iter::from_fn(|| RawBatch::split_first(&mut bytes).expect("whole batches")).collect()
}

pub type OwnedRow = (i64, i64, Option<String>, Option<String>);

/// (offset, timestamp, key, value) of every record from `from` to the end, read in pieces.
pub fn records(reader: &PartitionReader, from: Offset) -> Vec<OwnedRow> {
    let mut rows = Vec::new();
    let mut next = from;
    while next < reader.high_watermark() {
        let batches = split(reader.read(next, 200).expect("readable"));
        let Some(last) = batches.last() else { break };
        next = Offset(last.header().last_offset() + 1);
        rows.extend(batches.iter().flat_map(rows_of));
    }
    rows
}

fn rows_of(batch: &RawBatch) -> Vec<OwnedRow> {
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("text");
    let header = batch.header().clone();
    let records = batch.records().expect("records");
    records
        .map(|record| {
            let record = record.expect("a record");
            let offset = header.base_offset + i64::from(record.offset_delta);
            let timestamp = header.base_timestamp + record.timestamp_delta;
            (offset, timestamp, record.key.map(text), record.value.map(text))
        })
        .collect()
}

pub fn flip_bit(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("readable");
    bytes[at] ^= 0x10;
    fs::write(path, bytes).expect("writable");
}
