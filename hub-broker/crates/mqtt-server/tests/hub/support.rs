//! A hub, and a client that says exactly the bytes it is told to.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use ingest::{Ingest, Produced};
use metadata::{CreateTopic, Metadata, Principal, Topic};
use mqtt_server::{Config, Server};
use schemas::{
    BatchBuilder, BuilderOptions, DeviceId, PartitionIndex, RawBatch, Record, TopicName, key_partition,
};
use shards::{Shards, SyncMode};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::damage::spoil;

/// Whatever takes longer will not come.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Hub {
    pub address: SocketAddr,
    pub metadata: Metadata,
    ingest: Ingest,
    shards: Shards,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
    directory: TempDir,
}

impl Hub {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (machine, views) = Metadata::state_machine();
        let mut config = shards::Config::new(directory.path());
        config.sync = SyncMode::Off;
        config.wal_file_bytes = 8 << 20;
        config.reserve_bytes = 1 << 20;
        let shards = tokio::task::spawn_blocking(move || Shards::start_alone(config, Box::new(machine)))
            .await
            .unwrap()
            .unwrap();
        let this = metadata::Hub::new(shards.identity().node, shards.identity().incarnation);
        let metadata =
            Metadata::start(shards.clone(), views, metadata::Config::default(), this).await.unwrap();
        let ingest = Ingest::new(metadata.clone(), ingest::Config::default());
        let fetch = fetch::Fetch::new(metadata.clone(), fetch::Config::default()).unwrap();
        let mut config = Config::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        change(&mut config);
        let server = Server::bind(config, ingest.clone(), fetch, metadata.clone()).await.unwrap();
        let address = server.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(server.run(shutdown.clone()));
        Self { address, metadata, ingest, shards, shutdown, server, directory }
    }

    /// Stops the front; returns when it has let go of its clients.
    pub async fn stop(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.server).await.unwrap().unwrap();
        self.metadata.stop();
        self.shards.shutdown().await;
    }

    pub async fn create_topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) {
        let config =
            config.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned()))).collect();
        let request = CreateTopic {
            partitions: Some(partitions),
            config,
            ..CreateTopic::new(TopicName::try_from(name).unwrap())
        };
        self.metadata.create_topic(&Principal::anonymous(), request).await.unwrap();
    }

    /// As a Kafka producer does: one record with a key, acknowledged when this returns.
    pub async fn produce(&self, topic: &str, key: &str, value: &str) {
        let topic = self.metadata.topic(&TopicName::try_from(topic).unwrap()).unwrap();
        produce(&self.ingest, &topic, key, &[Some(value)]).await;
    }

    /// Damages the first that was produced with this key and this value.
    pub fn spoil(&self, topic: &str, key: &str, value: &str) {
        let topic = self.metadata.topic(&TopicName::try_from(topic).unwrap()).unwrap();
        let index = key_partition(key.as_bytes(), topic.partition_count());
        spoil(self.directory.path(), topic.partition_id(index), value);
    }

    /// A topic's own setting.
    pub fn config(&self, topic: &str, key: &str) -> Option<String> {
        let topic = self.metadata.topic(&TopicName::try_from(topic).unwrap()).unwrap();
        topic.config.overrides().get(key).cloned()
    }

    /// Every record of a log topic, partition after partition. Waits for nothing: what is acknowledged is there.
    pub fn records(&self, topic: &str) -> Vec<Record> {
        let name = TopicName::try_from(topic).unwrap();
        let Some(topic) = self.metadata.topic(&name) else { return Vec::new() };
        (0..topic.partition_count()).flat_map(|index| self.partition(&name, index)).collect()
    }

    fn partition(&self, name: &TopicName, index: i32) -> Vec<Record> {
        let (_, reader) = self.metadata.partition(name, PartitionIndex(index)).unwrap();
        let (mut at, mut records) = (reader.log_start(), Vec::new());
        while at < reader.high_watermark() {
            let mut bytes = reader.read(at, 1 << 20).unwrap();
            while let Some(batch) = RawBatch::split_first(&mut bytes).unwrap() {
                at = schemas::Offset(batch.header().base_offset + batch.header().offset_span());
                records.extend(batch.records().unwrap().map(Result::unwrap));
            }
        }
        records
    }

    /// The values of a log topic as text.
    pub fn values(&self, topic: &str) -> Vec<String> {
        let text = |record: Record| String::from_utf8(record.value.unwrap().to_vec()).unwrap();
        self.records(topic).into_iter().map(text).collect()
    }
}

/// One batch of records with a key, at the hub that leads; acknowledged when this returns.
pub async fn produce(ingest: &Ingest, topic: &Topic, key: &str, values: &[Option<&str>]) {
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    let now_ms = ingest::system_clock();
    for value in values {
        builder.push(now_ms, Some(key.as_bytes()), value.map(str::as_bytes), &[]).unwrap();
    }
    let partition = key_partition(key.as_bytes(), topic.partition_count());
    let (done, stored) = tokio::sync::oneshot::channel();
    let done = Box::new(move |outcome: Result<_, _>| {
        let _ = done.send(outcome.is_ok());
    });
    let batch = Produced { topic, partition, records: builder.finish().unwrap(), done };
    ingest.produce(&Principal::anonymous(), [batch]);
    assert!(timeout(DEADLINE, stored).await.unwrap().unwrap());
}

impl From<&Hub> for SocketAddr {
    fn from(hub: &Hub) -> Self {
        hub.address
    }
}

/// One packet from the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub first: u8,
    pub body: Bytes,
}

impl Packet {
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The packet id at the front of an acknowledgement.
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }

    /// The reason code of an acknowledgement of 5, 0 where it is left out.
    pub fn reason(&self) -> u8 {
        self.body.get(2).copied().unwrap_or(0)
    }

    /// Whether these bytes are in it: user properties are looked for this way.
    pub fn has(&self, name: &str, value: &str) -> bool {
        let property = [text(name), text(value)].concat();
        self.body.windows(property.len()).any(|window| window == property)
    }
}

pub const PUBLISH: u8 = 3;
pub const PUBACK: u8 = 4;
pub const PUBREC: u8 = 5;
pub const PUBREL: u8 = 6;
pub const PUBCOMP: u8 = 7;
pub const DISCONNECT: u8 = 14;

pub struct Client {
    stream: TcpStream,
    level: u8,
}

impl Client {
    pub async fn open(hub: impl Into<SocketAddr>) -> Self {
        Self { stream: TcpStream::connect(hub.into()).await.unwrap(), level: 0 }
    }

    /// Connects with a clean session and no keep-alive.
    pub async fn connect(hub: impl Into<SocketAddr>, level: u8, id: &str) -> Self {
        Self::connect_with(hub, Connect { level, id, ..Connect::default() }).await.0
    }

    /// Connects and returns the CONNACK, which accepts.
    pub async fn connect_with(hub: impl Into<SocketAddr>, connect: Connect<'_>) -> (Self, Packet) {
        let mut client = Self::open(hub).await;
        client.level = connect.level;
        client.send(&connect.packet()).await;
        let connack = client.read().await.expect("a CONNACK");
        assert_eq!((connack.kind(), connack.body[1]), (2, 0), "{connack:?}");
        (client, connack)
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next packet, or `None` when the hub has closed the connection.
    pub async fn read(&mut self) -> Option<Packet> {
        timeout(DEADLINE, self.read_unbounded()).await.expect("a packet in time")
    }

    async fn read_unbounded(&mut self) -> Option<Packet> {
        let first = self.stream.read_u8().await.ok()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.stream.read_u8().await.ok()?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.ok()?;
        Some(Packet { first, body: body.into() })
    }

    pub async fn publish(&mut self, qos: u8, packet_id: u16, topic: &str, payload: &[u8]) {
        let packet = publish(self.level, qos << 1, packet_id, topic, &[], payload);
        self.send(&packet).await;
    }

    /// Publishes and returns the acknowledgement.
    pub async fn published(&mut self, qos: u8, packet_id: u16, topic: &str, payload: &[u8]) -> Packet {
        self.publish(qos, packet_id, topic, payload).await;
        self.read().await.expect("an acknowledgement")
    }

    pub async fn subscribe(&mut self, filter: &str, options: u8) -> Packet {
        let properties: &[u8] = if self.level == 5 { &[0] } else { &[] };
        let body = [&[0, 1], properties, &text(filter), &[options]].concat();
        self.send(&packet(0x82, &body)).await;
        let suback = self.read().await.expect("a SUBACK");
        assert_eq!(suback.kind(), 9);
        suback
    }

    /// Answers the next PUBLISH at QoS 1 and returns it as (topic, payload).
    pub async fn message(&mut self) -> (String, String) {
        let publish = self.read().await.expect("a PUBLISH");
        let message = read_publish(self.level, &publish);
        if let Some(id) = message.packet_id {
            self.send(&ack(PUBACK, id)).await;
        }
        (message.topic, message.payload)
    }

    /// Waits until the hub has seen everything sent before.
    pub async fn ping(&mut self) {
        self.send(&[0xc0, 0]).await;
        assert_eq!(self.read().await.expect("a PINGRESP").first, 0xd0);
    }

    /// The reason code of the DISCONNECT that ends the connection, or `None` where it just ends.
    pub async fn end(&mut self) -> Option<u8> {
        while let Some(packet) = self.read().await {
            if packet.kind() == DISCONNECT {
                assert_eq!(self.read().await, None, "nothing comes after a DISCONNECT");
                return Some(packet.body[0]);
            }
        }
        None
    }
}

pub struct Connect<'a> {
    pub level: u8,
    pub id: &'a str,
    pub clean: bool,
    pub keep_alive: u16,
    /// Properties of 5, encoded.
    pub properties: Vec<u8>,
    /// Flags of the will, and its fields.
    pub will: Option<(u8, Vec<u8>)>,
}

impl Default for Connect<'_> {
    fn default() -> Self {
        Self { level: 4, id: "", clean: true, keep_alive: 0, properties: Vec::new(), will: None }
    }
}

impl Connect<'_> {
    pub fn packet(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        let mut body = b"\0\x04MQTT".to_vec();
        if let Some((will, _)) = &self.will {
            flags |= will | 4;
        }
        body.extend_from_slice(&[self.level, flags]);
        body.extend_from_slice(&self.keep_alive.to_be_bytes());
        if self.level == 5 {
            put_length(&mut body, self.properties.len());
            body.extend_from_slice(&self.properties);
        }
        body.extend_from_slice(&text(self.id));
        if let Some((_, fields)) = &self.will {
            body.extend_from_slice(fields);
        }
        packet(0x10, &body)
    }
}

/// The CONNECT of an agent.
pub fn agent_connect<'a>(device: &'a str, topics: &[&str]) -> Connect<'a> {
    let mut properties = user_property("headwater-device", device);
    topics.iter().for_each(|topic| properties.extend(user_property("headwater-topic", topic)));
    Connect { level: 5, id: device, properties, ..Connect::default() }
}

pub fn user_property(name: &str, value: &str) -> Vec<u8> {
    [vec![38], text(name), text(value)].concat()
}

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    put_length(&mut bytes, body.len());
    bytes.extend_from_slice(body);
    bytes
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let byte = (length % 128) as u8;
        length /= 128;
        out.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            return;
        }
    }
}

pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

pub fn ack(kind: u8, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![kind << 4 | if kind == PUBREL { 2 } else { 0 }, 2, high, low]
}

/// A PUBLISH with these flags; `properties` only in 5.
pub fn publish(
    level: u8,
    flags: u8,
    packet_id: u16,
    topic: &str,
    properties: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut body = text(topic);
    if flags & 6 != 0 {
        body.extend_from_slice(&packet_id.to_be_bytes());
    }
    if level == 5 {
        put_length(&mut body, properties.len());
        body.extend_from_slice(properties);
    }
    body.extend_from_slice(payload);
    packet(0x30 | flags, &body)
}

pub struct Message {
    pub topic: String,
    pub packet_id: Option<u16>,
    pub payload: String,
}

/// Reads a PUBLISH from the hub. Properties MUST be shorter than 128 bytes.
pub fn read_publish(level: u8, packet: &Packet) -> Message {
    assert_eq!(packet.kind(), PUBLISH, "{packet:?}");
    let mut body = packet.body.clone();
    let length = u16::from_be_bytes([body[0], body[1]]) as usize;
    let topic = String::from_utf8(body[2..2 + length].to_vec()).unwrap();
    body = body.slice(2 + length..);
    let packet_id = (packet.first & 6 != 0).then(|| {
        let id = u16::from_be_bytes([body[0], body[1]]);
        body = body.slice(2..);
        id
    });
    if level == 5 {
        body = body.slice(1 + usize::from(body[0])..);
    }
    Message { topic, packet_id, payload: String::from_utf8(body.to_vec()).unwrap() }
}

pub fn device(id: &str) -> DeviceId {
    DeviceId::try_from(id).unwrap()
}
