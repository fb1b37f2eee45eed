//! The JSON view: topic `T` as `T.json`, one JSON object a record, same key, timestamp and partition.
//!
//! Guarantee: exactly once. The producer is idempotent, every view record names its source in the headers
//! `src.partition` and `src.offset`, and when a partition is taken up the last of them says where to go on.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::{Sink, SinkError};
use crate::record::{Batch, Partition};

const SOURCE_PARTITION: &str = "src.partition";
const SOURCE_OFFSET: &str = "src.offset";
const BATCH_RECORDS_MAX: usize = 5000;
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

pub struct JsonView {
    hub: String,
    suffix: String,
    producer: FutureProducer,
    admin: AdminClient<DefaultClientContext>,
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
        let producer = config.create().map_err(failed)?;
        Ok(Self { hub: hub.to_owned(), suffix: suffix.to_owned(), producer, admin })
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
        let wanted = NewTopic::new(&view, partitions, TopicReplication::Fixed(-1));
        let results = self.admin.create_topics([&wanted], &AdminOptions::new()).await.map_err(failed)?;
        for result in results {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(failed(KafkaError::AdminOp(code))),
            }
        }
        Ok(())
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

    async fn send(&self, view: &str, batch: &Batch) -> Result<(), SinkError> {
        let source_partition = batch.partition.index.to_string();
        let deliveries = batch.records.iter().map(|record| {
            let source_offset = record.offset.to_string();
            let headers = OwnedHeaders::new_with_capacity(2)
                .insert(Header { key: SOURCE_PARTITION, value: Some(&source_partition) })
                .insert(Header { key: SOURCE_OFFSET, value: Some(&source_offset) });
            let payload = record.view().to_string();
            async move {
                let mut wanted = FutureRecord::<[u8], str>::to(view)
                    .partition(batch.partition.index)
                    .timestamp(record.timestamp_ms)
                    .headers(headers)
                    .payload(&payload);
                if let Some(key) = &record.key {
                    wanted = wanted.key(key.as_ref());
                }
                self.producer.send(wanted, ANSWER_WITHIN).await.map_err(|(error, _)| error)
            }
        });
        let failed = |source| SinkError::View { topic: view.to_owned(), source };
        // All of them are waited for: what is tried again must not overtake what is still on its way.
        let outcomes = join_all(deliveries).await;
        outcomes.into_iter().find_map(Result::err).map_or(Ok(()), |source| Err(failed(source)))
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
