//! Several hubs that form one cluster, on loopback or each in a network namespace of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::hub::Hub;
use crate::{ports, wait};

const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// Hubs by node id, from 1 on.
pub struct Cluster {
    hubs: Vec<Hub>,
    cluster_addresses: Vec<SocketAddr>,
}

impl Cluster {
    /// So many hubs on loopback, each with its folder below `folder`; none is started.
    pub fn new(folder: &Path, count: usize) -> Self {
        let mut cluster = Self { hubs: Vec::new(), cluster_addresses: Vec::new() };
        cluster.cluster_addresses = (0..count).map(|_| ports::free()).collect();
        for index in 0..count {
            let home = folder.join(format!("hub-{}", index + 1));
            std::fs::create_dir_all(&home).expect("a folder for a hub");
            cluster.hubs.push(Hub::new(&home));
        }
        cluster.with_seeds(count)
    }

    /// A cluster of hubs that run and hold every shard on as many hubs as there are, at most three.
    pub fn started(folder: &Path, count: usize) -> Self {
        let mut cluster = Self::new(folder, count);
        cluster.start();
        cluster
    }

    /// Takes hubs that have their addresses already, with the address of each for its peers.
    pub fn of(hubs: Vec<(Hub, SocketAddr)>) -> Self {
        let (hubs, cluster_addresses): (Vec<_>, Vec<_>) = hubs.into_iter().unzip();
        let count = hubs.len();
        Self { hubs, cluster_addresses }.with_seeds(count)
    }

    /// Every hub is told the first `seeds` hubs' addresses, itself among them where it is one of those or not.
    fn with_seeds(mut self, seeds: usize) -> Self {
        let addresses = &self.cluster_addresses;
        let told = |own: &SocketAddr| {
            let mut told: Vec<String> = addresses[..seeds].iter().map(ToString::to_string).collect();
            if !addresses[..seeds].contains(own) {
                told.push(own.to_string());
            }
            told.join(",")
        };
        let hubs = self.hubs.drain(..).zip(addresses).zip(1..).map(|((hub, own), node)| {
            hub.with_argument("--node-id")
                .with_argument(node.to_string())
                .with_argument("--cluster-listen")
                .with_argument(own.to_string())
                .with_argument("--seed")
                .with_argument(told(own))
        });
        self.hubs = hubs.collect();
        self
    }

    /// Adds a hub that joins the others; it is not started.
    pub fn add(&mut self, hub: Hub, cluster_address: SocketAddr) -> usize {
        let mut told: Vec<String> = self.cluster_addresses.iter().map(ToString::to_string).collect();
        told.push(cluster_address.to_string());
        self.cluster_addresses.push(cluster_address);
        let node = self.hubs.len() + 1;
        let hub = hub
            .with_argument("--node-id")
            .with_argument(node.to_string())
            .with_argument("--cluster-listen")
            .with_argument(cluster_address.to_string())
            .with_argument("--seed")
            .with_argument(told.join(","));
        self.hubs.push(hub);
        node
    }

    /// Starts all hubs and waits until they are ready and every shard is replicated.
    pub fn start(&mut self) {
        self.hubs.iter_mut().for_each(Hub::spawn);
        self.hubs.iter_mut().for_each(Hub::wait_ready);
        // A hub may be ready before the others know of it, and a cluster of fewer may be in good order already.
        wait::until("every hub to be registered", SETTLED_WITHIN, || {
            let status = self.status()?;
            (status.get("hubs")?.as_array()?.len() == self.hubs.len()).then_some(())
        });
        self.wait_replicated();
    }

    /// The hub with this node id.
    pub fn hub(&mut self, node: usize) -> &mut Hub {
        &mut self.hubs[node - 1]
    }

    pub fn hubs(&self) -> &[Hub] {
        &self.hubs
    }

    /// Node ids of all hubs.
    pub fn nodes(&self) -> impl Iterator<Item = usize> + use<> {
        1..=self.hubs.len()
    }

    pub fn cluster_address(&self, node: usize) -> SocketAddr {
        self.cluster_addresses[node - 1]
    }

    /// All hubs' Kafka listeners, as clients take them.
    pub fn brokers(&self) -> String {
        let brokers: Vec<String> = self.hubs.iter().map(Hub::brokers).collect();
        brokers.join(",")
    }

    /// All hubs' MQTT listeners, as agents take them.
    pub fn mqtt_urls(&self) -> String {
        let urls: Vec<String> = self.hubs.iter().map(Hub::mqtt_url).collect();
        urls.join(",")
    }

    /// What `cluster status --json` says when any running hub is asked.
    pub fn status(&self) -> Option<Value> {
        self.hubs.iter().find_map(|hub| {
            let output = hub.tool(&["cluster", "status", "--json"]).output().ok()?;
            output.status.success().then(|| serde_json::from_slice(&output.stdout).ok())?
        })
    }

    /// Waits until no shard has fewer replicas than it should, and all of them have everything.
    pub fn wait_replicated(&self) {
        self.wait_replicated_within(SETTLED_WITHIN);
    }

    /// The same where much is to be copied.
    pub fn wait_replicated_within(&self, time: Duration) {
        wait::until("every shard to be replicated", time, || {
            let status = self.status()?;
            status.get("settled").and_then(Value::as_bool)?.then_some(())
        });
    }

    /// The node id that leads a topic's partition, as a hub that runs says.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<usize> {
        let leader = crate::kafka::leader(&self.brokers(), topic, partition)?;
        usize::try_from(leader).ok()
    }

    /// Creates a topic.
    ///
    /// # Panics
    /// Where the first hub does not do it.
    pub fn create_topic(&self, topic: &str, partitions: usize) {
        let count = partitions.to_string();
        let arguments = ["topic", "create", topic, "--partitions", &count];
        let output = self.hubs[0].tool(&arguments).output().expect("the tool can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
