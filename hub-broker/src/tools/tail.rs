//! `hub-broker tail`: a topic's records, decoded, as they arrive.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest};
use program::outcome::Failure;
use program::output::line;
use schemas::{Content, DecodedRecord, RawBatch, Value, decode_record};

use super::client::{check, topic_name};
use super::hubs::{Hubs, Trouble};
use super::topic;
use crate::args::TailArguments;

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
const WAIT_MS: i32 = 500;
const PARTITION_BYTES: i32 = 1 << 20;
const ANSWER_BYTES: i32 = 8 << 20;

pub fn run(arguments: &TailArguments) -> Result<(), Failure> {
    let mut hubs = Hubs::connect(&arguments.hub.hub)?;
    let leaders = hubs.patiently(|hubs| hubs.leaders(&arguments.topic))?;
    let partitions: Vec<i32> = leaders.into_iter().map(|(partition, _)| partition).collect();
    let from = if arguments.from_beginning { EARLIEST } else { LATEST };
    let offsets = topic::offsets(&mut hubs, &arguments.topic, &partitions, from)?;
    let mut tail = Tail {
        topic: &arguments.topic,
        next: partitions.into_iter().zip(offsets).collect(),
        led: BTreeMap::new(),
        json: arguments.json,
        left: arguments.count.unwrap_or(u64::MAX),
    };
    while tail.left > 0 {
        hubs.patiently(|hubs| tail.round(hubs))?;
    }
    Ok(())
}

struct Tail<'a> {
    topic: &'a str,
    /// Partition and the next offset to read there.
    next: Vec<(i32, i64)>,
    /// The partitions under their leaders' node ids; empty while that has to be found out.
    led: BTreeMap<i32, Vec<i32>>,
    json: bool,
    left: u64,
}

impl Tail<'_> {
    /// One fetch from each leader. What was shown stays shown, whatever comes of the rest.
    fn round(&mut self, hubs: &mut Hubs) -> Result<(), Trouble> {
        let mut led = std::mem::take(&mut self.led);
        if led.is_empty() {
            let partitions: Vec<i32> = self.next.iter().map(|(partition, _)| *partition).collect();
            led = topic::by_leader(hubs, self.topic, &partitions)?;
        }
        let wait_ms = WAIT_MS / i32::try_from(led.len().max(1)).unwrap_or(1);
        for (leader, partitions) in &led {
            let request = self.request(partitions, wait_ms);
            let answer = hubs.node(*leader)?.call(&request, 11)?;
            check(self.topic, answer.error_code, None)?;
            for partition in answer.responses.iter().flat_map(|topic| &topic.partitions) {
                let what = format!("{}, partition {}", self.topic, partition.partition_index);
                check(&what, partition.error_code, None)?;
                if let Some(records) = partition.records.clone() {
                    self.show(partition.partition_index, records, &what).map_err(Trouble::Lasting)?;
                }
            }
        }
        self.led = led;
        Ok(())
    }

    fn request(&self, partitions: &[i32], wait_ms: i32) -> FetchRequest {
        let wanted = self.next.iter().filter(|(partition, _)| partitions.contains(partition));
        let wanted = wanted.map(|(partition, offset)| {
            FetchPartition::default()
                .with_partition(*partition)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(PARTITION_BYTES)
        });
        let wanted =
            FetchTopic::default().with_topic(topic_name(self.topic)).with_partitions(wanted.collect());
        FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(ANSWER_BYTES)
            .with_session_epoch(-1)
            .with_topics(vec![wanted])
    }

    fn show(&mut self, partition: i32, mut records: Bytes, what: &str) -> Result<(), Failure> {
        let garbled = |error: schemas::BatchError| Failure::run(format!("{what}: {error}"));
        let Some(at) = self.next.iter().position(|(index, _)| *index == partition) else { return Ok(()) };
        // An answer may end in the middle of a batch; the rest comes with the next one.
        while let Ok(Some(batch)) = RawBatch::split_first(&mut records) {
            batch.verify_crc().map_err(garbled)?;
            let header = batch.header();
            for record in batch.records().map_err(garbled)? {
                let record = record.map_err(garbled)?;
                let offset = header.base_offset + i64::from(record.offset_delta);
                if offset >= self.next[at].1 && self.left > 0 {
                    self.print(partition, offset, &decode_record(header, &record));
                    self.left -= 1;
                }
            }
            self.next[at].1 = self.next[at].1.max(header.last_offset() + 1);
        }
        Ok(())
    }

    fn print(&self, partition: i32, offset: i64, record: &DecodedRecord) {
        if self.json { line(record.to_json()) } else { line(for_people(partition, offset, record)) }
    }
}

fn for_people(partition: i32, offset: i64, record: &DecodedRecord) -> String {
    let time = record.to_json()["time"].as_str().unwrap_or("untimed").to_owned();
    let device = record.device.as_deref().unwrap_or("-");
    printable(&format!("{time}  {partition}/{offset}  {device}  {}", content(&record.content)))
}

/// What devices send must not steer the terminal, nor look like another record.
fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

fn content(content: &Content) -> String {
    match content {
        Content::Measurements(measurements) => {
            let one = |m: &schemas::Measurement| {
                let unit = m.unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
                format!("{}={}{unit}", m.name, value(&m.value))
            };
            measurements.iter().map(one).collect::<Vec<_>>().join("  ")
        }
        Content::Gap(gap) => format!("gap: {gap:?}"),
        Content::Raw { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn value(value: &Value) -> String {
    match value {
        Value::Float(number) => number.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(super::printable("a\u{1b}[2J\nb\u{9b}°C"), "a\\u{1b}[2J\\nb\\u{9b}°C");
    }
}
