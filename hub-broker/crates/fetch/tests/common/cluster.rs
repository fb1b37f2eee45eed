//! Several hubs in one process, as they run: a directory each, real connections over loopback, shards and metadata.
//! The tests of `ingest` and `groups` use it too.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use metadata::{CreateTopic, Metadata, Principal, Topic};
use peers::Peers;
use schemas::{NodeId, PartitionIndex, ShardId, TopicName};
use shards::{DataDir, Shards, SyncMode};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(60);
const SHARDS: u16 = 4;

pub struct Hub {
    pub node: NodeId,
    pub shards: Shards,
    pub metadata: Metadata,
    peers: Peers,
    dir: TempDir,
}

/// Hubs by node id.
pub struct Cluster {
    hubs: BTreeMap<NodeId, Hub>,
}

pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

pub fn anyone() -> Principal {
    Principal::anonymous()
}

pub fn name(text: &str) -> TopicName {
    TopicName::try_from(text).unwrap()
}

impl Cluster {
    /// Hub 1 founds, the others join; ready when every shard has its replicas on as many hubs as it should.
    pub async fn of(hubs: u32) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let mut cluster = Self { hubs: BTreeMap::new() };
        for node in 1..=hubs {
            let seed = cluster.hubs.values().next().and_then(|hub| hub.peers.address());
            let hub = start(NodeId(node), seed).await;
            cluster.hubs.insert(NodeId(node), hub);
        }
        eventually("all shards have their replicas", async || cluster.is_even()).await;
        cluster
    }

    /// Whether every shard has as many replicas as it should, every hub as many as the others, and none is on its way.
    fn is_even(&self) -> bool {
        let replicas = self.hubs.len().min(3);
        let is_done = |hub: &Hub, group: u32| {
            let (view, catalog) = (hub.shards.replicas(group), hub.metadata.view());
            let planned = catalog.replicas(group);
            view.leader.is_some_and(|leader| leader.serving)
                && view.learners.is_empty()
                && [view.voters.len(), view.in_sync.len(), planned.len()] == [replicas; 3]
                && planned.iter().all(|record| record.joined && !record.leaving)
        };
        let groups = || 1..=u32::from(SHARDS);
        let share = usize::from(SHARDS) * replicas / self.hubs.len();
        let has = |hub: &Hub| {
            groups().filter(|group| hub.shards.replicas(*group).voters.contains(&hub.node)).count()
        };
        self.hubs.values().all(|hub| groups().all(|group| is_done(hub, group)) && has(hub) == share)
    }

    pub fn hub(&self, node: NodeId) -> &Hub {
        &self.hubs[&node]
    }

    pub fn hubs(&self) -> impl Iterator<Item = &Hub> {
        self.hubs.values()
    }

    /// Made from the hub with the highest id, and known to all when this returns.
    pub async fn topic(&self, text: &str, partitions: i32) -> Arc<Topic> {
        let request = CreateTopic { partitions: Some(partitions), ..CreateTopic::new(name(text)) };
        let hub = self.hubs.values().next_back().unwrap();
        let topic = hub.metadata.create_topic(&anyone(), request).await.unwrap();
        eventually("all hubs know the topic", async || {
            let knows =
                |hub: &Hub| hub.metadata.view().topic_by_id(topic.id).is_some_and(|it| it.is_settled());
            self.hubs.values().all(knows)
        })
        .await;
        topic
    }

    /// The hub that serves the shard.
    pub async fn leader(&self, shard: ShardId) -> NodeId {
        let mut leader = None;
        eventually("the shard is served", async || {
            leader =
                self.hubs.values().find(|hub| hub.shards.is_serving(shard).is_some()).map(|hub| hub.node);
            leader.is_some()
        })
        .await;
        leader.unwrap()
    }

    /// A hub with a replica of the shard that it does not lead.
    pub async fn follower(&self, shard: ShardId) -> NodeId {
        let leader = self.leader(shard).await;
        let voters = self.hub(leader).shards.replicas(group_of(shard)).voters;
        voters.into_iter().find(|node| *node != leader).unwrap()
    }

    /// A hub without a replica of the shard.
    pub async fn stranger(&self, shard: ShardId) -> NodeId {
        let leader = self.leader(shard).await;
        let voters = self.hub(leader).shards.replicas(group_of(shard)).voters;
        self.hubs.keys().copied().find(|node| !voters.contains(node)).unwrap()
    }

    /// Has another hub lead the shard, and tells which.
    pub async fn move_lead(&self, shard: ShardId) -> NodeId {
        let from = self.leader(shard).await;
        let term = self.hub(from).shards.is_serving(shard);
        let status = self.hub(from).shards.status().await;
        let group = status.into_iter().find(|status| status.group == group_of(shard)).unwrap();
        let to = *group.membership.voters.iter().find(|id| id.node() != from.0).unwrap();
        // Refused where the lead has moved by itself meanwhile.
        let _ = self.hub(from).shards.transfer_leadership(group_of(shard), to).await;
        let mut leader = from;
        eventually("the lead moves", async || {
            leader = self.leader(shard).await;
            leader != from || self.hub(leader).shards.is_serving(shard) != term
        })
        .await;
        leader
    }

    /// Nothing comes to the hub or from it any more. It goes on alone.
    pub async fn cut_off(&self, node: NodeId) {
        self.hub(node).peers.clone().shutdown().await;
    }

    pub async fn stop(self) {
        for hub in self.hubs.into_values() {
            hub.metadata.stop();
            hub.peers.shutdown().await;
            hub.shards.shutdown().await;
        }
    }
}

impl Hub {
    pub fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn leader_node(&self, shard: ShardId) -> Option<NodeId> {
        self.shards.leader(shard).map(|leader| leader.node)
    }
}

pub fn shard_of(topic: &Topic, index: i32) -> ShardId {
    topic.placement(PartitionIndex(index)).unwrap().shard()
}

fn group_of(shard: ShardId) -> u32 {
    u32::from(shard.0) + 1
}

async fn start(node: NodeId, seed: Option<String>) -> Hub {
    let directory = tempfile::tempdir().unwrap();
    let config = shards::Config {
        node,
        shard_count: SHARDS,
        sync: SyncMode::Off,
        wal_file_bytes: 8 << 20,
        reserve_bytes: 0,
        tick: Duration::from_millis(20),
        seed: u64::from(node.0),
        ..shards::Config::new(directory.path())
    };
    let mut dir = DataDir::open(&config).unwrap();
    let identity = dir.identity();
    let peers = Peers::bind(peers::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        advertise: None,
        node,
        incarnation: identity.incarnation,
        seeds: seed.iter().cloned().collect(),
        shard_count: SHARDS,
        limits: peers::Limits::default(),
    })
    .await
    .unwrap();
    let this =
        metadata::Hub { cluster_address: peers.address(), ..metadata::Hub::new(node, identity.incarnation) };
    if seed.is_none() {
        dir.found().unwrap();
    }
    metadata::form(&mut dir, &peers, &this, &CancellationToken::new()).await.unwrap();
    let (machine, views) = Metadata::state_machine();
    let own = peers.clone();
    let starting = move || Shards::start(config, dir, own, Box::new(machine));
    let shards = tokio::task::spawn_blocking(starting).await.unwrap().unwrap();
    let metadata = Metadata::start(shards.clone(), views, metadata::Config::default(), this).await.unwrap();
    Hub { node, shards, metadata, peers, dir: directory }
}
