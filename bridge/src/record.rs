//! A record on its way from a topic to a sink.

use bytes::Bytes;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use schemas::{DecodedRecord, Record, decode_record_at};
use serde_json::{Value, json};

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    pub topic: String,
    pub index: i32,
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.topic, self.index)
    }
}

/// A record as it came, and as people see it.
#[derive(Clone, Debug)]
pub struct Carried {
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub decoded: DecodedRecord,
    /// What it holds in memory, roughly.
    pub bytes: usize,
}

impl Carried {
    pub fn from_message(message: &BorrowedMessage<'_>) -> Self {
        let own = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        let headers = message.headers().map(|headers| {
            headers.iter().map(|header| (own(header.key.as_bytes()), header.value.map(own))).collect()
        });
        let record = Record {
            offset_delta: 0,
            timestamp_delta: 0,
            key: message.key().map(own),
            value: message.payload().map(own),
            headers: headers.unwrap_or_default(),
        };
        let timestamp_ms = message.timestamp().to_millis().unwrap_or(0);
        let bytes = message.key_len() + message.payload_len() + std::mem::size_of::<Self>();
        let decoded = decode_record_at(timestamp_ms, &record);
        Self { offset: message.offset(), timestamp_ms, key: record.key, decoded, bytes }
    }

    /// The JSON view's object.
    pub fn view(&self) -> Value {
        self.decoded.to_json()
    }

    /// The JSON view's object with where the record came from, for sinks outside Kafka.
    pub fn row(&self, partition: &Partition) -> Value {
        let mut row = self.view();
        row["topic"] = json!(partition.topic);
        row["partition"] = json!(partition.index);
        row["offset"] = json!(self.offset);
        row
    }
}

/// Neighbouring records of one partition, in order.
#[derive(Clone, Debug)]
pub struct Batch {
    pub partition: Partition,
    /// Which of the partition's assignments to this consumer it belongs to.
    pub life: u64,
    /// Never empty.
    pub records: Vec<Carried>,
}

impl Batch {
    pub fn first_offset(&self) -> i64 {
        self.records.first().map_or(0, |record| record.offset)
    }

    pub fn last_offset(&self) -> i64 {
        self.records.last().map_or(0, |record| record.offset)
    }
}
