//! Publishers and subscribers at different hubs of one cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use metadata::Topic;
use mqtt_server::{Config, Server};
use schemas::{NodeId, Offset, PartitionIndex};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, Hub, eventually, shard_of};
use crate::damage::spoil;
use crate::support::{Client, DEADLINE, PUBACK, agent_connect, produce};

const MESSAGES: u16 = 40;

/// The MQTT front of every hub.
struct Fronts {
    addresses: BTreeMap<NodeId, SocketAddr>,
    shutdown: CancellationToken,
    servers: Vec<JoinHandle<()>>,
}

impl Fronts {
    async fn of(cluster: &Cluster) -> Self {
        let shutdown = CancellationToken::new();
        let mut fronts = Self { addresses: BTreeMap::new(), shutdown, servers: Vec::new() };
        for hub in cluster.hubs() {
            let ingest = ingest::Ingest::new(hub.metadata.clone(), ingest::Config::default());
            let fetch = fetch::Fetch::new(hub.metadata.clone(), fetch::Config::default()).unwrap();
            let config = Config::new(SocketAddr::from(([127, 0, 0, 1], 0)));
            let server = Server::bind(config, ingest, fetch, hub.metadata.clone()).await.unwrap();
            fronts.addresses.insert(hub.node, server.local_addr().unwrap());
            fronts.servers.push(tokio::spawn(server.run(fronts.shutdown.clone())));
        }
        fronts
    }

    async fn client(&self, hub: NodeId, id: &str) -> Client {
        Client::connect(self.addresses[&hub], 5, id).await
    }

    async fn stop(self) {
        self.shutdown.cancel();
        for server in self.servers {
            server.await.unwrap();
        }
    }
}

/// Publishes these numbers one after another, each at the next hub.
async fn publish(publishers: &mut [Client], numbers: std::ops::Range<u16>) {
    for number in numbers {
        let publisher = &mut publishers[usize::from(number) % 3];
        let puback = publisher.published(1, number + 1, "line/1", number.to_string().as_bytes()).await;
        assert_eq!((puback.kind(), puback.reason() < 0x80), (PUBACK, true), "{puback:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_hears_what_is_published_at_every_hub_also_where_its_own_has_no_replica() {
    let cluster = Cluster::of(4).await;
    let topic = cluster.topic("mqtt", 1).await;
    let shard = shard_of(&topic, 0);
    let fronts = Fronts::of(&cluster).await;
    let hubs = [cluster.leader(shard).await, cluster.follower(shard).await, cluster.stranger(shard).await];
    let (mut subscribers, mut publishers) = (Vec::new(), Vec::new());
    for hub in hubs {
        let mut subscriber = fronts.client(hub, "s").await;
        assert_eq!(subscriber.subscribe("line/+", 1).await.body.last(), Some(&1));
        subscribers.push(subscriber);
        publishers.push(fronts.client(hub, "p").await);
    }
    publish(&mut publishers, 0..MESSAGES).await;
    for subscriber in &mut subscribers {
        for number in 0..MESSAGES {
            assert_eq!(subscriber.message().await, ("line/1".to_owned(), number.to_string()));
        }
    }
    cluster.move_lead(shard).await;
    publish(&mut publishers, MESSAGES..2 * MESSAGES).await;
    for subscriber in &mut subscribers {
        for number in MESSAGES..2 * MESSAGES {
            // One whose leader went away before it had answered may be stored twice.
            while subscriber.message().await.1 != number.to_string() {}
        }
    }
    fronts.stop().await;
    cluster.stop().await;
}

/// Batches of versions of what a device is to be, with a deletion in the midst of each. Answers the newest.
async fn set_over_and_over(cluster: &Cluster, topic: &Topic, batches: usize) -> String {
    let leader = cluster.leader(shard_of(topic, 0)).await;
    let ingest = ingest::Ingest::new(cluster.hub(leader).metadata.clone(), ingest::Config::default());
    let (padding, mut newest) = ("x".repeat(1024), String::new());
    for batch in 0..batches {
        let versions: Vec<String> =
            (0..100).map(|number| format!("{}{padding}", 100 * batch + number)).collect();
        let mut values: Vec<Option<&str>> = versions.iter().map(|version| Some(version.as_str())).collect();
        values.insert(50, None);
        produce(&ingest, topic, "pump-7", &values).await;
        newest = versions.into_iter().next_back().unwrap();
    }
    newest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_told_the_newest_alone_by_a_hub_that_must_ask_others_for_it() {
    const TOPIC: &str = "headwater/v1/pump-7/desired";
    let cluster = Cluster::of(4).await;
    let topic = cluster.topic("headwater.desired", 1).await;
    let mut newest = set_over_and_over(&cluster, &topic, 10).await;
    // As after a restart: nobody has followed anything yet.
    let fronts = Fronts::of(&cluster).await;
    let stranger = cluster.stranger(shard_of(&topic, 0)).await;
    for subscribed in 0..3 {
        let address = fronts.addresses[&stranger];
        let (mut device, _) = Client::connect_with(address, agent_connect("pump-7", &[])).await;
        device.subscribe(TOPIC, 1).await;
        assert_eq!(device.message().await, (TOPIC.to_owned(), newest), "the newest, at {subscribed}");
        newest = set_over_and_over(&cluster, &topic, 1).await;
        let live = timeout(DEADLINE, async { while device.message().await.1 != newest {} }).await;
        assert!(live.is_ok(), "what comes after is heard as it comes");
    }
    fronts.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_told_by_a_hub_what_only_the_other_can_still_read() {
    const TOPIC: &str = "headwater/v1/pump-7/desired";
    let cluster = Cluster::of(2).await;
    let topic = cluster.topic("headwater.desired", 1).await;
    let newest = set_over_and_over(&cluster, &topic, 1).await;
    let partition = topic.partition_id(PartitionIndex(0));
    let end = |hub: &Hub| hub.shards.partition(partition).map(|reader| reader.high_watermark());
    eventually("both hubs have it", async || cluster.hubs().all(|hub| end(hub) == Some(Offset(101)))).await;
    let damaged = cluster.follower(shard_of(&topic, 0)).await;
    spoil(cluster.hub(damaged).data_dir(), partition, &newest);
    let fronts = Fronts::of(&cluster).await;
    let (mut device, _) =
        Client::connect_with(fronts.addresses[&damaged], agent_connect("pump-7", &[])).await;
    device.subscribe(TOPIC, 1).await;
    assert_eq!(device.message().await, (TOPIC.to_owned(), newest));
    fronts.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_cannot_know_the_newest_tells_a_device_nothing() {
    const TOPIC: &str = "headwater/v1/pump-7/desired";
    let cluster = Cluster::of(3).await;
    let topic = cluster.topic("headwater.desired", 1).await;
    cluster.topic("headwater.commands", 1).await;
    let shard = shard_of(&topic, 0);
    let out_of_date = set_over_and_over(&cluster, &topic, 1).await;
    let fronts = Fronts::of(&cluster).await;
    let follower = cluster.follower(shard).await;
    let (mut before, _) =
        Client::connect_with(fronts.addresses[&follower], agent_connect("pump-7", &[])).await;
    before.subscribe(TOPIC, 1).await;
    assert_eq!(before.message().await.1, out_of_date, "it has that");
    cluster.cut_off(follower).await;
    let (mut device, _) =
        Client::connect_with(fronts.addresses[&follower], agent_connect("pump-7", &[])).await;
    assert_eq!(device.subscribe(TOPIC, 1).await.body.last(), Some(&1), "granted all the same");
    device.ping().await;
    fronts.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_a_publisher_is_told_which_hubs_are_missing() {
    let cluster = Cluster::of(3).await;
    cluster.topic("mqtt", 1).await;
    let fronts = Fronts::of(&cluster).await;
    let mut publisher = fronts.client(NodeId(1), "p").await;
    for node in [2, 3] {
        cluster.cut_off(NodeId(node)).await;
    }
    let puback = publisher.published(1, 1, "line/1", b"21.5").await;
    let said = String::from_utf8_lossy(&puback.body).into_owned();
    assert_eq!((puback.kind(), puback.reason()), (PUBACK, 0x97), "{said}");
    assert!(
        said.contains("the shard is not available: 2 of 3 hubs are not reachable: 2 (127.0.0.1:"),
        "{said}"
    );
    fronts.stop().await;
    cluster.stop().await;
}
