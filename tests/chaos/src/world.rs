//! A cluster on hosts of its own with a load upon it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::numbered::{assert_once_in_order, of_device};
use e2e::producer::numbers;
use serde_json::Value;
use testkit::network::Network;
use testkit::{Cluster, Hub, kafka};

use crate::group::Seen;
use crate::load::{Done, Load, PARTITIONS, TOPIC};
use crate::replica;

const TELEMETRY: &str = "telemetry";
const CLUSTER_PORT: u16 = 9190;
const READ_WITHIN: Duration = Duration::from_secs(120);
const AGENTS: usize = 2;
/// For clients to find their way around a fault on a busy machine. An agent takes the longest: one whose hub says
/// nothing any more misses it after two keep-alives of 15 s.
const PROGRESS_WITHIN: Duration = Duration::from_secs(60);

pub struct World {
    pub cluster: Cluster,
    pub network: Network,
    pub load: Load,
    folder: PathBuf,
}

impl World {
    /// A cluster of `count` hubs that is formed and under load, with hosts for `hosts`.
    pub fn new(folder: &Path, count: u8, hosts: u8) -> Self {
        Self::with(folder, count, hosts, |_, hub| hub)
    }

    /// The same, with each hub as `prepare` makes it.
    pub fn with(folder: &Path, count: u8, hosts: u8, prepare: impl Fn(usize, Hub) -> Hub) -> Self {
        let network = Network::new(hosts);
        let hubs = (1..=usize::from(count)).map(|node| {
            let (hub, address) = hub_on(&network, folder, node);
            (prepare(node, hub), address)
        });
        let mut cluster = Cluster::of(hubs.collect());
        cluster.start();
        cluster.create_topic(TOPIC, PARTITIONS as usize);
        // Listeners beyond loopback create no topic by themselves.
        cluster.create_topic(TELEMETRY, PARTITIONS as usize);
        let load = Load::start(folder, &cluster.brokers(), &cluster.mqtt_urls(), AGENTS);
        load.wait_progress(PROGRESS_WITHIN);
        Self { cluster, network, load, folder: folder.to_owned() }
    }

    /// A hub on the host of its number, for [`Cluster::add`].
    pub fn another_hub(&self, node: usize) -> (Hub, SocketAddr) {
        hub_on(&self.network, &self.folder, node)
    }

    /// The load gets on: every partition, every device and the group, as things are from now on.
    pub fn wait_progress(&self) {
        self.load.wait_progress(PROGRESS_WITHIN);
    }

    /// The hub that leads the topic's first partition, and one that is another.
    pub fn leader_and_follower(&self) -> (usize, usize) {
        let leader = testkit::wait::until("a leader", PROGRESS_WITHIN, || self.cluster.leader(TOPIC, 0));
        let follower = self.cluster.nodes().find(|node| *node != leader).expect("a second hub");
        (leader, follower)
    }

    /// Ends the load and checks everything: through Kafka, and on the disks of `replicas`, the hubs that hold
    /// every shard.
    pub fn finish(mut self, replicas: &[usize]) {
        let done = self.load.finish(&self.cluster.hub(replicas[0]).brokers());
        self.cluster.wait_replicated();
        let brokers = self.cluster.hub(replicas[0]).brokers();
        check_kafka(&brokers, &done);
        let whole = wait_applied(&mut self.cluster, replicas);
        for &node in replicas {
            let status = self.cluster.hub(node).stop();
            assert!(status.is_some_and(|status| status.success()), "hub {node} stops well: {status:?}");
        }
        let found = replicas
            .iter()
            .map(|&node| (node, replica::partitions(self.cluster.hub(node).data_dir())))
            .collect::<Vec<_>>();
        replica::assert_equal(&found, &whole);
    }
}

/// Waits until every replica has applied everything of the topics under load; answers their ids.
fn wait_applied(cluster: &mut Cluster, replicas: &[usize]) -> BTreeSet<String> {
    testkit::wait::until("every replica to have applied everything", PROGRESS_WITHIN, || {
        let ends: Option<Vec<_>> = replicas.iter().map(|&node| ends(cluster.hub(node))).collect();
        let ends = ends?;
        let ids = ends.first()?.keys().map(|(topic, _)| topic.clone()).collect();
        ends.windows(2).all(|pair| pair[0] == pair[1]).then_some(ids)
    })
}

/// Where each partition of the topics that are not the hubs' own ends on a hub, by topic id and index.
fn ends(hub: &Hub) -> Option<BTreeMap<(String, i64), i64>> {
    let (_, body) = hub.get("/api/v1/topics")?;
    let topics: Vec<Value> = serde_json::from_str(&body).ok()?;
    let mut found = BTreeMap::new();
    for topic in topics.iter().filter(|topic| topic["internal"] == false) {
        for partition in topic["partitions"].as_array()? {
            let key = (topic["id"].as_str()?.to_owned(), partition["partition"].as_i64()?);
            found.insert(key, partition["next_offset"].as_i64()?);
        }
    }
    Some(found)
}

fn hub_on(network: &Network, folder: &Path, node: usize) -> (Hub, SocketAddr) {
    let home = folder.join(format!("hub-{node}"));
    std::fs::create_dir_all(&home).expect("a folder for a hub");
    let host = network.host(node);
    (Hub::new(&home).on_host(host), SocketAddr::from((host.address, CLUSTER_PORT)))
}

fn check_kafka(brokers: &str, done: &Done) {
    assert_eq!(done.failed, Vec::<i64>::new(), "the producer retries until it is answered");
    assert_eq!(done.acknowledged.len() as i64, done.sent, "everything is acknowledged in the end");
    let messages = kafka::read_all(brokers, TOPIC, READ_WITHIN);
    for partition in 0..PARTITIONS {
        let sent: Vec<i64> =
            (0..done.sent).filter(|number| number % i64::from(PARTITIONS) == i64::from(partition)).collect();
        assert_once_in_order(&numbers(&messages, partition), &sent, &[]);
    }
    let stored = messages.into_iter().map(|message| ((message.partition, message.offset), message.value));
    assert_same(&done.seen, &stored.collect());
    let telemetry = kafka::read_all(brokers, TELEMETRY, READ_WITHIN);
    for fed in &done.fed {
        assert_once_in_order(&of_device(&telemetry, &fed.device), &fed.kept, &[]);
    }
}

/// The group saw what is stored: all of it and nothing else.
fn assert_same(seen: &Seen, stored: &Seen) {
    let skipped: Vec<_> = stored.keys().filter(|at| !seen.contains_key(at)).take(10).collect();
    assert!(skipped.is_empty(), "nobody of the group saw {skipped:?}");
    let differing: Vec<_> =
        seen.iter().filter(|(at, value)| stored.get(at) != Some(value)).take(10).collect();
    assert!(differing.is_empty(), "the group saw records that are not there: {differing:?}");
}
