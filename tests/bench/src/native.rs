//! A producer without a client library between: batches of one size, a request each, many requests on their way.

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use schemas::{BatchBuilder, BuilderOptions, Compression};

/// The last version of Produce with fixed-width lengths.
const VERSION: i16 = 8;
/// Requests on their way on one connection.
const WINDOW: usize = 64;
const ANSWER_BYTES_MAX: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(60);

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub records: u64,
    pub record_bytes: usize,
    /// Records in a batch, which is a request's only one.
    pub batch_records: u64,
}

/// Produces with `acks=all` to all partitions of a topic in turns, a connection and a thread a hub, and returns when
/// all is stored.
pub fn produce(brokers: &str, topic: &str, load: Load) -> Result<()> {
    let batch = batch(load)?;
    let mut left = load.records / load.batch_records;
    while left > 0 {
        left = left.saturating_sub(share_out(&leaders(brokers, topic)?, topic, &batch, left)?);
    }
    Ok(())
}

/// Sends so many batches to the partitions' leaders, each its share, and answers how many were stored: fewer where a
/// leader has changed.
fn share_out(hubs: &BTreeMap<String, Vec<i32>>, topic: &str, batch: &Bytes, count: u64) -> Result<u64> {
    let partitions: usize = hubs.values().map(Vec::len).sum();
    std::thread::scope(|scope| {
        let senders: Vec<_> = hubs
            .iter()
            .map(|(address, led)| {
                let share = (count * led.len() as u64).div_ceil(partitions as u64);
                scope.spawn(move || send(address, topic, led, batch, share).with_context(|| address.clone()))
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().expect("the sender does not panic")).sum()
    })
}

fn batch(load: Load) -> Result<Bytes> {
    let mut builder =
        BatchBuilder::new(BuilderOptions { compression: Compression::None, ..BuilderOptions::default() });
    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let value = vec![b'x'; load.record_bytes];
    for number in 0..load.batch_records {
        builder.push(now_ms, Some(&number.to_be_bytes()), Some(&value), &[])?;
    }
    Ok(builder.finish()?)
}

/// Which partitions each hub leads, by its address.
fn leaders(brokers: &str, topic: &str) -> Result<BTreeMap<String, Vec<i32>>> {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
    let metadata = client.fetch_metadata(Some(topic), TIMEOUT)?;
    let addresses: BTreeMap<i32, String> =
        metadata.brokers().iter().map(|it| (it.id(), format!("{}:{}", it.host(), it.port()))).collect();
    let mut led: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let address = addresses.get(&partition.leader()).context("a partition has no leader")?;
        led.entry(address.clone()).or_default().push(partition.id());
    }
    ensure!(!led.is_empty(), "{topic} has no partitions");
    Ok(led)
}

fn send(address: &str, topic: &str, partitions: &[i32], batch: &Bytes, count: u64) -> Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let requests: Vec<Bytes> =
        partitions.iter().map(|index| request(topic, *index, batch)).collect::<Result<_>>()?;
    let (mut waiting, mut stored, mut has_moved) = (0, 0, false);
    for request in requests.iter().cycle().take(usize::try_from(count)?) {
        if waiting == WINDOW {
            let is_stored = is_stored(&mut answers)?;
            stored += u64::from(is_stored);
            has_moved |= !is_stored;
            waiting -= 1;
        }
        // Where a leader has changed, the rest goes to the new one.
        if has_moved {
            break;
        }
        stream.write_all(request)?;
        waiting += 1;
    }
    for _ in 0..waiting {
        stored += u64::from(is_stored(&mut answers)?);
    }
    Ok(stored)
}

fn request(topic: &str, index: i32, batch: &Bytes) -> Result<Bytes> {
    let partition = PartitionProduceData::default().with_index(index).with_records(Some(batch.clone()));
    let name = TopicName::from(StrBytes::from_string(topic.to_owned()));
    let data = TopicProduceData::default().with_name(name).with_partition_data(vec![partition]);
    let produce = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![data]);
    let header = RequestHeader::default()
        .with_request_api_key(ApiKey::Produce as i16)
        .with_request_api_version(VERSION)
        .with_client_id(Some(StrBytes::from_static_str("bench")));
    let mut body = BytesMut::new();
    header.encode(&mut body, 1)?;
    produce.encode(&mut body, VERSION)?;
    let mut framed = BytesMut::from(&u32::try_from(body.len())?.to_be_bytes()[..]);
    framed.extend_from_slice(&body);
    Ok(framed.freeze())
}

/// Reads one answer; false where the hub does not lead the partition any more.
fn is_stored(answers: &mut impl Read) -> Result<bool> {
    let mut length = [0; 4];
    answers.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length))?;
    ensure!(length <= ANSWER_BYTES_MAX, "an answer of {length} bytes");
    let mut answer = vec![0; length];
    answers.read_exact(&mut answer)?;
    let mut answer = Bytes::from(answer);
    ResponseHeader::decode(&mut answer, 0)?;
    let produced = ProduceResponse::decode(&mut answer, VERSION)?;
    let partition = produced.responses.first().and_then(|topic| topic.partition_responses.first());
    let partition = partition.context("an answer without a partition")?;
    match ResponseError::try_from_code(partition.error_code) {
        None => Ok(true),
        Some(ResponseError::NotLeaderOrFollower) => Ok(false),
        Some(error) => bail!("partition {}: {error}", partition.index),
    }
}
