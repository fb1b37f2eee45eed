//! The agents' way in: what a batch from outside must pass, one test for each rule, and streams.

use bytes::Bytes;
use schemas::{
    BatchBuilder, BuilderOptions, Compression, Gap, GapCount, GapReason, ProducerEpoch, ProducerId, Sequence,
    build_gap,
};

use crate::support::{Client, Connect, Hub, PUBACK, Packet, agent_connect, device};

const STREAM: ProducerId = ProducerId((1 << 62) + 12345);
const TOPIC: &str = "headwater/v1/pump/batch/telemetry/0";
/// 2024-01-01.
const TIME_MS: i64 = 1_704_067_200_000;

async fn agent(hub: &Hub) -> Client {
    Client::connect_with(hub, agent_connect("pump", &["telemetry"])).await.0
}

fn build(key: &str, base: i32, values: &[&str], compression: Compression) -> Vec<u8> {
    let producer = Some((STREAM, ProducerEpoch(0), Sequence(base)));
    let mut builder = BatchBuilder::new(BuilderOptions { compression, producer, base_timestamp: None });
    for (at, value) in (0..).zip(values) {
        builder.push(TIME_MS + at, Some(key.as_bytes()), Some(value.as_bytes()), &[]).unwrap();
    }
    builder.finish().unwrap().to_vec()
}

fn batch(base: i32, values: &[&str]) -> Vec<u8> {
    build("pump", base, values, Compression::None)
}

/// Recomputes the CRC after a change of what it covers.
fn sealed(mut batch: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = batch(0, &["a", "b"]);
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    sealed(batch)
}

async fn judged(hub: &Hub, payload: &[u8]) -> Packet {
    agent(hub).await.published(1, 1, TOPIC, payload).await
}

/// Each payload is refused with this code and nothing of it is stored.
async fn are_refused(reason: u8, payloads: &[&[u8]]) {
    let hub = Hub::start().await;
    let mut client = agent(&hub).await;
    for (number, payload) in payloads.iter().enumerate() {
        let answer = client.published(1, 1, TOPIC, payload).await;
        assert_eq!((answer.kind(), answer.reason()), (PUBACK, reason), "payload {number}: {answer:?}");
    }
    assert_eq!(hub.records("telemetry").len(), 0);
    hub.stop().await;
}

#[tokio::test]
async fn the_connack_tells_partition_counts_and_the_time() {
    let hub = Hub::start().await;
    hub.create_topic("alarms", 7, &[]).await;
    let connect = agent_connect("pump", &["telemetry", "alarms", "no/topic", "__offsets"]);
    let (_client, connack) = Client::connect_with(&hub, connect).await;
    assert!(connack.has("headwater-topic", "telemetry=4"));
    assert!(connack.has("headwater-topic", "alarms=7"));
    let text = String::from_utf8_lossy(&connack.body).into_owned();
    assert!(text.contains("headwater-time") && !text.contains("no/topic") && !text.contains("__offsets"));
    hub.stop().await;
}

#[tokio::test]
async fn the_stored_bytes_are_the_agents() {
    let hub = Hub::start().await;
    for (at, compression) in [Compression::None, Compression::Lz4, Compression::Zstd].into_iter().enumerate()
    {
        let values = vec!["a rather long and very repetitive value"; 50];
        let base = i32::try_from(at * 50).unwrap();
        let mut client = agent(&hub).await;
        let answer = client.published(1, 1, TOPIC, &build("pump", base, &values, compression)).await;
        assert_eq!(answer.reason(), 0, "{compression:?} {answer:?}");
    }
    assert_eq!(hub.records("telemetry").len(), 150);
    hub.stop().await;
}

#[tokio::test]
async fn a_topic_that_takes_smaller_batches_than_agents_send_is_at_fault_itself() {
    let hub = Hub::start().await;
    hub.create_topic("telemetry", 4, &[("max.message.bytes", "200")]).await;
    let mut client = agent(&hub).await;
    let large = batch(0, &["x".repeat(200).as_str()]);
    let answer = client.published(1, 1, TOPIC, &large).await;
    assert_eq!((answer.kind(), answer.reason()), (PUBACK, 0x90), "{answer:?}");
    let mut flipped = large;
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    assert_eq!(client.published(1, 2, TOPIC, &flipped).await.reason(), 0x99, "it fits into no topic");
    assert_eq!(client.published(1, 3, TOPIC, &batch(0, &["small"])).await.reason(), 0);
    hub.stop().await;
}

#[tokio::test]
async fn rule_the_crc_must_be_right() {
    let mut flipped = batch(0, &["a"]);
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    are_refused(0x99, &[&flipped]).await;
}

#[tokio::test]
async fn rule_the_length_must_be_the_payloads() {
    let whole = batch(0, &["a"]);
    are_refused(
        0x99,
        &[
            &whole[..whole.len() - 1],
            &whole[..30],
            &[],
            &patched(8, &i32::MAX.to_be_bytes()),
            &patched(8, &(-1i32).to_be_bytes()),
        ],
    )
    .await;
}

#[tokio::test]
async fn rule_only_magic_2_is_taken() {
    are_refused(0x99, &[&patched(16, &[1])]).await;
}

#[tokio::test]
async fn rule_counts_must_fit_together() {
    are_refused(
        0x99,
        &[
            &patched(57, &3i32.to_be_bytes()),
            &patched(57, &0i32.to_be_bytes()),
            &patched(57, &i32::MAX.to_be_bytes()),
            &patched(23, &5i32.to_be_bytes()),
        ],
    )
    .await;
}

#[tokio::test]
async fn rule_records_are_walked() {
    // The first record's length, and a byte within it.
    are_refused(0x99, &[&patched(61, &[0x7f]), &patched(64, &[0x08])]).await;
}

#[tokio::test]
async fn rule_an_unknown_compression_is_refused() {
    are_refused(0x99, &[&patched(21, &[0, 7]), &patched(21, &[0, 4])]).await;
}

#[tokio::test]
async fn rule_a_decompression_bomb_is_stopped() {
    // 65 MiB of zeros are a few kilobytes of zstd.
    let bomb = zstd::encode_all(&vec![0u8; 65 << 20][..], 3).unwrap();
    assert!(bomb.len() < 100_000);
    let mut batch = batch(0, &["a"]);
    batch.truncate(61);
    batch[21..23].copy_from_slice(&[0, 4]);
    batch.extend_from_slice(&bomb);
    let length = i32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    are_refused(0x99, &[&sealed(batch)]).await;
}

#[tokio::test]
async fn rule_control_and_transactional_bits_are_not_an_agents() {
    are_refused(0x99, &[&patched(21, &[0, 0x20]), &patched(21, &[0, 0x10]), &patched(21, &[0, 0x08])]).await;
}

#[tokio::test]
async fn rule_the_hubs_own_fields_are_empty() {
    let mut offset = batch(0, &["a"]);
    offset[7] = 1;
    are_refused(0x99, &[&offset]).await;
    let mut epoch = batch(0, &["a"]);
    epoch[12..16].copy_from_slice(&0i32.to_be_bytes());
    are_refused(0x99, &[&epoch]).await;
}

#[tokio::test]
async fn rule_a_stream_id_is_an_agents_and_its_epoch_is_0() {
    are_refused(
        0x99,
        &[
            &patched(43, &7i64.to_be_bytes()),
            &patched(43, &(-1i64).to_be_bytes()),
            &patched(51, &[0, 1]),
            &patched(53, &(-1i32).to_be_bytes()),
            &patched(53, &(1i32 << 30).to_be_bytes()),
        ],
    )
    .await;
}

#[tokio::test]
async fn rule_every_key_is_the_devices_own() {
    are_refused(0x87, &[&build("other", 0, &["a"], Compression::None)]).await;
    let producer = Some((STREAM, ProducerEpoch(0), Sequence(0)));
    let mut builder = BatchBuilder::new(BuilderOptions { producer, ..BuilderOptions::default() });
    builder.push(TIME_MS, None, Some(b"a"), &[]).unwrap();
    let answer = builder.finish().unwrap();
    are_refused(0x99, &[&answer]).await;
}

#[tokio::test]
async fn rule_a_batch_is_not_larger_than_an_agents_may_be() {
    let value = "x".repeat(500_000);
    let large = batch(0, &[&value, &value, &"x".repeat(46_000)]);
    assert!(large.len() > schemas::limits::AGENT_BATCH_BYTES_MAX && large.len() < 1024 * 1024 - 100);
    are_refused(0x99, &[&large]).await;
}

fn gap(base: i32, records: u32) -> Bytes {
    let gap =
        Gap { count: GapCount::Known(records), from_ms: Some(1), to_ms: Some(2), reason: GapReason::Dropped };
    build_gap(&device("pump"), STREAM, Sequence(base), records, &gap)
}

#[tokio::test]
async fn rule_a_gap_is_bounded_and_uses_up_its_sequences() {
    let hub = Hub::start().await;
    let mut client = agent(&hub).await;
    let answer = client.published(1, 1, TOPIC, &gap(0, schemas::limits::GAP_RECORDS_MAX + 1)).await;
    assert_eq!(answer.reason(), 0x99);
    assert_eq!(client.published(1, 2, TOPIC, &gap(0, 10)).await.reason(), 0);
    assert_eq!(client.published(1, 3, TOPIC, &batch(10, &["after"])).await.reason(), 0);
    // Only a gap may span more than it holds.
    assert_eq!(client.published(1, 4, TOPIC, &patched(23, &9i32.to_be_bytes())).await.reason(), 0x99);
    hub.stop().await;
}

#[tokio::test]
async fn a_batch_sent_twice_is_stored_once() {
    let hub = Hub::start().await;
    let mut client = agent(&hub).await;
    let sent = batch(0, &["a", "b"]);
    client.published(1, 1, TOPIC, &sent).await;
    drop(client);
    let mut client = agent(&hub).await;
    let answer = client.published(1, 2, TOPIC, &sent).await;
    assert_eq!(answer.reason(), 0);
    assert!(answer.has("duplicate", "1"), "{answer:?}");
    assert_eq!(hub.values("telemetry"), ["a", "b"]);
    hub.stop().await;
}

#[tokio::test]
async fn a_hole_is_refused_with_the_expected_sequence() {
    let hub = Hub::start().await;
    let mut client = agent(&hub).await;
    client.published(1, 1, TOPIC, &batch(0, &["a", "b"])).await;
    let answer = client.published(1, 2, TOPIC, &batch(5, &["f"])).await;
    assert_eq!(answer.reason(), 0x83);
    assert!(answer.has("expected-sequence", "2") && answer.has("batch", "0"), "{answer:?}");
    assert_eq!(client.published(1, 3, TOPIC, &batch(2, &["c"])).await.reason(), 0);
    assert_eq!(hub.values("telemetry"), ["a", "b", "c"]);
    hub.stop().await;
}

#[tokio::test]
async fn an_unknown_stream_begins_at_0() {
    let hub = Hub::start().await;
    let answer = judged(&hub, &batch(3, &["d"])).await;
    assert_eq!(answer.reason(), 0x83);
    assert!(answer.has("expected-sequence", "0"));
    hub.stop().await;
}

#[tokio::test]
async fn another_batch_under_known_sequences_is_a_fork() {
    let hub = Hub::start().await;
    let mut client = agent(&hub).await;
    client.published(1, 1, TOPIC, &batch(0, &["a"])).await;
    let answer = client.published(1, 2, TOPIC, &batch(0, &["z"])).await;
    assert_eq!(answer.reason(), 0x83);
    assert!(answer.has("fork", "1") && answer.has("expected-sequence", "1"), "{answer:?}");
    assert_eq!(hub.values("telemetry"), ["a"]);
    hub.stop().await;
}

#[tokio::test]
async fn a_publish_of_several_batches_has_one_answer() {
    let hub = Hub::start().await;
    let mut client = agent(&hub).await;
    let payload = [batch(0, &["a"]), batch(1, &["b", "c"]), batch(3, &["d"])].concat();
    assert_eq!(client.published(1, 1, TOPIC, &payload).await.reason(), 0);
    let again = client.published(1, 2, TOPIC, &payload).await;
    assert!(again.has("duplicate", "3"));
    assert_eq!(hub.values("telemetry"), ["a", "b", "c", "d"]);
    hub.stop().await;
}

#[tokio::test]
async fn what_stands_before_the_first_refused_batch_stays() {
    let hub = Hub::start().await;
    let mut client = agent(&hub).await;
    let mut broken = batch(1, &["b"]);
    *broken.last_mut().unwrap() ^= 1;
    let payload = [batch(0, &["a"]), broken, batch(2, &["c"])].concat();
    let answer = client.published(1, 1, TOPIC, &payload).await;
    assert_eq!(answer.reason(), 0x99);
    assert!(answer.has("batch", "1"), "{answer:?}");
    assert_eq!(hub.values("telemetry"), ["a"]);
    let payload = [batch(1, &["b"]), batch(7, &["h"]), batch(2, &["c"])].concat();
    let answer = client.published(1, 2, TOPIC, &payload).await;
    assert_eq!(answer.reason(), 0x83);
    assert!(answer.has("batch", "1") && answer.has("expected-sequence", "2"), "{answer:?}");
    hub.stop().await;
}

#[tokio::test]
async fn batches_of_two_streams_do_not_share_a_publish() {
    let hub = Hub::start().await;
    let mut other = batch(0, &["b"]);
    other[43..51].copy_from_slice(&(STREAM.0 + 1).to_be_bytes());
    let payload = [batch(0, &["a"]), sealed(other)].concat();
    let answer = judged(&hub, &payload).await;
    assert_eq!(answer.reason(), 0x99);
    assert!(answer.has("batch", "1"));
    assert_eq!(hub.values("telemetry"), ["a"]);
    hub.stop().await;
}

#[tokio::test]
async fn an_agent_publishes_under_its_own_device_to_topics_that_it_named() {
    let hub = Hub::start().await;
    hub.create_topic("unnamed", 1, &[]).await;
    let mut client = agent(&hub).await;
    let sent = batch(0, &["a"]);
    for (topic, reason) in [
        ("headwater/v1/other/batch/telemetry/0", 0x87),
        ("headwater/v1/pump/batch/unnamed/0", 0x90),
        ("headwater/v1/pump/batch/missing/0", 0x90),
        ("headwater/v1/pump/batch/telemetry/99", 0x90),
        ("headwater/v1/pump/batch/telemetry/-1", 0x90),
    ] {
        assert_eq!(client.published(1, 1, topic, &sent).await.reason(), reason, "{topic}");
    }
    let mut stranger = Client::connect(&hub, 5, "stranger").await;
    assert_eq!(stranger.published(1, 1, TOPIC, &sent).await.reason(), 0x87);
    let mut old = Client::connect_with(&hub, Connect { id: "pump", ..Connect::default() }).await.0;
    old.publish(1, 1, TOPIC, &sent).await;
    assert_eq!(old.read().await, None);
    hub.stop().await;
}

#[tokio::test]
async fn a_compacted_topic_is_not_opened_to_agents() {
    let hub = Hub::start().await;
    hub.create_topic("telemetry", 1, &[("cleanup.policy", "compact")]).await;
    let (mut client, connack) = Client::connect_with(&hub, agent_connect("pump", &["telemetry"])).await;
    assert!(!String::from_utf8_lossy(&connack.body).contains("telemetry="));
    assert_eq!(client.published(1, 1, TOPIC, &batch(0, &["a"])).await.reason(), 0x90);
    hub.stop().await;
}

#[tokio::test]
async fn a_window_of_publishes_is_judged_in_order() {
    let hub = Hub::start().await;
    let mut client = agent(&hub).await;
    for id in 1..=200u16 {
        client.publish(1, id, TOPIC, &batch(i32::from(id) - 1, &[&id.to_string()])).await;
    }
    for id in 1..=200u16 {
        let answer = client.read().await.unwrap();
        assert_eq!((answer.id(), answer.reason()), (id, 0));
    }
    let values: Vec<u16> = hub.values("telemetry").iter().map(|value| value.parse().unwrap()).collect();
    assert_eq!(values, (1..=200).collect::<Vec<_>>());
    hub.stop().await;
}
