//! Hubs in one process, each with a transport, shards and metadata of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use metadata::{ClusterStatus, Config, FormError, Formed, Hub, Metadata, form};
use peers::{Limits, Peers};
use schemas::NodeId;
use shards::{DataDir, Shards, SyncMode};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub const SHARDS: u16 = 6;

/// A hub that runs.
pub struct Running {
    pub metadata: Metadata,
    peers: Peers,
}

impl Running {
    pub async fn stop(self) {
        let Self { metadata, peers } = self;
        let shards = metadata.shards().clone();
        metadata.stop();
        drop(metadata);
        shards.shutdown().await;
        peers.shutdown().await;
    }
}

fn shards_config(node: u32, directory: &Path) -> shards::Config {
    shards::Config {
        node: NodeId(node),
        shard_count: SHARDS,
        sync: SyncMode::Off,
        wal_file_bytes: 8 << 20,
        reserve_bytes: 0,
        executor_threads: 1,
        ..shards::Config::new(directory)
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Begins to run what has found its cluster.
async fn begun(
    config: shards::Config,
    (formed, dir, peers, this): (Result<Formed, FormError>, DataDir, Peers, Hub),
) -> Running {
    formed.unwrap();
    let (machine, views) = Metadata::state_machine();
    let for_shards = peers.clone();
    let start = move || Shards::start(config, dir, for_shards, Box::new(machine)).unwrap();
    let shards = tokio::task::spawn_blocking(start).await.unwrap();
    let metadata = Metadata::start(shards, views, Config::default(), this).await.unwrap();
    Running { metadata, peers }
}

/// Directories and addresses of hubs, whether they run or not.
pub struct Cluster {
    home: TempDir,
    addresses: BTreeMap<u32, SocketAddr>,
    racks: BTreeMap<u32, &'static str>,
    pub running: BTreeMap<u32, Running>,
}

impl Cluster {
    pub fn of(nodes: &[u32]) -> Self {
        let mut cluster = Self {
            home: tempfile::tempdir().unwrap(),
            addresses: BTreeMap::new(),
            racks: BTreeMap::new(),
            running: BTreeMap::new(),
        };
        for node in nodes {
            cluster.place(*node);
        }
        cluster
    }

    /// Gives a hub an address; it is one of the seeds from now on.
    pub fn place(&mut self, node: u32) {
        self.addresses.insert(node, free_address());
    }

    pub fn directory(&self, node: u32) -> PathBuf {
        self.home.path().join(format!("hub-{node}"))
    }

    fn shards_config(&self, node: u32) -> shards::Config {
        shards_config(node, &self.directory(node))
    }

    async fn peers(&self, node: u32, listen: SocketAddr, dir: &DataDir) -> Peers {
        let config = peers::Config {
            listen,
            advertise: None,
            node: NodeId(node),
            incarnation: dir.identity().incarnation,
            seeds: self.addresses.values().map(ToString::to_string).collect(),
            shard_count: SHARDS,
            limits: Limits::default(),
        };
        Peers::bind(config).await.unwrap()
    }

    /// Finds or founds the cluster, and returns before anything runs in it.
    pub async fn formed(&self, node: u32) -> (Result<Formed, FormError>, DataDir, Peers, Hub) {
        self.formed_at(node, &self.directory(node), self.addresses[&node]).await
    }

    async fn formed_at(
        &self,
        node: u32,
        directory: &Path,
        listen: SocketAddr,
    ) -> (Result<Formed, FormError>, DataDir, Peers, Hub) {
        let mut dir = DataDir::open(&shards_config(node, directory)).unwrap();
        let peers = self.peers(node, listen, &dir).await;
        let this = Hub {
            rack: self.racks.get(&node).map(|rack| (*rack).to_owned()),
            cluster_address: peers.address(),
            ..Hub::new(NodeId(node), dir.identity().incarnation)
        };
        let formed = form(&mut dir, &peers, &this, &CancellationToken::new()).await;
        (formed, dir, peers, this)
    }

    pub async fn life(&self, node: u32) -> Running {
        let formed = self.formed(node).await;
        begun(self.shards_config(node), formed).await
    }

    /// A hub that has the node id of another, in a directory of its own.
    pub async fn double(&self, node: u32, directory: &Path) -> Running {
        let formed = self.formed_at(node, directory, free_address()).await;
        begun(shards_config(node, directory), formed).await
    }

    /// The same, only until it has found the cluster.
    pub async fn double_formed(
        &self,
        node: u32,
        directory: &Path,
    ) -> (Result<Formed, FormError>, DataDir, Peers, Hub) {
        self.formed_at(node, directory, free_address()).await
    }

    /// Starts hubs at the same time, as people do.
    pub async fn start(&mut self, nodes: &[u32]) {
        let lives = futures_util::future::join_all(nodes.iter().map(|node| self.life(*node))).await;
        self.running.extend(nodes.iter().copied().zip(lives));
    }

    /// A graceful end.
    pub async fn stop(&mut self, node: u32) {
        self.running.remove(&node).unwrap().stop().await;
    }

    pub async fn stop_all(&mut self) {
        for node in self.running.keys().copied().collect::<Vec<_>>() {
            self.stop(node).await;
        }
    }

    pub fn metadata(&self, node: u32) -> &Metadata {
        &self.running[&node].metadata
    }

    /// Waits until the cluster, as `node` sees it, is as it should be.
    pub async fn becomes(
        &self,
        node: u32,
        what: &str,
        is_so: impl Fn(&ClusterStatus) -> bool,
    ) -> ClusterStatus {
        let mut last = None;
        let wait = async {
            loop {
                if let Ok(status) = self.metadata(node).cluster_status().await {
                    if is_so(&status) {
                        return status;
                    }
                    last = Some(status);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
        waited.unwrap_or_else(|_| panic!("never: {what}: {last:#?}"))
    }
}

/// Everything is where it should be, and led.
pub fn is_settled(status: &ClusterStatus, replicas: usize) -> bool {
    let is_whole = |group: &metadata::GroupStatus| {
        let wanted = if group.group == 0 { status.hubs.len() } else { replicas };
        group.replicas.len() == wanted
            && group.replicas.iter().all(|replica| replica.state == "joined" && replica.in_sync)
    };
    status.leaderless.is_empty() && status.under_replicated.is_empty() && status.groups.iter().all(is_whole)
}
