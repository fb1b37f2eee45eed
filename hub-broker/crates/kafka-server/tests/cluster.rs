//! The Kafka front of three hubs: what clients are told about leaders, and where they are sent.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;
#[path = "../../fetch/tests/common/cluster.rs"]
mod hubs;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use common::Client;
use hubs::{Cluster, Hub, eventually, shard_of};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, FetchRequest, FetchResponse, FindCoordinatorRequest, MetadataRequest,
    ProduceRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_server::cluster::{API_KEY, Question, Reply, VERSION};
use kafka_server::{Config, Reserved, Server};
use metadata::{Listener, Topic};
use schemas::{BatchBuilder, BuilderOptions, Compression, NodeId};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const NOT_LEADER: i16 = 6;

/// The Kafka front of every hub, each hub in a rack of its own: `rack-1` and so on.
struct Fronts {
    addresses: BTreeMap<NodeId, SocketAddr>,
    groups: Vec<groups::Groups>,
    shutdown: CancellationToken,
    servers: Vec<JoinHandle<()>>,
}

impl Fronts {
    async fn of(cluster: &Cluster) -> Self {
        let shutdown = CancellationToken::new();
        let mut fronts =
            Self { addresses: BTreeMap::new(), groups: Vec::new(), shutdown, servers: Vec::new() };
        for hub in cluster.hubs() {
            fronts.open(hub).await;
        }
        eventually("every hub knows where the others are", async || {
            let has_listener = |hub: &metadata::Hub| hub.listener("kafka").is_some();
            cluster.hubs().all(|hub| hub.metadata.view().hubs().all(has_listener))
        })
        .await;
        fronts
    }

    async fn open(&mut self, hub: &Hub) {
        let mut config = Config::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.node = hub.node;
        let reserved = Reserved::take(&config).unwrap();
        let advertised = reserved.advertised().clone();
        let listener = Listener { name: "kafka".to_owned(), host: advertised.host, port: advertised.port };
        let mut this = hub.metadata.view().hub(hub.node).unwrap().clone();
        this.rack = Some(format!("rack-{}", hub.node));
        this.listeners = vec![listener];
        hub.metadata.register_hub(this).await.unwrap();
        let metadata = hub.metadata.clone();
        let groups = groups::Groups::start(metadata.clone(), groups::Config::default()).unwrap();
        let fetch = fetch::Fetch::new(metadata.clone(), fetch::Config::default()).unwrap();
        let ingest = ingest::Ingest::new(metadata.clone(), ingest::Config::default());
        let server = Server::open(reserved, config, ingest, fetch, groups.clone(), metadata).unwrap();
        self.addresses.insert(hub.node, server.local_addr());
        self.groups.push(groups);
        self.servers.push(tokio::spawn(server.run(self.shutdown.clone())));
    }

    async fn client(&self, hub: NodeId) -> Client {
        Client::connect(self.addresses[&hub]).await
    }

    fn port(&self, hub: NodeId) -> i32 {
        i32::from(self.addresses[&hub].port())
    }

    async fn stop(self) {
        self.shutdown.cancel();
        for server in self.servers {
            server.await.unwrap();
        }
        self.groups.iter().for_each(groups::Groups::stop);
    }
}

fn wire(node: NodeId) -> BrokerId {
    BrokerId(i32::try_from(node.0).unwrap())
}

fn batch(value: &[u8]) -> Bytes {
    let options = BuilderOptions { compression: Compression::None, producer: None, base_timestamp: None };
    let mut builder = BatchBuilder::new(options);
    builder.push(5, None, Some(value), &[]).unwrap();
    builder.finish().unwrap()
}

async fn produce(client: &mut Client, topic: &Topic) -> ProduceResponse {
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(batch(b"value")));
    let topic = TopicProduceData::default().with_topic_id(topic.id.0).with_partition_data(vec![partition]);
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic]);
    client.call(&request, 13).await
}

/// From offset 0, without waiting.
async fn fetch(client: &mut Client, topic: &Topic, epoch: i32, rack: &str) -> FetchResponse {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(0)
        .with_current_leader_epoch(epoch)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_topic_id(topic.id.0).with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_rack_id(StrBytes::from_string(rack.to_owned()))
        .with_topics(vec![topic]);
    client.call(&request, 16).await
}

fn only(answer: &FetchResponse) -> &PartitionData {
    &answer.responses[0].partitions[0]
}

/// Partition 0 of the topic as this hub describes it.
async fn described(client: &mut Client, topic: &Topic) -> MetadataResponsePartition {
    let answer = client.call(&MetadataRequest::default().with_topics(None), 12).await;
    let found = answer.topics.into_iter().find(|it| it.topic_id == topic.id.0).unwrap();
    found.partitions.into_iter().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_who_leads_by_every_hub() {
    let cluster = Cluster::of(3).await;
    let topic = cluster.topic("telemetry", 1).await;
    let shard = shard_of(&topic, 0);
    let fronts = Fronts::of(&cluster).await;

    let mut clients = Vec::new();
    for hub in cluster.hubs() {
        clients.push(fronts.client(hub.node).await);
    }
    eventually("all name the same leader and replicas", async || {
        let leader = cluster.leader(shard).await;
        let mut seen = Vec::new();
        for client in &mut clients {
            let found = described(client, &topic).await;
            let replicas = [found.replica_nodes.len(), found.isr_nodes.len(), found.offline_replicas.len()];
            seen.push((found.leader_id == wire(leader) && replicas == [3, 3, 0], found.leader_epoch));
        }
        seen.iter().all(|one| one.0 && *one == seen[0])
    })
    .await;

    let request = MetadataRequest::default().with_topics(Some(Vec::new()));
    let answer = clients[0].call(&request, 12).await;
    let brokers: Vec<_> = answer.brokers.iter().map(|hub| (hub.node_id, hub.port)).collect();
    let hubs: Vec<_> = cluster.hubs().map(|hub| (wire(hub.node), fronts.port(hub.node))).collect();
    assert_eq!(brokers, hubs);
    let group = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("readers"));
    eventually("all name the same coordinator", async || {
        let mut found = Vec::new();
        for client in &mut clients {
            let answer = client.call(&group, 3).await;
            found.push((answer.error_code, answer.node_id, answer.port));
        }
        found.iter().all(|one| one.0 == 0 && *one == found[0])
    })
    .await;

    eventually("who asks a follower is sent to the leader", async || {
        let (leader, follower) = (cluster.leader(shard).await, cluster.follower(shard).await);
        let mut client = fronts.client(follower).await;
        let produced = produce(&mut client, &topic).await;
        let refused = &produced.responses[0].partition_responses[0];
        let fetched = fetch(&mut client, &topic, -1, "").await;
        let sent_to = |code, named: BrokerId, ports: Vec<i32>| {
            code == NOT_LEADER && named == wire(leader) && ports == [fronts.port(leader)]
        };
        // The lead may move at any time by itself.
        sent_to(
            refused.error_code,
            refused.current_leader.leader_id,
            produced.node_endpoints.iter().map(|hub| hub.port).collect(),
        ) && sent_to(
            only(&fetched).error_code,
            only(&fetched).current_leader.leader_id,
            fetched.node_endpoints.iter().map(|hub| hub.port).collect(),
        ) && produce(&mut fronts.client(leader).await, &topic).await.responses[0].partition_responses[0]
            .error_code
            == 0
    })
    .await;
    fronts.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_reads_in_its_own_rack() {
    let cluster = Cluster::of(3).await;
    let topic = cluster.topic("telemetry", 1).await;
    let shard = shard_of(&topic, 0);
    let fronts = Fronts::of(&cluster).await;
    eventually("a batch is stored", async || {
        let mut client = fronts.client(cluster.leader(shard).await).await;
        produce(&mut client, &topic).await.responses[0].partition_responses[0].error_code == 0
    })
    .await;
    eventually("the leader sends it to the near replica, which serves it", async || {
        let (leader, follower) = (cluster.leader(shard).await, cluster.follower(shard).await);
        let rack = format!("rack-{follower}");
        let sent = fetch(&mut fronts.client(leader).await, &topic, -1, &rack).await;
        let sent = only(&sent);
        let is_sent = sent.preferred_read_replica == wire(follower)
            && sent.records.as_ref().is_none_or(Bytes::is_empty);
        let epoch = described(&mut fronts.client(follower).await, &topic).await.leader_epoch;
        let served = fetch(&mut fronts.client(follower).await, &topic, epoch, &rack).await;
        let served = only(&served);
        is_sent
            && served.error_code == 0
            && served.records.as_ref().is_some_and(|records| !records.is_empty())
    })
    .await;
    let leader = cluster.leader(shard).await;
    let here = fetch(&mut fronts.client(leader).await, &topic, -1, &format!("rack-{leader}")).await;
    assert_eq!(only(&here).preferred_read_replica.0, -1);
    fronts.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_be_reached_is_not_named() {
    let cluster = Cluster::of(3).await;
    let topic = cluster.topic("telemetry", 1).await;
    let shard = shard_of(&topic, 0);
    let fronts = Fronts::of(&cluster).await;
    let leader = cluster.leader(shard).await;
    cluster.cut_off(leader).await;
    let other = cluster.hubs().map(|hub| hub.node).find(|node| *node != leader).unwrap();
    let mut client = fronts.client(other).await;
    eventually("another hub leads, and the lost one is told to be away", async || {
        let found = described(&mut client, &topic).await;
        found.leader_id.0 >= 0
            && found.leader_id != wire(leader)
            && found.offline_replicas == [wire(leader)]
            && !found.isr_nodes.contains(&wire(leader))
    })
    .await;
    fronts.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_cut_off_sends_who_asks_for_a_coordinator_to_the_others_in_turn() {
    let cluster = Cluster::of(3).await;
    let fronts = Fronts::of(&cluster).await;
    let mut client = fronts.client(NodeId(1)).await;
    let group = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("readers"));
    eventually("there are coordinators", async || client.call(&group, 3).await.error_code == 0).await;
    for node in [2, 3] {
        cluster.cut_off(NodeId(node)).await;
    }
    for other in [2, 3] {
        eventually("each of the others is named in its turn", async || {
            let answer = client.call(&group, 3).await;
            let of = |node| (0, wire(NodeId(node)), fronts.port(NodeId(node)));
            (answer.error_code, answer.node_id, answer.port) == of(other)
        })
        .await;
    }
    // Each for a while: a client that asks again and again within a moment is told of one change at most.
    let mut told = Vec::new();
    for _ in 0..50 {
        told.push(client.call(&group, 3).await.node_id);
    }
    assert!(told.windows(2).filter(|pair| pair[0] != pair[1]).count() <= 1, "{told:?}");
    fronts.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_cut_off_names_another_one_with_the_last_leaders_epoch() {
    let cluster = Cluster::of(3).await;
    let topic = cluster.topic("telemetry", 1).await;
    let fronts = Fronts::of(&cluster).await;
    let mut client = fronts.client(NodeId(1)).await;
    cluster.leader(shard_of(&topic, 0)).await;
    let led = described(&mut client, &topic).await;
    for node in [2, 3] {
        cluster.cut_off(NodeId(node)).await;
    }
    let mut named = described(&mut client, &topic).await;
    eventually("another hub is named", async || {
        named = described(&mut client, &topic).await;
        [wire(NodeId(2)), wire(NodeId(3))].contains(&named.leader_id)
    })
    .await;
    assert_eq!((named.error_code, named.leader_epoch), (0, led.leader_epoch));
    fronts.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_clients_are_told_which_hubs_are_missing() {
    let cluster = Cluster::of(3).await;
    let topic = cluster.topic("telemetry", 1).await;
    let fronts = Fronts::of(&cluster).await;
    for node in [2, 3] {
        cluster.cut_off(NodeId(node)).await;
    }
    let mut client = fronts.client(NodeId(1)).await;
    let said = "2 of 3 hubs are not reachable: 2 (127.0.0.1:";
    let wanted = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_static_str("orders")))
        .with_num_partitions(1)
        .with_replication_factor(-1);
    let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
    let created = client.call(&request, 5).await;
    let why = created.topics[0].error_message.as_ref().unwrap();
    assert!(why.contains(said), "{why}");
    eventually("a producer is told the same", async || {
        let produced = produce(&mut client, &topic).await;
        let answer = &produced.responses[0].partition_responses[0];
        answer.error_code == NOT_LEADER && answer.error_message.as_ref().is_some_and(|it| it.contains(said))
    })
    .await;
    let Reply::Status(status) = ask(&mut client, &Question::Status).await else { panic!("a status") };
    assert!(status.no_majority.is_some_and(|why| why.starts_with(said)));
    fronts.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tools_are_told_how_the_cluster_is() {
    let cluster = Cluster::of(3).await;
    let fronts = Fronts::of(&cluster).await;
    let mut client = fronts.client(NodeId(2)).await;
    let Reply::Status(status) = ask(&mut client, &Question::Status).await else { panic!("a status") };
    assert_eq!((status.answered_by, status.hubs.len()), (NodeId(2), 3));
    assert!(status.hubs.iter().all(|hub| hub.connected), "{status:?}");
    let unknown = Question::Drain { node: NodeId(9), draining: true };
    let Reply::Refused { message, retry } = ask(&mut client, &unknown).await else { panic!("a refusal") };
    assert!(message.contains("no hub 9") && !retry, "{message}");
    let drain = Question::Drain { node: NodeId(3), draining: true };
    assert_eq!(ask(&mut client, &drain).await, Reply::Done);
    eventually("the order is known", async || match ask(&mut client, &Question::Status).await {
        Reply::Status(status) => status.hubs.iter().any(|hub| hub.state == "draining"),
        _ => false,
    })
    .await;
    fronts.stop().await;
    cluster.stop().await;
}

async fn ask(client: &mut Client, question: &Question) -> Reply {
    let json = serde_json::to_vec(question).unwrap();
    let mut body = BytesMut::new();
    body.put_i16(API_KEY);
    body.put_i16(VERSION);
    body.put_i32(7);
    body.put_i16(-1);
    body.put_i32(i32::try_from(json.len()).unwrap());
    body.put_slice(&json);
    client.socket.write_i32(i32::try_from(body.len()).unwrap()).await.unwrap();
    client.socket.write_all(&body).await.unwrap();
    let mut answer = client.frame().await.unwrap();
    assert_eq!((answer.get_i32(), answer.get_i32() as usize), (7, answer.len()));
    serde_json::from_slice(&answer).unwrap()
}
