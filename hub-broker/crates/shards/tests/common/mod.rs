//! What the tests share: a metadata machine that remembers, batches, and short names for requests.
#![allow(dead_code, reason = "every test file uses another part")]

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use schemas::{
    BatchBuilder, BuilderOptions, Compression, DeviceId, Offset, PartitionId, PartitionIndex, ProducerEpoch,
    ProducerId, RawBatch, Sequence, ShardId, TopicId,
};
use shards::*;
use uuid::Uuid;

/// Remembers every command in order; answers with how many there are.
#[derive(Default)]
pub struct Diary(Vec<Bytes>);

impl StateMachine for Diary {
    fn apply(&mut self, _at: AppliedAt, command: &Bytes) -> Result<Bytes, UnknownCommand> {
        if command.first() == Some(&0xff) {
            return Err(UnknownCommand(0xff));
        }
        if command.as_ref() == b"?" {
            return Ok(Bytes::from(self.0.join(&b","[..])));
        }
        self.0.push(command.clone());
        Ok(Bytes::from(self.0.len().to_string()))
    }

    fn snapshot(&self) -> Bytes {
        Bytes::from(self.0.join(&b","[..]))
    }

    fn restore(&mut self, snapshot: &Bytes) -> Result<(), RestoreError> {
        self.0 = snapshot.split(|byte| *byte == b',').map(Bytes::copy_from_slice).collect();
        Ok(())
    }
}

/// Small and quick: few shards, small files, no checkpoint unless asked for.
pub fn config(dir: &Path) -> Config {
    Config {
        shard_count: 4,
        executor_threads: 2,
        wal_file_bytes: 4 << 20,
        checkpoint_interval: Duration::from_secs(3600),
        reserve_bytes: 1 << 20,
        seed: 1,
        ..Config::new(dir)
    }
}

pub fn start(dir: &Path) -> Shards {
    try_start(config(dir)).expect("the shards start")
}

pub fn try_start(config: Config) -> Result<Shards, StartError> {
    Shards::start_alone(config, Box::new(Diary::default()))
}

pub fn partition(n: i32) -> PartitionId {
    PartitionId { topic: TopicId(Uuid::from_u128(7)), index: PartitionIndex(n) }
}

/// Partition n lives in this shard of [`config`].
pub fn shard(n: i32) -> ShardId {
    ShardId(u16::try_from(n % 4).expect("small"))
}

pub async fn open(shards: &Shards, n: i32) {
    let options = LogOptions { segment_bytes: 64 << 10 };
    let command = PartitionCommand::Open { partition: partition(n), options };
    loop {
        match shards.command(shard(n), command.clone()).await {
            Ok(_) => return,
            // In doubt: opened twice it is open.
            Err(CommandError::NotLeader { .. }) => {}
            Err(other) => panic!("the partition opens: {other}"),
        }
    }
}

pub struct Producer {
    pub id: i64,
    pub next: i32,
}

impl Producer {
    pub fn new(id: i64) -> Self {
        Self { id, next: 0 }
    }

    /// The producer's next batch: `records` records of `bytes` bytes.
    pub fn batch(&mut self, records: i32, bytes: usize) -> Bytes {
        let batch = batch(Some((self.id, self.next)), records, bytes);
        self.next += records;
        batch
    }
}

pub fn batch(producer: Option<(i64, i32)>, records: i32, bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BuilderOptions {
        compression: Compression::None,
        producer: producer.map(|(id, base)| (ProducerId(id), ProducerEpoch(0), Sequence(base))),
        ..Default::default()
    });
    for n in 0..records {
        let value = vec![b'a' + (n % 26) as u8; bytes];
        builder.push(1_000 + i64::from(n), Some(b"key"), Some(&value), &[]).expect("it fits");
    }
    builder.finish().expect("a batch")
}

pub fn append(n: i32, batch: Bytes) -> Append {
    Append { partition: partition(n), origin: Origin::Kafka, batch, expected_term: None }
}

pub fn agent_append(n: i32, device: &str, batch: Bytes) -> Append {
    let sent_crc = RawBatch::parse(batch.clone()).expect("a batch").header().crc;
    let device = DeviceId::try_from(device).expect("a device id");
    Append { partition: partition(n), origin: Origin::Agent { device, sent_crc }, batch, expected_term: None }
}

/// Everything in a partition, batch by batch: base offset and CRC.
pub fn contents(shards: &Shards, n: i32) -> Vec<(i64, u32)> {
    batches(&shards.partition(partition(n)).expect("an open partition"))
}

/// Everything that a reader finds, batch by batch: base offset and CRC.
pub fn batches(reader: &PartitionReader) -> Vec<(i64, u32)> {
    let mut found = Vec::new();
    let mut from = reader.log_start();
    while from < reader.high_watermark() {
        let mut bytes = reader.read(from, 1 << 20).expect("the log is whole");
        while let Some(batch) = RawBatch::split_first(&mut bytes).expect("whole batches") {
            batch.verify_crc().expect("the batch is whole");
            found.push((batch.header().base_offset, batch.header().crc));
            from = Offset(batch.header().last_offset() + 1);
        }
    }
    found
}

pub fn high_watermark(shards: &Shards, n: i32) -> i64 {
    shards.partition(partition(n)).expect("an open partition").high_watermark().0
}
