//! The JSON view: topic `T` as `T.json`, one JSON object a record, same key, timestamp and partition.
//!
//! A record whose JSON is larger than the view's topic takes is shown by its size alone; the source has it whole.
//!
//! Guarantee: exactly once. The producer is idempotent, every view record names its source in the headers
//! `src.partition` and `src.offset`, and when a partition is taken up the last of them says where to go on.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

use super::{Sink, SinkError};
use crate::record::{Batch, Carried, Partition};

const SOURCE_PARTITION: &str = "src.partition";
const SOURCE_OFFSET: &str = "src.offset";
const BATCH_RECORDS_MAX: usize = 5000;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long a full queue of librdkafka is let drain before the next record is offered again.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);
/// What a new view's topic takes: the hub's limit.
const VIEW_MESSAGE_BYTES: usize = 16 << 20;
/// What a topic takes that does not say: Kafka's default.
const DEFAULT_MESSAGE_BYTES: usize = 1_048_588;
/// What a batch, its headers and its source's name need beside key and JSON.
const FRAMING_BYTES: usize = 1024;
const MESSAGE_BYTES_KEY: &str = "max.message.bytes";

pub struct JsonView {
    hub: String,
    suffix: String,
    producer: FutureProducer,
    admin: AdminClient<DefaultClientContext>,
    /// The largest message that each view's topic takes, in bytes.
    limits: Mutex<HashMap<String, usize>>,
}

impl JsonView {
    pub fn open(hub: &str, suffix: &str) -> Result<Self, SinkError> {
        let failed = |source| SinkError::View { topic: suffix.to_owned(), source };
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", hub).set("client.id", "headwater-bridge");
        let admin = config.create().map_err(failed)?;
        config.set("enable.idempotence", "true").set("compression.type", "gzip").set("linger.ms", "5");
        // A record that may or may not have been stored must never be given up: it would come twice.
        config.set("message.timeout.ms", "0");
        config.set("message.max.bytes", VIEW_MESSAGE_BYTES.to_string());
        let producer = config.create().map_err(failed)?;
        Ok(Self { hub: hub.to_owned(), suffix: suffix.to_owned(), producer, admin, limits: Mutex::default() })
    }

    fn view_of(&self, topic: &str) -> String {
        format!("{topic}{}", self.suffix)
    }

    /// Makes the view's topic with as many partitions as its source has, unless it is there.
    async fn ensure_topic(&self, source: &str) -> Result<(), SinkError> {
        let view = self.view_of(source);
        let failed = |error| SinkError::View { topic: view.clone(), source: error };
        let metadata = tokio::task::block_in_place(|| {
            self.producer.client().fetch_metadata(Some(source), ANSWER_WITHIN)
        });
        let metadata = metadata.map_err(failed)?;
        let partitions = metadata.topics().first().map_or(1, |topic| topic.partitions().len().max(1));
        let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        let bytes = VIEW_MESSAGE_BYTES.to_string();
        let wanted =
            NewTopic::new(&view, partitions, TopicReplication::Fixed(-1)).set(MESSAGE_BYTES_KEY, &bytes);
        let results = self.admin.create_topics([&wanted], &AdminOptions::new()).await.map_err(failed)?;
        for result in results {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(failed(KafkaError::AdminOp(code))),
            }
        }
        let limit = self.message_bytes_max(&view).await.map_err(failed)?;
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).insert(view.clone(), limit);
        Ok(())
    }

    /// The largest message that a topic takes.
    async fn message_bytes_max(&self, view: &str) -> Result<usize, KafkaError> {
        let topic = ResourceSpecifier::Topic(view);
        let described = self.admin.describe_configs([&topic], &AdminOptions::new()).await?;
        let Some(Ok(resource)) = described.into_iter().next() else { return Ok(DEFAULT_MESSAGE_BYTES) };
        let entry = resource.entries.iter().find(|entry| entry.name == MESSAGE_BYTES_KEY);
        let value = entry.and_then(|entry| entry.value.as_ref()?.parse().ok());
        Ok(value.unwrap_or(DEFAULT_MESSAGE_BYTES).min(VIEW_MESSAGE_BYTES))
    }

    /// A record's JSON, or what stands for it where it is too large.
    fn payload(&self, view: &str, record: &Carried) -> String {
        let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = limits.get(view).copied().unwrap_or(DEFAULT_MESSAGE_BYTES);
        let room = limit.saturating_sub(FRAMING_BYTES + record.key.as_ref().map_or(0, bytes::Bytes::len));
        let shown = record.view();
        let payload = shown.to_string();
        if payload.len() <= room {
            return payload;
        }
        json!({ "device": shown["device"], "time": shown["time"], "too_large_bytes": payload.len() })
            .to_string()
    }

    /// Puts a record into librdkafka's queue, waiting while that is full.
    async fn enqueue(&self, view: &str, index: i32, record: &Carried) -> Result<DeliveryFuture, KafkaError> {
        let (source_partition, source_offset) = (index.to_string(), record.offset.to_string());
        let payload = self.payload(view, record);
        let headers = OwnedHeaders::new_with_capacity(2)
            .insert(Header { key: SOURCE_PARTITION, value: Some(&source_partition) })
            .insert(Header { key: SOURCE_OFFSET, value: Some(&source_offset) });
        let mut wanted = FutureRecord::<[u8], str>::to(view)
            .partition(index)
            .timestamp(record.timestamp_ms)
            .headers(headers)
            .payload(&payload);
        if let Some(key) = &record.key {
            wanted = wanted.key(key.as_ref());
        }
        loop {
            match self.producer.send_result(wanted) {
                Ok(delivery) => return Ok(delivery),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => wanted = back,
                Err((error, _)) => return Err(error),
            }
            tokio::time::sleep(QUEUE_PAUSE).await;
        }
    }

    /// The source offset of the last record of a view's partition.
    fn last_source_offset(&self, view: &str, index: i32) -> Result<Option<i64>, SinkError> {
        let failed = |source| SinkError::View { topic: view.to_owned(), source };
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.hub)
            .set("group.id", "headwater-bridge-view-reader")
            .set("enable.auto.commit", "false")
            .create()
            .map_err(failed)?;
        let (first, next) = consumer.fetch_watermarks(view, index, ANSWER_WITHIN).map_err(failed)?;
        if next <= first {
            return Ok(None);
        }
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(view, index, Offset::Offset(next - 1)).map_err(failed)?;
        consumer.assign(&assignment).map_err(failed)?;
        let damaged = |what| SinkError::ViewDamaged { topic: view.to_owned(), partition: index, what };
        match consumer.poll(ANSWER_WITHIN) {
            Some(Ok(message)) => {
                source_offset(&message).map(Some).ok_or(damaged("the last record names no source"))
            }
            Some(Err(source)) => Err(failed(source)),
            None => Err(damaged("the last record cannot be read")),
        }
    }

    /// Sends a batch. What is in the view is always a beginning of it: a record is offered to librdkafka only when
    /// the one before it is in its queue, and all that were are waited for.
    async fn send(&self, view: &str, batch: &Batch) -> Result<(), SinkError> {
        let mut deliveries = Vec::with_capacity(batch.records.len());
        let mut refused = Ok(());
        for record in &batch.records {
            match self.enqueue(view, batch.partition.index, record).await {
                Ok(delivery) => deliveries.push(delivery),
                Err(error) => {
                    refused = Err(error);
                    break;
                }
            }
        }
        let outcomes = join_all(deliveries).await.into_iter().map(|outcome| match outcome {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((error, _))) => Err(error),
            Err(_) => Err(KafkaError::Canceled),
        });
        let failed = |source| SinkError::View { topic: view.to_owned(), source };
        outcomes.collect::<Result<(), KafkaError>>().and(refused).map_err(failed)
    }
}

fn source_offset(message: &BorrowedMessage<'_>) -> Option<i64> {
    let headers = message.headers()?;
    let header = headers.iter().find(|header| header.key == SOURCE_OFFSET)?;
    std::str::from_utf8(header.value?).ok()?.parse().ok()
}

#[async_trait]
impl Sink for JsonView {
    async fn resume_from(&self, partition: &Partition) -> Result<Option<i64>, SinkError> {
        self.ensure_topic(&partition.topic).await?;
        let view = self.view_of(&partition.topic);
        let last = tokio::task::block_in_place(|| self.last_source_offset(&view, partition.index))?;
        Ok(last.map(|offset| offset + 1))
    }

    async fn write(&self, batch: &Batch) -> Result<(), SinkError> {
        self.send(&self.view_of(&batch.partition.topic), batch).await
    }

    async fn check(&self) -> Result<String, SinkError> {
        Ok(format!("views are topics with {} behind their source's name", self.suffix))
    }

    fn batch_records_max(&self) -> usize {
        BATCH_RECORDS_MAX
    }
}
