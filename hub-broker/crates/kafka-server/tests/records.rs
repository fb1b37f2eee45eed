//! Records through the Kafka front: produced, stored, fetched, found by offset and by time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Client, Hub};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiVersionsRequest, FetchRequest, FetchResponse, InitProducerIdRequest, ListOffsetsRequest,
    MetadataRequest, ProduceRequest, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use schemas::{BatchBuilder, BuilderOptions, Compression, ProducerEpoch, ProducerId, RawBatch, Sequence};
use uuid::Uuid;

const TOPIC: &str = "telemetry";

fn topic_name() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}

/// One batch with these values, at times 1000, 1001, ….
fn batch(values: &[&str], compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(BuilderOptions { compression, ..BuilderOptions::default() });
    for (value, at_ms) in values.iter().zip(1000..) {
        builder.push(at_ms, None, Some(value.as_bytes()), &[]).unwrap();
    }
    builder.finish().unwrap()
}

/// Makes the topic by naming it, as producers do.
async fn make_topic(client: &mut Client) -> Uuid {
    let topic = kafka_protocol::messages::metadata_request::MetadataRequestTopic::default()
        .with_name(Some(topic_name()));
    let request =
        MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(true);
    let answer = client.call(&request, 12).await;
    assert_eq!((answer.topics[0].error_code, answer.topics[0].partitions.len()), (0, 4));
    answer.topics[0].topic_id
}

fn produce(id: Uuid, version: i16, acks: i16, records: Bytes) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(records));
    let topic = TopicProduceData::default().with_partition_data(vec![partition]);
    let topic = if version >= 13 { topic.with_topic_id(id) } else { topic.with_name(topic_name()) };
    ProduceRequest::default().with_acks(acks).with_timeout_ms(10_000).with_topic_data(vec![topic])
}

/// The base offset, or the error code.
async fn stored(client: &mut Client, id: Uuid, version: i16, records: Bytes) -> Result<i64, i16> {
    let answer = client.call(&produce(id, version, -1, records), version).await;
    let answer = &answer.responses[0].partition_responses[0];
    if answer.error_code == 0 { Ok(answer.base_offset) } else { Err(answer.error_code) }
}

fn fetch(id: Uuid, version: i16, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_partitions(vec![partition]);
    let topic = if version >= 13 { topic.with_topic_id(id) } else { topic.with_topic(topic_name()) };
    FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_topics(vec![topic])
}

/// Every value in the answer's records, or the error code.
fn values(answer: &FetchResponse) -> Result<Vec<String>, i16> {
    let partition = &answer.responses[0].partitions[0];
    if partition.error_code != 0 {
        return Err(partition.error_code);
    }
    let mut records = partition.records.clone().unwrap_or_default();
    let mut values = Vec::new();
    while let Some(batch) = RawBatch::split_first(&mut records).unwrap() {
        batch.verify_crc().unwrap();
        for record in batch.records().unwrap() {
            values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
    }
    Ok(values)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_produced_in_any_version_is_fetched_in_any_version() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let id = make_topic(&mut client).await;
    let mut expected = Vec::new();
    for version in 3..=13 {
        let (first, second) = (format!("{version}a"), format!("{version}b"));
        let base = stored(&mut client, id, version, batch(&[&first, &second], Compression::None)).await;
        assert_eq!(base, Ok(i64::try_from(expected.len()).unwrap()));
        expected.extend([first, second]);
    }
    for version in 4..=16 {
        let answer = client.call(&fetch(id, version, 0), version).await;
        assert_eq!(values(&answer).as_ref(), Ok(&expected), "fetch {version}");
        assert_eq!((answer.error_code, answer.session_id), (0, 0));
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_compression_comes_back_and_zstd_only_to_those_who_know_it() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let id = make_topic(&mut client).await;
    // Long enough for compression to be worth its while, so that the builder does compress.
    let long = "x".repeat(500);
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        stored(&mut client, id, 9, batch(&[&long], compression)).await.unwrap();
    }
    let answer = client.call(&fetch(id, 12, 0), 12).await;
    assert_eq!(values(&answer).unwrap(), vec![long; 3]);
    assert_eq!(values(&client.call(&fetch(id, 9, 0), 9).await), Err(76));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_wants_no_answer_gets_none() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let id = make_topic(&mut client).await;
    client.send(&produce(id, 9, 0, batch(&["quiet"], Compression::None)), 9).await;
    let sent = client.send(&ApiVersionsRequest::default(), 0).await;
    client.receive::<ApiVersionsRequest>(0, sent).await;
    assert_eq!(values(&client.call(&fetch(id, 12, 0), 12).await).unwrap(), ["quiet"]);
    // A refusal is told by closing the connection.
    client.send(&produce(id, 9, 0, Bytes::from_static(b"no batch")), 9).await;
    assert!(client.frame().await.is_none());
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_produces_keep_their_order() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let id = make_topic(&mut client).await;
    let mut sent = Vec::new();
    for number in 0..200 {
        let value = number.to_string();
        sent.push(client.send(&produce(id, 9, 1, batch(&[&value], Compression::None)), 9).await);
    }
    for (sent, base) in sent.into_iter().zip(0..) {
        let answer = client.receive::<ProduceRequest>(9, sent).await;
        assert_eq!(answer.responses[0].partition_responses[0].base_offset, base);
    }
    let expected: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    assert_eq!(values(&client.call(&fetch(id, 12, 0), 12).await).unwrap(), expected);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_ends_when_data_comes_and_not_before() {
    let hub = Hub::start().await;
    let (mut consumer, mut producer) = (hub.client().await, hub.client().await);
    let id = make_topic(&mut producer).await;
    let waiting = fetch(id, 12, 0).with_max_wait_ms(30_000);
    let sent = consumer.send(&waiting, 12).await;
    let early = tokio::time::timeout(Duration::from_millis(100), consumer.socket.readable()).await;
    assert!(early.is_err(), "answered before there was anything");
    stored(&mut producer, id, 9, batch(&["now"], Compression::None)).await.unwrap();
    let answer = consumer.receive::<FetchRequest>(12, sent).await;
    assert_eq!(values(&answer).unwrap(), ["now"]);

    let more_than_there_is = fetch(id, 12, 0).with_max_wait_ms(50).with_min_bytes(1 << 20);
    let answer = consumer.call(&more_than_there_is, 12).await;
    assert_eq!(values(&answer).unwrap(), ["now"], "what is there is given when the wait is over");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_batch_is_given_whole_however_small_the_limit() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let id = make_topic(&mut client).await;
    stored(&mut client, id, 9, batch(&["a", "b", "c"], Compression::None)).await.unwrap();
    stored(&mut client, id, 9, batch(&["d"], Compression::None)).await.unwrap();
    let mut small = fetch(id, 12, 1).with_max_bytes(1);
    small.topics[0].partitions[0].partition_max_bytes = 1;
    let answer = client.call(&small, 12).await;
    assert_eq!(values(&answer).unwrap(), ["a", "b", "c"], "the batch that holds the offset");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_found_by_place_and_by_time() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let id = make_topic(&mut client).await;
    stored(&mut client, id, 9, batch(&["a", "b", "c"], Compression::None)).await.unwrap();
    for (asked, offset, time) in
        [(-2, 0, -1), (-1, 3, -1), (-3, 2, 1002), (0, 0, 1000), (1001, 1, 1001), (1003, -1, -1)]
    {
        let partition = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(asked);
        let topic = ListOffsetsTopic::default().with_name(topic_name()).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        for version in [1, 5, 7, 8] {
            let answer = client.call(&request, version).await;
            let found = &answer.topics[0].partitions[0];
            assert_eq!((found.error_code, found.offset, found.timestamp), (0, offset, time), "{asked}");
        }
    }
    for offset in [-5, 4] {
        assert_eq!(values(&client.call(&fetch(id, 12, offset), 12).await), Err(1), "offset {offset}");
    }
    assert_eq!(values(&client.call(&fetch(id, 12, 3), 12).await), Ok(Vec::new()), "the end is in range");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_sent_twice_is_stored_once() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let id = make_topic(&mut client).await;
    let producer = client.call(&InitProducerIdRequest::default().with_transactional_id(None), 4).await;
    assert_eq!((producer.error_code, producer.producer_epoch), (0, 0));
    let idempotent = |sequence| {
        let from = (ProducerId(producer.producer_id.0), ProducerEpoch(0), Sequence(sequence));
        let options = BuilderOptions { producer: Some(from), ..BuilderOptions::default() };
        let mut builder = BatchBuilder::new(options);
        builder.push(1, None, Some(b"once"), &[]).unwrap();
        builder.finish().unwrap()
    };
    assert_eq!(
        stored(&mut client, id, 9, idempotent(1)).await,
        Err(19),
        "sent ahead of one that was refused"
    );
    assert_eq!(stored(&mut client, id, 9, idempotent(0)).await, Ok(0));
    assert_eq!(stored(&mut client, id, 9, idempotent(0)).await, Ok(0));
    assert_eq!(stored(&mut client, id, 9, idempotent(2)).await, Err(19), "what is missing may still come");
    assert_eq!(stored(&mut client, id, 9, idempotent(1)).await, Ok(1));
    assert_eq!(stored(&mut client, id, 9, idempotent(3)).await, Err(19));
    let begun = Instant::now();
    while stored(&mut client, id, 9, idempotent(3)).await != Err(45) {
        assert!(begun.elapsed() < Duration::from_secs(30), "what does not come is said to be missing");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(values(&client.call(&fetch(id, 12, 0), 12).await).unwrap(), ["once", "once"]);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_with_its_own_code() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    let id = make_topic(&mut client).await;
    let good = batch(&["x"], Compression::None);
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        Bytes::from(bytes)
    };
    assert_eq!(stored(&mut client, id, 9, changed(16, 1)).await, Err(43), "magic 1");
    assert_eq!(stored(&mut client, id, 9, changed(good.len() - 1, 0xff)).await, Err(2), "a CRC that differs");
    assert_eq!(stored(&mut client, Uuid::from_u128(9), 13, good.clone()).await, Err(100), "an unknown id");

    let transactional = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(StrBytes::from_static_str("t"))));
    assert_eq!(client.call(&transactional, 4).await.error_code, 53);

    let session = fetch(id, 12, 0).with_session_id(5).with_session_epoch(1);
    assert_eq!(client.call(&session, 12).await.error_code, 70, "no session can be continued");
    hub.stop().await;
}
