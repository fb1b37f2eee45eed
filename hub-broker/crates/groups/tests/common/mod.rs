//! A hub's groups on real shards in a directory of their own.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test uses its part")]

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use groups::{Config, CoordinatorError, Groups, Join, Joined, Membership, OffsetToCommit, Protocol, Sync};
use metadata::{CreateTopic, Metadata, Principal};
use schemas::{Offset, PartitionIndex, TopicName};
use shards::{Shards, SyncMode};

pub fn anyone() -> Principal {
    Principal::anonymous()
}

pub fn name(text: &str) -> TopicName {
    TopicName::try_from(text).unwrap()
}

pub struct Hub {
    pub metadata: Metadata,
    pub groups: Groups,
}

/// Without a delay, so that nobody has to wait for members that do not come.
pub fn brisk() -> Config {
    Config { initial_rebalance_delay: Duration::ZERO, offsets_partitions: 4, ..Config::default() }
}

/// One life of a hub. It ends as a crash does: no checkpoint, nothing is waited for.
pub fn life<T, F: Future<Output = T>>(dir: &Path, config: Config, lived: impl FnOnce(Hub) -> F) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let hub = start(dir, config).await;
        eventually("all groups are read", async || {
            hub.groups.list(&anyone()).await != Err(CoordinatorError::LoadInProgress)
        })
        .await;
        lived(hub).await
    })
}

/// A hub whose groups have not been read yet.
pub async fn start(dir: &Path, config: Config) -> Hub {
    let (machine, views) = Metadata::state_machine();
    let shards = shards::Config {
        shard_count: 8,
        sync: SyncMode::Off,
        wal_file_bytes: 8 << 20,
        reserve_bytes: 0,
        ..shards::Config::new(dir)
    };
    let shards = Shards::start_alone(shards, Box::new(machine)).unwrap();
    let this = metadata::Hub::new(shards.identity().node, shards.identity().incarnation);
    let metadata = Metadata::start(shards, views, metadata::Config::default(), this).await.unwrap();
    let groups = Groups::start(metadata.clone(), config).unwrap();
    Hub { metadata, groups }
}

pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

pub fn join(group: &str) -> Join {
    Join {
        group_id: group.to_owned(),
        member_id: String::new(),
        group_instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![Protocol { name: "range".to_owned(), metadata: "topics".into() }],
        requires_known_member_id: false,
        supports_skipping_assignment: true,
    }
}

pub fn member(group: &str, joined: &Joined) -> Membership {
    Membership {
        group_id: group.to_owned(),
        member_id: joined.member_id.clone(),
        group_instance_id: None,
        generation: joined.generation,
    }
}

/// Somebody who is in no group.
pub fn outsider(group: &str) -> Membership {
    Membership {
        group_id: group.to_owned(),
        member_id: String::new(),
        group_instance_id: None,
        generation: -1,
    }
}

pub fn offset(topic: &str, partition: i32, offset: i64) -> OffsetToCommit {
    OffsetToCommit {
        topic: name(topic),
        partition: PartitionIndex(partition),
        offset: Offset(offset),
        leader_epoch: 3,
        metadata: "here".to_owned(),
    }
}

impl Hub {
    pub async fn topic(&self, text: &str) {
        let request = CreateTopic { partitions: Some(2), ..CreateTopic::new(name(text)) };
        self.metadata.create_topic(&anyone(), request).await.unwrap();
    }

    /// One member that leads, with an assignment.
    pub async fn lead(&self, group: &str) -> Joined {
        let joined = self.groups.join(&anyone(), join(group)).await.unwrap();
        let assignments = vec![(joined.member_id.clone(), "all".into())];
        let sync =
            Sync { member: member(group, &joined), protocol_type: None, protocol_name: None, assignments };
        assert_eq!(self.groups.sync(&anyone(), sync).await.unwrap().assignment, "all");
        joined
    }

    pub async fn commit(&self, from: Membership, offsets: Vec<OffsetToCommit>) {
        for result in self.groups.commit(&anyone(), from, offsets).await.unwrap() {
            result.result.unwrap();
        }
    }

    /// What is committed, by topic and partition, for all that the group has.
    pub async fn committed(&self, group: &str) -> Vec<(String, i32, i64)> {
        let all = self.groups.committed(&anyone(), group, None).await.unwrap();
        let one = |fetched: groups::FetchedOffset| {
            (fetched.topic.to_string(), fetched.partition.0, fetched.committed.unwrap().offset.0)
        };
        all.into_iter().map(one).collect()
    }
}
