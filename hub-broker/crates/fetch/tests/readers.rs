//! Readers of real partitions: the tail of one, and long polls over several.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "common/records.rs"]
mod records;

use std::time::Duration;

use fetch::{
    Fetch, FetchError, FetchPartition, FetchRequest, FollowError, FollowFrom, OffsetSpec, PartitionError,
    Replica,
};
use metadata::{CreateTopic, Metadata, Principal, Topic};
use records::base_offsets;
use schemas::{BatchBuilder, BuilderOptions, Offset, PartitionId, PartitionIndex, TopicId, TopicName};
use shards::{Append, Origin, Shards};
use tempfile::TempDir;
use tokio::time::timeout;
use uuid::Uuid;

struct Hub {
    shards: Shards,
    metadata: Metadata,
    fetch: Fetch,
    topic: std::sync::Arc<Topic>,
    principal: Principal,
    _dir: TempDir,
}

impl Hub {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (machine, views) = Metadata::state_machine();
        let shards = Shards::start_alone(shards::Config::new(dir.path()), Box::new(machine)).unwrap();
        let this = metadata::Hub::new(shards.identity().node, shards.identity().incarnation);
        let metadata =
            Metadata::start(shards.clone(), views, metadata::Config::default(), this).await.unwrap();
        let fetch = Fetch::new(metadata.clone(), fetch::Config::default()).unwrap();
        let principal = Principal::anonymous();
        let name = TopicName::try_from("telemetry").unwrap();
        let topic = metadata.create_topic(&principal, CreateTopic::new(name)).await.unwrap();
        Self { shards, metadata, fetch, topic, principal, _dir: dir }
    }

    fn partition(&self, index: i32) -> PartitionId {
        self.topic.partition_id(PartitionIndex(index))
    }

    async fn append(&self, index: i32, value: &str) {
        let mut builder = BatchBuilder::new(BuilderOptions::default());
        builder.push(1, None, Some(value.as_bytes()), &[]).unwrap();
        let shard = self.topic.placement(PartitionIndex(index)).unwrap().shard();
        let batch = builder.finish().unwrap();
        let append =
            Append { partition: self.partition(index), origin: Origin::Kafka, batch, expected_term: None };
        self.shards.append_future(shard, append).await.unwrap();
    }

    fn wants(&self, partitions: &[(i32, i64)], max_wait: Duration) -> FetchRequest {
        let wanted = partitions.iter().map(|(index, offset)| FetchPartition {
            partition: self.partition(*index),
            offset: Offset(*offset),
            max_bytes: 1 << 20,
            current_leader_epoch: None,
        });
        FetchRequest {
            max_wait,
            min_bytes: 1,
            max_bytes: 1 << 20,
            replica: Replica::Leader,
            partitions: wanted.collect(),
        }
    }

    async fn stop(self) {
        self.metadata.stop();
        self.shards.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_gets_every_batch_once_and_in_order() {
    let hub = Hub::start().await;
    hub.append(0, "before").await;
    let mut from_now = hub.fetch.follow(&hub.principal, hub.partition(0), FollowFrom::End).unwrap();
    let from_start = FollowFrom::At(Offset(0));
    let mut from_start = hub.fetch.follow(&hub.principal, hub.partition(0), from_start).unwrap();
    assert_eq!(base_offsets(from_start.next().await.unwrap()), [0]);

    let waited = timeout(Duration::from_millis(50), from_now.next()).await;
    assert!(waited.is_err(), "nothing has come yet");
    let mut seen = Vec::new();
    for _ in 0..5 {
        hub.append(0, "now").await;
        seen.extend(base_offsets(from_now.next().await.unwrap()));
    }
    assert_eq!((seen, from_now.position()), (vec![1, 2, 3, 4, 5], Some(Offset(6))));
    assert_eq!(base_offsets(from_start.next().await.unwrap()), [1, 2, 3, 4, 5]);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_learns_that_its_partition_is_gone() {
    let hub = Hub::start().await;
    let mut follow = hub.fetch.follow(&hub.principal, hub.partition(1), FollowFrom::End).unwrap();
    hub.metadata.delete_topic(&hub.principal, &hub.topic.name).await.unwrap();
    let ended = timeout(Duration::from_secs(20), follow.next()).await.unwrap();
    assert_eq!(ended, Err(FollowError::Closed));
    let gone = hub.fetch.follow(&hub.principal, hub.partition(1), FollowFrom::End);
    assert!(matches!(gone, Err(PartitionError::UnknownTopic)));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_over_many_partitions_wakes_for_any_of_them() {
    let hub = Hub::start().await;
    hub.append(0, "old").await;
    let request = hub.wants(&[(0, 1), (1, 0), (2, 0), (3, 0)], Duration::from_secs(20));
    let (fetch, principal) = (hub.fetch.clone(), hub.principal.clone());
    let poll = tokio::spawn(async move { fetch.fetch(&principal, request).await });
    hub.append(2, "new").await;
    let response = poll.await.unwrap();
    let bytes: Vec<_> =
        response.partitions.iter().map(|partition| partition.result.as_ref().unwrap().len_bytes()).collect();
    assert!(bytes[2] > 0 && bytes[0] + bytes[1] + bytes[3] == 0, "{bytes:?}");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_ends_when_its_topic_is_deleted() {
    let hub = Hub::start().await;
    let request = hub.wants(&[(0, 0)], Duration::from_secs(3600));
    let (fetch, principal) = (hub.fetch.clone(), hub.principal.clone());
    let poll = tokio::spawn(async move { fetch.fetch(&principal, request).await });
    hub.metadata.delete_topic(&hub.principal, &hub.topic.name).await.unwrap();
    let response = timeout(Duration::from_secs(20), poll).await.unwrap().unwrap();
    let error = response.partitions[0].result.as_ref().err().cloned();
    assert_eq!(error, Some(PartitionError::UnknownTopic.into()));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_said_at_once() {
    let hub = Hub::start().await;
    let long = Duration::from_secs(3600);
    let mut request = hub.wants(&[(0, 7), (1, 0)], long);
    let response = hub.fetch.fetch(&hub.principal, request.clone()).await;
    let range = FetchError::OutOfRange { log_start: Offset(0), high_watermark: Offset(0) };
    assert_eq!(response.partitions[0].result.as_ref().err(), Some(&range));
    assert!(response.partitions[1].result.is_ok());

    request.partitions[0].partition = hub.partition(99);
    request.partitions[1].partition.topic = TopicId(Uuid::from_u128(5));
    let response = hub.fetch.fetch(&hub.principal, request).await;
    let errors: Vec<_> = response.partitions.into_iter().map(|partition| partition.result.err()).collect();
    let unknown = [PartitionError::UnknownPartition, PartitionError::UnknownTopic];
    assert_eq!(errors, unknown.map(|error| Some(error.into())));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_partition_begins_and_ends_at_zero() {
    let hub = Hub::start().await;
    for (wanted, found) in [
        (OffsetSpec::Earliest, Some(Offset(0))),
        (OffsetSpec::Latest, Some(Offset(0))),
        (OffsetSpec::MaxTimestamp, None),
        (OffsetSpec::Time(0), None),
    ] {
        let listed = hub.fetch.list_offset(&hub.principal, hub.partition(0), None, wanted).await.unwrap();
        assert_eq!(listed.map(|listed| listed.offset), found, "{wanted:?}");
    }
    hub.stop().await;
}
