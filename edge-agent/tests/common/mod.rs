//! What several tests share: batches of numbered records, and a hub's memory of streams.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test may")]

pub mod device;
pub mod fake_hub;
pub mod listening;
pub mod manager;
pub mod program;
pub mod random;
pub mod world;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use edge_agent::buffer::{Appended, Buffer, BufferOptions, Content, Durability, Item, WriteError, durable};
use edge_agent::data_dir::DataDir;
use edge_agent::destination::{Destination, Priority};
use edge_agent::uplink::{Answer, reason};
use schemas::{
    BatchBuilder, BuilderOptions, DeviceId, Gap, GapCount, OriginRules, RawBatch, Rules, Sequence, TopicName,
    read_gap,
};

pub fn device() -> DeviceId {
    DeviceId::try_from("pump-1").unwrap()
}

pub fn topic() -> TopicName {
    TopicName::try_from("telemetry").unwrap()
}

/// A batch of records whose values are these numbers.
pub fn batch(numbers: std::ops::Range<u64>, filler: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    for number in numbers {
        let mut value = number.to_be_bytes().to_vec();
        value.resize(8 + filler, (number % 251) as u8);
        builder.push(1_700_000_000_000 + number as i64, Some(b"pump-1"), Some(&value), &[]).unwrap();
    }
    builder.finish().unwrap()
}

pub fn open(dir: &Path, cap_bytes: u64, checker: Option<PathBuf>) -> Buffer {
    Buffer::open(&options(dir, cap_bytes, checker)).unwrap()
}

/// Of a buffer that is fast because it syncs nothing.
pub fn options(dir: &Path, cap_bytes: u64, checker: Option<PathBuf>) -> BufferOptions {
    BufferOptions {
        durability: Durability::Off,
        checker,
        ..BufferOptions::new(DataDir::create(dir).unwrap(), device(), topic(), cap_bytes)
    }
}

/// A batch of one record with as many bytes as nothing compresses.
pub fn noisy_batch(number: u64, filler: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    let mut value = number.to_be_bytes().to_vec();
    // https://en.wikipedia.org/wiki/Xorshift
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    value.resize_with(8 + filler, || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    builder.push(1_700_000_000_000 + number as i64, Some(b"pump-1"), Some(&value), &[]).unwrap();
    builder.finish().unwrap()
}

pub async fn append_to(
    buffer: &Buffer,
    destination: &Destination,
    batch: Bytes,
) -> Result<Appended, WriteError> {
    durable(buffer.append(destination, None, batch).await?).await
}

pub async fn append(buffer: &Buffer, batch: Bytes) -> Result<Appended, WriteError> {
    append_as(buffer, Priority::Telemetry, batch).await
}

pub async fn append_as(buffer: &Buffer, priority: Priority, batch: Bytes) -> Result<Appended, WriteError> {
    durable(buffer.append(&Destination { topic: topic(), priority }, None, batch).await?).await
}

/// The same of records that were all measured at one time.
pub fn batch_at(numbers: std::ops::Range<u64>, at_ms: i64) -> Bytes {
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    for number in numbers {
        builder.push(at_ms, Some(b"pump-1"), Some(&number.to_be_bytes()), &[]).unwrap();
    }
    builder.finish().unwrap()
}

/// Everything in a lane.
pub fn items(buffer: &Buffer, lane: u8) -> Vec<Item> {
    buffer.reader().read(lane, 0..u64::MAX, usize::MAX, usize::MAX).unwrap()
}

/// What an entry says if it is a gap.
pub fn gap_of(item: &Item) -> Option<Gap> {
    let Content::Gap(bytes) = &item.content else { return None };
    let batch = RawBatch::parse(bytes.clone()).unwrap();
    let record = batch.records().unwrap().next().unwrap().unwrap();
    read_gap(&record).unwrap()
}

/// The numbers of a lane's records in order, and how many its gaps stand for.
pub fn records_of(buffer: &Buffer, lane: u8) -> (Vec<u64>, u64) {
    let (mut found, mut lost) = (Vec::new(), 0);
    for item in items(buffer, lane) {
        match (&item.content, gap_of(&item)) {
            (Content::Batch(bytes), _) => found.extend(numbers(&RawBatch::parse(bytes.clone()).unwrap())),
            (_, Some(Gap { count: GapCount::Known(count), .. })) => lost += u64::from(count),
            other => panic!("{other:?}"),
        }
    }
    (found, lost)
}

/// What a stream did to a partition, by the hub's rule (design: batch.md, "Streams").
#[derive(Default)]
struct Stream {
    next: Sequence0,
    last: Vec<(Sequence, u32)>,
}

struct Sequence0(Sequence);

impl Default for Sequence0 {
    fn default() -> Self {
        Self(Sequence::ZERO)
    }
}

/// A hub as far as an agent can tell: it judges publishes batch by batch.
#[derive(Default)]
pub struct Hub {
    streams: HashMap<i64, Stream>,
    /// Numbers of the records in the order in which they were stored.
    pub log: Vec<u64>,
    pub times: Vec<i64>,
    /// Records that gaps stand for.
    pub lost: u64,
    pub gaps: usize,
    pub unknown_gaps: usize,
    pub partitions: BTreeMap<i64, i32>,
    pub headers: Vec<(String, String)>,
    /// A batch with this record is refused as malformed.
    pub poison: Option<u64>,
}

impl Hub {
    pub fn publish(&mut self, partition: i32, payload: &Bytes) -> Answer {
        let mut rest = payload.clone();
        let mut duplicates = 0;
        while let Some(batch) = RawBatch::split_first(&mut rest).unwrap() {
            match self.take(partition, &batch) {
                Ok(true) => {}
                Ok(false) => duplicates += 1,
                Err(answer) => return answer,
            }
        }
        Answer { reason: 0, duplicates, ..Answer::default() }
    }

    pub fn forget(&mut self, stream: i64) {
        self.streams.remove(&stream);
        self.partitions.remove(&stream);
    }

    pub fn known_streams(&self) -> Vec<i64> {
        self.streams.keys().copied().collect()
    }

    /// True where it was stored, false where it was a duplicate.
    fn take(&mut self, partition: i32, batch: &RawBatch) -> Result<bool, Answer> {
        let device = device();
        let rules = Rules {
            origin: OriginRules::Agent {
                device: &device,
                grant: &schemas::GatewayGrant::NONE,
                gap_records_max: 1 << 24,
            },
            max_batch_bytes: 1 << 20,
            depth: schemas::Depth::Full,
            keys_required: false,
        };
        schemas::validate(batch, &rules).unwrap();
        let header = batch.header();
        let known = *self.partitions.entry(header.producer_id).or_insert(partition);
        assert_eq!(known, partition, "a stream stays in its partition");
        let base = Sequence(header.base_sequence);
        let span = u32::try_from(header.offset_span()).unwrap();
        if self.poison.is_some_and(|poison| numbers(batch).contains(&poison)) {
            return Err(Answer { reason: reason::PAYLOAD_FORMAT_INVALID, ..Answer::default() });
        }
        let record = batch.records().unwrap().next().unwrap().unwrap();
        let gap = read_gap(&record).unwrap();
        let stream = self.streams.entry(header.producer_id).or_default();
        let next = stream.next.0;
        if base != next {
            let end = base.plus(span);
            let refusal =
                |is_fork| Answer { reason: 0x83, expected: Some(next), is_fork, ..Answer::default() };
            if next.is_before(end) {
                return Err(refusal(false));
            }
            let other = stream.last.iter().any(|(known, crc)| *known == base && *crc != header.crc);
            return if other && gap.is_none() { Err(refusal(true)) } else { Ok(false) };
        }
        stream.next = Sequence0(base.plus(span));
        stream.last.push((base, header.crc));
        if stream.last.len() > 4 {
            stream.last.remove(0);
        }
        match gap {
            Some(gap) => {
                self.gaps += 1;
                match gap.count {
                    GapCount::Known(count) => self.lost += u64::from(count),
                    GapCount::Unknown => self.unknown_gaps += 1,
                }
            }
            None => self.store(batch),
        }
        Ok(true)
    }

    fn store(&mut self, batch: &RawBatch) {
        for record in batch.records().unwrap() {
            let record = record.unwrap();
            for (name, value) in &record.headers {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                self.headers.push((text(name), text(value.as_deref().unwrap_or_default())));
            }
            self.times.push(batch.header().base_timestamp + record.timestamp_delta);
            self.log.push(number(&record.value.unwrap()));
        }
    }
}

/// The numbers of a batch's records; none in a gap.
pub fn numbers(batch: &RawBatch) -> Vec<u64> {
    let records = batch.records().unwrap().map(Result::unwrap);
    let data = records.filter(|record| read_gap(record).unwrap().is_none());
    data.map(|record| number(&record.value.unwrap())).collect()
}

/// A record's number: its value as such, or the sensor `n` of a pack.
fn number(value: &[u8]) -> u64 {
    let pack = schemas::decode_pack(value).unwrap_or_default();
    let named = pack.into_iter().find(|measurement| measurement.name == "n");
    match named.map(|measurement| measurement.value) {
        Some(schemas::Value::Float(number)) => number as u64,
        Some(other) => panic!("{other:?}"),
        None => value.first_chunk().copied().map_or(0, u64::from_be_bytes),
    }
}
