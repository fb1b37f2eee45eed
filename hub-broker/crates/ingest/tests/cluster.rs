//! The way in on several hubs: what comes to one that does not lead is stored where it is led, once and in order.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "../../fetch/tests/common/cluster.rs"]
mod cluster;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use cluster::{Cluster, Hub, anyone, eventually, name, shard_of};
use ingest::{
    AgentAck, AgentRefusal, Config, Ingest, PlainError, PlainMessage, PlainStored, ProduceError, Produced,
};
use metadata::Topic;
use schemas::{
    BatchBuilder, BuilderOptions, Compression, DeviceId, Offset, PartitionIndex, ProducerEpoch, ProducerId,
    RawBatch, Sequence,
};
use shards::Appended;
use tokio::sync::oneshot;

const PARTITION: PartitionIndex = PartitionIndex(0);
const STREAM: ProducerId = ProducerId((1 << 62) + 7);

fn ingest_of(hub: &Hub) -> Ingest {
    Ingest::new(hub.metadata.clone(), Config::default())
}

/// A batch of one record whose value is its number.
fn batch(number: i32, producer: Option<ProducerId>) -> Bytes {
    let producer = producer.map(|id| (id, ProducerEpoch(0), Sequence(number)));
    let options = BuilderOptions { compression: Compression::None, producer, base_timestamp: None };
    let mut builder = BatchBuilder::new(options);
    builder.push(5, Some(b"pump"), Some(number.to_string().as_bytes()), &[]).unwrap();
    builder.finish().unwrap()
}

/// The values in the log, once the hub that leads has as many.
async fn stored(cluster: &Cluster, topic: &Topic, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    eventually("everything is stored", async || {
        let leader = cluster.leader(shard_of(topic, 0)).await;
        values = cluster.hub(leader).shards.partition(topic.partition_id(PARTITION)).map_or(
            Vec::new(),
            |reader| {
                let (mut from, mut values) = (Offset(0), Vec::new());
                while from < reader.high_watermark() {
                    let mut bytes = reader.read(from, 1 << 20).unwrap();
                    while let Some(batch) = RawBatch::split_first(&mut bytes).unwrap() {
                        let header = batch.header();
                        from = Offset(header.base_offset + header.offset_span());
                        let text = |value: Option<Bytes>| String::from_utf8(value.unwrap().to_vec()).unwrap();
                        values.extend(batch.records().unwrap().map(|record| text(record.unwrap().value)));
                    }
                }
                values
            },
        );
        values.len() >= count
    })
    .await;
    values
}

fn numbers(count: i32) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// Moves the lead whenever some more is stored, until the work is done.
async fn move_until_done(cluster: &Cluster, topic: &Topic, work: tokio::task::JoinHandle<()>) {
    let shard = shard_of(topic, 0);
    let ends = || {
        let readers = cluster.hubs().filter_map(|hub| hub.shards.partition(topic.partition_id(PARTITION)));
        readers.map(|reader| reader.high_watermark()).max()
    };
    let mut moves = 0;
    while !work.is_finished() {
        let before = ends();
        cluster.move_lead(shard).await;
        moves += 1;
        let enough = before.map(|before| before.plus(20));
        eventually("some more is stored", async || work.is_finished() || ends() >= enough).await;
    }
    work.await.unwrap();
    println!("the lead moved {moves} times");
    assert!(moves > 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_producer_is_told_who_leads() {
    let cluster = Cluster::of(3).await;
    let topic = cluster.topic("telemetry", 1).await;
    let produce = async |hub: &Hub| {
        let (tell, told) = oneshot::channel::<Result<Appended, ProduceError>>();
        let done = Box::new(move |outcome| {
            let _ = tell.send(outcome);
        });
        let produced = Produced { topic: &topic, partition: PARTITION, records: batch(0, None), done };
        ingest_of(hub).produce(&anyone(), [produced]);
        told.await.unwrap()
    };
    eventually("the others name the leader, which takes it", async || {
        let shard = shard_of(&topic, 0);
        let (leader, follower) = (cluster.leader(shard).await, cluster.follower(shard).await);
        let refused = produce(cluster.hub(follower)).await;
        // The lead may move at any time by itself.
        matches!(refused, Err(ProduceError::NotLeader { leader: Some(named) }) if named == leader)
            && produce(cluster.hub(leader)).await.is_ok()
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_messages_are_stored_once_and_in_order_while_the_lead_moves() {
    const CALLS: i32 = 400;
    let cluster = Cluster::of(3).await;
    let topic = cluster.topic("mqtt", 1).await;
    let shard = shard_of(&topic, 0);
    let ingest = ingest_of(cluster.hub(cluster.follower(shard).await));
    let sent = topic.clone();
    let work = tokio::spawn(async move {
        let mut waiting = VecDeque::new();
        for number in 0..CALLS {
            let value = number.to_string();
            let message =
                PlainMessage { timestamp_ms: 5, key: b"key", value: value.as_bytes(), headers: &[] };
            let (tell, told) = oneshot::channel::<Result<PlainStored, PlainError>>();
            let done = Box::new(move |outcome| {
                let _ = tell.send(outcome);
            });
            ingest.plain(&anyone(), &sent, PARTITION, &[message], done);
            waiting.push_back(told);
            if waiting.len() == 5 {
                waiting.pop_front().unwrap().await.unwrap().unwrap();
            }
        }
        for told in waiting {
            told.await.unwrap().unwrap();
        }
    });
    move_until_done(&cluster, &topic, work).await;
    let values = stored(&cluster, &topic, usize::try_from(CALLS).unwrap()).await;
    assert_eq!(values, numbers(CALLS));
    cluster.stop().await;
}

/// An agent with a window of publishes, as `design/batch.md` has it: after a refusal it waits for its whole window and
/// goes on from what the hub expects, or from what it does not know of.
struct Agent {
    ingest: Ingest,
    topic: Arc<Topic>,
    device: DeviceId,
}

/// What is on its way, in order.
type Window = VecDeque<(i32, oneshot::Receiver<Result<AgentAck, AgentRefusal>>)>;

impl Agent {
    const WINDOW: usize = 5;

    fn publish(&self, number: i32) -> oneshot::Receiver<Result<AgentAck, AgentRefusal>> {
        let (tell, told) = oneshot::channel();
        let done = Box::new(move |outcome| {
            let _ = tell.send(outcome);
        });
        let payload = batch(number, Some(STREAM));
        self.ingest.agent_batches(&anyone(), &self.device, &self.topic, PARTITION, payload, done);
        told
    }

    async fn send(&self, count: i32) {
        let (mut acknowledged, mut next) = (0, 0);
        let mut window = Window::new();
        while acknowledged < count {
            while next < count && window.len() < Self::WINDOW {
                window.push_back((next, self.publish(next)));
                next += 1;
            }
            let (number, told) = window.pop_front().unwrap();
            match told.await.unwrap() {
                Ok(_) => {
                    assert_eq!(number, acknowledged, "acknowledgements come in order");
                    acknowledged += 1;
                }
                Err(refusal) => {
                    acknowledged = Self::after(refusal, acknowledged, &mut window).await;
                    next = acknowledged;
                }
            }
        }
    }

    /// Waits for the whole window; returns from where to go on.
    async fn after(refusal: AgentRefusal, acknowledged: i32, window: &mut Window) -> i32 {
        assert!(!refusal.is_fork(), "{refusal}");
        let expected = refusal.expected().map_or(acknowledged, |expected| expected.0);
        assert!(expected >= acknowledged, "{expected} lies before what was acknowledged, {acknowledged}");
        let mut stored = acknowledged;
        for (number, told) in window.drain(..) {
            // Taken only if everything before it was: the refused one was in doubt, and is stored.
            if told.await.unwrap().is_ok() {
                stored = number + 1;
            }
        }
        stored
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_stream_is_stored_once_and_in_order_while_the_lead_moves() {
    const BATCHES: i32 = 400;
    let cluster = Cluster::of(3).await;
    cluster.topic("telemetry", 1).await;
    let hub = cluster.hubs().next().unwrap();
    let topic = hub.metadata.admit_agents(&anyone(), &name("telemetry")).await.unwrap();
    let shard = shard_of(&topic, 0);
    eventually("all hubs know that agents feed it", async || {
        cluster
            .hubs()
            .all(|hub| hub.metadata.view().topic_by_id(topic.id).is_some_and(|topic| topic.agent_fed))
    })
    .await;
    let ingest = ingest_of(cluster.hub(cluster.follower(shard).await));
    let agent = Agent { ingest, topic: topic.clone(), device: DeviceId::try_from("pump").unwrap() };
    let work = tokio::spawn(async move { agent.send(BATCHES).await });
    move_until_done(&cluster, &topic, work).await;
    let values = stored(&cluster, &topic, usize::try_from(BATCHES).unwrap()).await;
    assert_eq!(values, numbers(BATCHES));
    cluster.stop().await;
}
