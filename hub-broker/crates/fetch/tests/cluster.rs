//! Readers of partitions that lie on several hubs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "common/cluster.rs"]
mod cluster;
#[path = "common/damage.rs"]
mod damage;
#[path = "common/records.rs"]
mod records;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Cluster, Hub, anyone, eventually, shard_of};
use damage::spoil;
use fetch::{
    Fetch, FetchError, FetchPartition, FetchRequest, Fetched, FollowError, FollowFrom, OffsetSpec,
    PartitionError, Replica,
};
use metadata::Topic;
use peers::RequestError;
use records::base_offsets;
use schemas::{
    BatchBuilder, BuilderOptions, LeaderEpoch, NodeId, Offset, PartitionId, PartitionIndex, ProducerEpoch,
    ProducerId, Sequence,
};
use shards::{Append, AppendError, Appended, Origin};
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(3_600);

fn fetch_of(hub: &Hub) -> Fetch {
    Fetch::new(hub.metadata.clone(), fetch::Config::default()).unwrap()
}

/// One partition, and a producer whose batches are stored once.
struct Writer<'a> {
    cluster: &'a Cluster,
    topic: Arc<Topic>,
    written: i32,
}

impl Writer<'_> {
    fn partition(&self) -> PartitionId {
        self.topic.partition_id(PartitionIndex(0))
    }

    /// A batch of one record from the first hub, until it is stored.
    async fn append(&mut self) -> Appended {
        let producer = Some((ProducerId(7), ProducerEpoch(0), Sequence(self.written)));
        let mut builder = BatchBuilder::new(BuilderOptions { producer, ..BuilderOptions::default() });
        builder.push(1, None, Some(value(self.written).as_bytes()), &[]).unwrap();
        let batch = builder.finish().unwrap();
        self.written += 1;
        let hub = self.cluster.hubs().next().unwrap();
        loop {
            let append = Append {
                partition: self.partition(),
                origin: Origin::Hub,
                batch: batch.clone(),
                expected_term: None,
            };
            let (tell, told) = tokio::sync::oneshot::channel();
            let done = Box::new(move |result| drop(tell.send(result)));
            hub.shards.append_anywhere(shard_of(&self.topic, 0), append, done);
            match told.await.unwrap() {
                Ok(appended) => return appended,
                Err(AppendError::NotLeader { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// What is written at an offset.
fn value(offset: i32) -> String {
    format!("the value at {offset}")
}

fn wants(partition: PartitionId, offset: i64, replica: Replica, max_wait: Duration) -> FetchRequest {
    let wanted =
        FetchPartition { partition, offset: Offset(offset), max_bytes: 1 << 20, current_leader_epoch: None };
    FetchRequest { max_wait, min_bytes: 1, max_bytes: 1 << 20, replica, partitions: vec![wanted] }
}

async fn ask(fetch: &Fetch, request: FetchRequest) -> Result<Fetched, FetchError> {
    fetch.fetch(&anyone(), request).await.partitions.remove(0).result
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_answers_everyone_and_a_follower_those_who_were_sent_to_it() {
    let cluster = Cluster::of(3).await;
    let topic = cluster.topic("telemetry", 1).await;
    let shard = shard_of(&topic, 0);
    let mut writer = Writer { cluster: &cluster, topic, written: 0 };
    for _ in 0..3 {
        writer.append().await;
    }
    let partition = writer.partition();
    let leader = cluster.leader(shard).await;
    let follower = cluster.follower(shard).await;
    let (at_leader, at_follower) = (fetch_of(cluster.hub(leader)), fetch_of(cluster.hub(follower)));
    let now = |offset, replica| wants(partition, offset, replica, Duration::ZERO);

    assert_eq!(ask(&at_leader, now(0, Replica::Leader)).await.unwrap().high_watermark, Offset(3));
    let elsewhere = FetchError::Partition(PartitionError::NotLeader { leader: Some(leader) });
    assert_eq!(ask(&at_follower, now(0, Replica::Leader)).await.err(), Some(elsewhere.clone()));
    let listed = at_follower.list_offset(&anyone(), partition, None, OffsetSpec::Latest).await;
    assert_eq!(listed.err(), Some(elsewhere));
    eventually("the follower has everything, too", async || {
        ask(&at_follower, now(0, Replica::Any)).await.is_ok_and(|fetched| fetched.high_watermark == Offset(3))
    })
    .await;

    let beyond = ask(&at_follower, now(9, Replica::Any)).await.err();
    assert_eq!(beyond, Some(FetchError::NotYetHere { high_watermark: Offset(3) }));
    let range = FetchError::OutOfRange { log_start: Offset(0), high_watermark: Offset(3) };
    assert_eq!(ask(&at_leader, now(9, Replica::Any)).await.err(), Some(range));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_ends_when_the_lead_moves_and_the_new_leader_knows_the_epoch() {
    let cluster = Cluster::of(3).await;
    let topic = cluster.topic("telemetry", 1).await;
    let shard = shard_of(&topic, 0);
    let partition = topic.partition_id(PartitionIndex(0));
    let leader = cluster.leader(shard).await;
    let fetch = fetch_of(cluster.hub(leader));
    let before = fetch.list_offset(&anyone(), partition, None, OffsetSpec::Latest).await.unwrap().unwrap();
    let polling = fetch.clone();
    let poll = tokio::spawn(async move { ask(&polling, wants(partition, 0, Replica::Leader, LONG)).await });
    let next = cluster.move_lead(shard).await;
    let ended = timeout(Duration::from_secs(20), poll).await.unwrap().unwrap();
    assert!(matches!(ended, Err(FetchError::Partition(PartitionError::NotLeader { .. }))), "{ended:?}");

    let mut request = wants(partition, 0, Replica::Leader, Duration::ZERO);
    request.partitions[0].current_leader_epoch = Some(before.leader_epoch);
    let fenced = ask(&fetch_of(cluster.hub(next)), request).await;
    let current = |error: &FetchError| match error {
        FetchError::Partition(PartitionError::FencedEpoch { current }) => Some(*current),
        _ => None,
    };
    let current: Option<LeaderEpoch> = fenced.as_ref().err().and_then(current);
    assert!(current > Some(before.leader_epoch), "{fenced:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_cut_off_tells_nobody_that_it_is_out_of_range() {
    let cluster = Cluster::of(3).await;
    let topic = cluster.topic("telemetry", 1).await;
    let shard = shard_of(&topic, 0);
    let partition = topic.partition_id(PartitionIndex(0));
    let leader = cluster.leader(shard).await;
    let fetch = fetch_of(cluster.hub(leader));
    cluster.cut_off(leader).await;
    let beyond = ask(&fetch, wants(partition, 5, Replica::Leader, Duration::ZERO)).await;
    let is_about_leader = |error: &FetchError| {
        matches!(error, FetchError::Partition(PartitionError::NotLeader { .. } | PartitionError::NewLeader))
    };
    assert!(beyond.as_ref().err().is_some_and(is_about_leader), "{beyond:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hub_learns_from_the_leader_where_a_partition_ends_and_from_nobody_else() {
    let cluster = Cluster::of(4).await;
    let topic = cluster.topic("telemetry", 1).await;
    let shard = shard_of(&topic, 0);
    let fetches: Vec<(NodeId, Fetch)> = cluster.hubs().map(|hub| (hub.node, fetch_of(hub))).collect();
    let mut writer = Writer { cluster: &cluster, topic, written: 0 };
    let partition = writer.partition();
    for written in 1..=5 {
        writer.append().await;
        for (node, fetch) in &fetches {
            eventually("the leader is known and answers", async || {
                let end = fetch.end(&anyone(), partition).await;
                assert!(end.is_err() || end == Ok(Offset(written)), "{end:?} at {node}");
                end.is_ok()
            })
            .await;
        }
        cluster.move_lead(shard).await;
    }
    let leader = cluster.leader(shard).await;
    let (_, alone) = fetches.iter().find(|(node, _)| *node == leader).unwrap();
    cluster.cut_off(leader).await;
    let told = timeout(Duration::from_secs(20), alone.end(&anyone(), partition)).await.unwrap();
    assert!(told.is_err(), "nobody says that it still leads: {told:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_without_the_partition_follows_it_through_every_move_of_the_lead() {
    let cluster = Cluster::of(4).await;
    let topic = cluster.topic("telemetry", 1).await;
    let shard = shard_of(&topic, 0);
    let fetches: Vec<Fetch> = cluster.hubs().map(fetch_of).collect();
    let stranger = cluster.stranger(shard).await;
    let fetch = &fetches[usize::try_from(stranger.0).unwrap() - 1];
    let mut writer = Writer { cluster: &cluster, topic, written: 0 };
    writer.append().await;
    let partition = writer.partition();
    assert!(cluster.hub(stranger).shards.partition(partition).is_none());
    let elsewhere = ask(fetch, wants(partition, 0, Replica::Any, Duration::ZERO)).await.err();
    assert!(matches!(elsewhere, Some(FetchError::Partition(PartitionError::NotLeader { leader: Some(_) }))));

    let mut from_start = fetch.follow(&anyone(), partition, FollowFrom::At(Offset(0))).unwrap();
    let mut from_end = fetch.follow(&anyone(), partition, FollowFrom::End).unwrap();
    assert_eq!(from_end.position(), None);
    assert_eq!(from_end.begin().await, Ok(Offset(1)));
    let mut leaders: Vec<NodeId> = Vec::new();
    for _ in 0..3 {
        for _ in 0..3 {
            writer.append().await;
        }
        leaders.push(cluster.move_lead(shard).await);
    }
    writer.append().await;
    for (follow, first) in [(&mut from_start, 0), (&mut from_end, 1)] {
        let mut seen = Vec::new();
        while follow.position() < Some(Offset(11)) {
            let records = timeout(Duration::from_secs(30), follow.next()).await.unwrap().unwrap();
            seen.extend(base_offsets(records));
        }
        assert_eq!(seen, (first..11).collect::<Vec<_>>(), "led by {leaders:?}");
    }
    cluster.stop().await;
}

/// Four hubs, of which all that have the partition have these batches. The stranger has none of it.
async fn stored(batches: i64) -> (Cluster, Arc<Topic>) {
    let cluster = Cluster::of(4).await;
    let topic = cluster.topic("telemetry", 1).await;
    let mut writer = Writer { cluster: &cluster, topic: Arc::clone(&topic), written: 0 };
    for _ in 0..batches {
        writer.append().await;
    }
    let partition = writer.partition();
    eventually("every replica has everything", async || {
        let readers = cluster.hubs().filter_map(|hub| hub.shards.partition(partition));
        let ends: Vec<Offset> = readers.map(|reader| reader.high_watermark()).collect();
        ends == [Offset(batches); 3]
    })
    .await;
    (cluster, topic)
}

/// What a reader at the hub is given of so many offsets: batches, and where it has passed over some.
async fn read_at(fetch: &Fetch, partition: PartitionId, end: i64) -> (Vec<i64>, Vec<(Offset, Offset)>) {
    let mut follow = fetch.follow(&anyone(), partition, FollowFrom::At(Offset(0))).unwrap();
    let (mut seen, mut lost) = (Vec::new(), Vec::new());
    while follow.position() < Some(Offset(end)) {
        match timeout(Duration::from_secs(60), follow.next()).await.unwrap() {
            Ok(records) => seen.extend(base_offsets(records)),
            Err(FollowError::Lost { from, to }) => lost.push((from, to)),
            Err(error) => panic!("{error}"),
        }
    }
    (seen, lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_here_is_read_from_another_hub() {
    let (cluster, topic) = stored(4).await;
    let partition = topic.partition_id(PartitionIndex(0));
    let fetches: BTreeMap<NodeId, Fetch> = cluster.hubs().map(|hub| (hub.node, fetch_of(hub))).collect();
    let damaged = cluster.leader(shard_of(&topic, 0)).await;
    spoil(cluster.hub(damaged).data_dir(), partition, &value(1));
    spoil(cluster.hub(damaged).data_dir(), partition, &value(2));
    assert_eq!(read_at(&fetches[&damaged], partition, 4).await, (vec![0, 1, 2, 3], vec![]));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_hub_has_lost_is_passed_over_and_nothing_that_one_of_them_has() {
    let (cluster, topic) = stored(5).await;
    let partition = topic.partition_id(PartitionIndex(0));
    let fetches: BTreeMap<NodeId, Fetch> = cluster.hubs().map(|hub| (hub.node, fetch_of(hub))).collect();
    let stranger = cluster.stranger(shard_of(&topic, 0)).await;
    let with_replica: Vec<&Hub> = cluster.hubs().filter(|hub| hub.node != stranger).collect();
    for hub in &with_replica {
        spoil(hub.data_dir(), partition, &value(1));
        spoil(hub.data_dir(), partition, &value(3));
    }
    spoil(with_replica[0].data_dir(), partition, &value(2));
    let expected = (vec![0, 2, 4], vec![(Offset(1), Offset(2)), (Offset(3), Offset(4))]);
    for node in [with_replica[1].node, stranger] {
        assert_eq!(read_at(&fetches[&node], partition, 5).await, expected, "at hub {node}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_without_the_partition_tells_whether_what_it_had_of_it_is_set_aside() {
    let (cluster, topic) = stored(1).await;
    let partition = topic.partition_id(PartitionIndex(0));
    let _fetches: Vec<Fetch> = cluster.hubs().map(fetch_of).collect();
    let shard = shard_of(&topic, 0);
    let (asking, stranger) = (cluster.leader(shard).await, cluster.stranger(shard).await);
    // Version, partition, from 0, at most 1,000 bytes, without a wait.
    let ask = [&[1], &partition.topic.0.as_bytes()[..], &[0; 4 + 8], &[0, 0, 3, 0xe8], &[0; 4]].concat();
    let answer = async || {
        let peers = cluster.hub(asking).shards.peers();
        peers.request(stranger, 48, ask.clone().into(), Duration::from_secs(20)).await.unwrap_err()
    };
    let refused = |reason: u8| RequestError::Refused(vec![1, reason].into());
    assert_eq!(answer().await, refused(1), "it is not here");
    let given_up = cluster.hub(stranger).data_dir().join("given-up");
    std::fs::create_dir_all(given_up.join("99.kept-1")).unwrap();
    assert_eq!(answer().await, refused(1), "that is of another group");
    std::fs::create_dir_all(given_up.join(format!("{}.kept-1", shard.0 + 1))).unwrap();
    assert_eq!(answer().await, refused(6));
    cluster.stop().await;
}
