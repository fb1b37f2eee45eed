//! Several hubs in one process: a directory each, real connections over loopback, and a membership that the test
//! decides.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use consensus::{MembershipChange, ProgressState, ReplicaId, Role};
use peers::Peers;
use schemas::{NodeId, ShardId};
use shards::*;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::common::*;

const CLUSTER: Uuid = Uuid::from_u128(0x00c1_0573);
/// The metadata's group and one for each shard of [`config`].
pub const GROUPS: u32 = 5;
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for what comes of other threads' and hubs' work.
pub async fn eventually<F: Future<Output = bool>>(what: &str, is_so: impl FnMut() -> F) {
    assert!(in_time(is_so).await, "never: {what}");
}

async fn in_time<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) -> bool {
    let wait = async {
        while !is_so().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, wait).await.is_ok()
}

pub struct Hub {
    pub node: u32,
    pub shards: Shards,
    peers: Peers,
}

/// Hubs by node id; the directories of those that do not run stay.
pub struct Cluster {
    dirs: BTreeMap<u32, TempDir>,
    hubs: BTreeMap<u32, Hub>,
    next_number: u32,
    /// Where the hubs listen.
    host: Ipv4Addr,
    /// How the hubs are configured besides.
    tune: fn(Config) -> Config,
    /// Every group's replicas as they should be.
    replicas: BTreeMap<u32, Vec<ReplicaId>>,
}

impl Cluster {
    /// Hub 1, alone with itself but open to others.
    pub async fn found() -> Self {
        Self::found_with(|config| config).await
    }

    async fn found_with(tune: fn(Config) -> Config) -> Self {
        let founder = |group| (group, vec![ReplicaId::new(1, 1)]);
        let replicas = (0..GROUPS).map(founder).collect();
        let (dirs, hubs) = (BTreeMap::new(), BTreeMap::new());
        let mut cluster = Self { dirs, hubs, next_number: 2, host: own_host(), tune, replicas };
        cluster.start(1).await;
        cluster.hub(1).shards.set_cluster(CLUSTER).expect("written");
        cluster
    }

    /// Three hubs with a voter of every group each.
    pub async fn of_three() -> Self {
        Self::of_three_with(|config| config).await
    }

    pub async fn of_three_with(tune: fn(Config) -> Config) -> Self {
        let mut cluster = Self::found_with(tune).await;
        cluster.join(2).await;
        cluster.join(3).await;
        cluster
    }

    pub fn hub(&self, node: u32) -> &Hub {
        &self.hubs[&node]
    }

    pub fn shards(&self, node: u32) -> &Shards {
        &self.hubs[&node].shards
    }

    pub fn dir(&self, node: u32) -> &Path {
        self.dirs[&node].path()
    }

    pub fn nodes(&self) -> Vec<u32> {
        self.hubs.keys().copied().collect()
    }

    /// Starts a hub, for the first time or again, and tells everyone where it is.
    pub async fn start(&mut self, node: u32) {
        let dir = self.dirs.entry(node).or_insert_with(|| tempfile::tempdir().expect("a directory"));
        let config = Config {
            node: NodeId(node),
            tick: Duration::from_millis(20),
            seed: u64::from(node),
            ..config(dir.path())
        };
        let hub = start_hub((self.tune)(config), self.host).await;
        let address = |hub: &Hub| hub.peers.address().expect("it listens");
        for other in self.hubs.values() {
            other.peers.know(NodeId(node), &address(&hub));
            hub.peers.know(NodeId(other.node), &address(other));
        }
        self.hubs.insert(node, hub);
    }

    /// As after a crash: nothing is handed over, nothing is written.
    pub async fn kill(&mut self, node: u32) {
        let hub = self.hubs.remove(&node).expect("it runs");
        hub.peers.shutdown().await;
        tokio::task::spawn_blocking(move || drop(hub.shards)).await.expect("it ends");
    }

    pub async fn stop(&mut self, node: u32) {
        let hub = self.hubs.remove(&node).expect("it runs");
        hub.shards.shutdown().await;
        hub.peers.shutdown().await;
    }

    pub async fn stop_all(mut self) {
        for node in self.nodes() {
            self.kill(node).await;
        }
    }

    /// A new hub gets a voter of every group.
    pub async fn join(&mut self, node: u32) {
        self.start(node).await;
        for group in 0..GROUPS {
            let id = ReplicaId::new(node, self.next_number);
            self.next_number += 1;
            self.change(group, MembershipChange { add_learners: vec![id], ..Default::default() }).await;
            self.caught_up(group, id).await;
            self.change(group, MembershipChange { promote: vec![id], ..Default::default() }).await;
            self.replicas.get_mut(&group).expect("a group").push(id);
        }
        eventually("everyone knows the new voters", || async {
            self.hubs
                .values()
                .all(|hub| (0..GROUPS).all(|group| hub.shards.replicas(group).voters.contains(&NodeId(node))))
        })
        .await;
    }

    /// A replica that was given up gets a successor on the same hub.
    pub async fn replace(&mut self, group: u32, lost: ReplicaId) {
        let id = ReplicaId::new(lost.node(), self.next_number);
        self.next_number += 1;
        self.change(group, MembershipChange { remove: vec![lost], ..Default::default() }).await;
        self.change(group, MembershipChange { add_learners: vec![id], ..Default::default() }).await;
        self.caught_up(group, id).await;
        self.change(group, MembershipChange { promote: vec![id], ..Default::default() }).await;
    }

    /// Has the group's leader, whoever it is meanwhile, make the change.
    pub async fn change(&self, group: u32, change: MembershipChange) {
        eventually("the change goes through", || async {
            let leader = self.leader(group).await;
            match self.shards(leader).change_membership(group, change.clone()).await {
                Ok(()) => true,
                // A change that was in doubt has gone through.
                Err(ChangeError::Invalid) => true,
                Err(
                    ChangeError::Pending
                    | ChangeError::TooFewLeft
                    | ChangeError::NotLeader { .. }
                    | ChangeError::Lost,
                ) => false,
                Err(other) => panic!("{other}"),
            }
        })
        .await;
    }

    pub async fn caught_up(&self, group: u32, id: ReplicaId) {
        eventually("the learner catches up", || async {
            let leader = self.leader(group).await;
            let all = self.shards(leader).status().await;
            let status = all.into_iter().find(|status| status.group == group).expect("a group");
            status.role == Role::Leader
                && status.progress.iter().any(|it| {
                    it.id == id && it.state == ProgressState::Replicate && it.matched >= status.commit
                })
        })
        .await;
    }

    /// The hub that serves the group.
    pub async fn leader(&self, group: u32) -> u32 {
        let serves = || {
            self.hubs.values().find(|hub| hub.shards.is_serving_group(group).is_some()).map(|hub| hub.node)
        };
        eventually("the group is served", || async { serves().is_some() }).await;
        serves().unwrap_or(0)
    }

    /// The hub that serves partition n's shard.
    pub async fn leader_of(&self, n: i32) -> u32 {
        self.leader(group(shard(n))).await
    }

    /// A hub that runs and does not serve partition n's shard.
    pub async fn other_than_leader(&self, n: i32) -> u32 {
        let leader = self.leader_of(n).await;
        self.nodes().into_iter().find(|node| *node != leader).expect("more than one hub")
    }

    /// Until every hub that runs has the same batches of partition n, which are returned.
    pub async fn agreed(&self, n: i32, batches: usize) -> Vec<(i64, u32)> {
        let all = || {
            let of = |hub: &Hub| hub.shards.partition(partition(n)).map(|_| contents(&hub.shards, n));
            self.hubs.values().map(of).collect::<Vec<_>>()
        };
        let agree = || {
            let all = all();
            let first = all.first().cloned().flatten();
            first.is_some_and(|first| first.len() == batches) && all.windows(2).all(|two| two[0] == two[1])
        };
        assert!(in_time(|| async { agree() }).await, "never the same {batches} batches: {:?}", all());
        all().into_iter().flatten().next().unwrap_or_default()
    }
}

pub fn group(shard: ShardId) -> u32 {
    u32::from(shard.0) + 1
}

/// An address that no other test has: hubs are known by their numbers alone, and a port of one that is down is soon another
/// test's.
fn own_host() -> Ipv4Addr {
    static CLUSTERS: AtomicU32 = AtomicU32::new(0);
    let cluster = CLUSTERS.fetch_add(1, Ordering::Relaxed);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high, low, u8::try_from(cluster % 254 + 1).expect("below 255"))
}

async fn start_hub(config: Config, host: Ipv4Addr) -> Hub {
    let mut dir = DataDir::open(&config).expect("a directory");
    match config.node {
        NodeId(1) => dir.found().expect("written"),
        // The founder's replicas have number 1 everywhere.
        _ => dir.join(CLUSTER, 1).expect("written"),
    }
    let Identity { node, incarnation } = dir.identity();
    let peers = Peers::bind(peers::Config {
        listen: (host, 0).into(),
        advertise: None,
        node,
        incarnation,
        seeds: Vec::new(),
        shard_count: config.shard_count,
        limits: peers::Limits::default(),
    })
    .await
    .expect("a free port");
    let own = peers.clone();
    let start = move || Shards::start(config, dir, own, Box::new(Diary::default()));
    let shards = tokio::task::spawn_blocking(start).await.expect("no panic").expect("the shards start");
    Hub { node: node.0, shards, peers }
}

/// Hands a batch in at a hub, for wherever the shard is led.
pub fn hand_in(shards: &Shards, n: i32, append: Append) -> oneshot::Receiver<Result<Appended, AppendError>> {
    let (tell, told) = oneshot::channel();
    shards.append_anywhere(shard(n), append, Box::new(move |result| drop(tell.send(result))));
    told
}

/// The same until it is stored. The batch needs a sequence: else one that is in doubt may be stored twice.
pub async fn append_surely(shards: &Shards, n: i32, batch: Bytes) -> Appended {
    surely(shards, n, append(n, batch)).await
}

pub async fn surely(shards: &Shards, n: i32, append: Append) -> Appended {
    loop {
        match hand_in(shards, n, append.clone()).await.expect("answered once") {
            Ok(appended) => return appended,
            // In doubt: the batch has a sequence, and is stored once.
            Err(AppendError::NotLeader { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

pub async fn append_from(shards: &Shards, n: i32, batch: Bytes) -> Result<Appended, AppendError> {
    hand_in(shards, n, append(n, batch)).await.expect("answered once")
}
