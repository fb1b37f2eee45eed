//! `hub-broker topic …`

use std::collections::BTreeMap;

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicsRequest;
use kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use kafka_protocol::messages::metadata_request::MetadataRequest;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{BrokerId, CreateTopicsRequest};
use kafka_protocol::protocol::StrBytes;
use program::outcome::Failure;
use program::output::line;

use super::client::{Client, check, topic_name};
use super::hubs::{Hubs, Trouble};
use super::table;
use crate::args::TopicCommand;

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
const TIMEOUT_MS: i32 = 30_000;

pub fn run(command: TopicCommand) -> Result<(), Failure> {
    match command {
        TopicCommand::Create { topic, partitions, settings, hub } => {
            create(Hubs::connect(&hub.hub)?.any(), &topic, partitions, &settings)
        }
        TopicCommand::List { internal, hub } => list(Hubs::connect(&hub.hub)?.any(), internal),
        TopicCommand::Describe { topic, hub } => describe(&mut Hubs::connect(&hub.hub)?, &topic),
        TopicCommand::Delete { topic, hub } => delete(Hubs::connect(&hub.hub)?.any(), &topic),
    }
}

fn create(client: &mut Client, topic: &str, partitions: i32, settings: &[String]) -> Result<(), Failure> {
    let mut configs = Vec::new();
    for setting in settings {
        let Some((key, value)) = setting.split_once('=') else {
            return Err(Failure::usage(format!("--config {setting:?} is not KEY=VALUE")));
        };
        configs.push(
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string(key.to_owned()))
                .with_value(Some(StrBytes::from_string(value.to_owned()))),
        );
    }
    let wanted = CreatableTopic::default()
        .with_name(topic_name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
        .with_configs(configs);
    let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(TIMEOUT_MS);
    let answer = client.be_patient().call(&request, 5).map_err(Failure::run)?;
    for result in &answer.topics {
        check(topic, result.error_code, result.error_message.as_ref()).map_err(Failure::run)?;
    }
    line(format!("created {topic} with {partitions} partitions"));
    Ok(())
}

fn list(client: &mut Client, internal: bool) -> Result<(), Failure> {
    let request = MetadataRequest::default().with_topics(None);
    let answer = client.call(&request, 8).map_err(Failure::run)?;
    let mut rows: Vec<Vec<String>> = answer
        .topics
        .iter()
        .filter(|topic| internal || !topic.is_internal)
        .map(|topic| vec![name_of(topic), topic.partitions.len().to_string()])
        .collect();
    rows.sort();
    table::print(&["TOPIC", "PARTITIONS"], &rows);
    Ok(())
}

fn describe(hubs: &mut Hubs, topic: &str) -> Result<(), Failure> {
    let leaders = hubs.patiently(|hubs| hubs.leaders(topic))?;
    let partitions: Vec<i32> = leaders.iter().map(|(partition, _)| *partition).collect();
    let earliest = offsets(hubs, topic, &partitions, EARLIEST)?;
    let latest = offsets(hubs, topic, &partitions, LATEST)?;
    let rows: Vec<Vec<String>> = leaders
        .iter()
        .zip(earliest.iter().zip(&latest))
        .map(|((partition, leader), (first, next))| {
            let kept = next.saturating_sub(*first);
            [i64::from(*partition), i64::from(*leader), *first, *next, kept].map(|n| n.to_string()).into()
        })
        .collect();
    table::print(&["PARTITION", "LEADER", "FIRST OFFSET", "NEXT OFFSET", "OFFSETS KEPT"], &rows);
    Ok(())
}

fn delete(client: &mut Client, topic: &str) -> Result<(), Failure> {
    let request =
        DeleteTopicsRequest::default().with_topic_names(vec![topic_name(topic)]).with_timeout_ms(TIMEOUT_MS);
    let answer = client.be_patient().call(&request, 5).map_err(Failure::run)?;
    for result in &answer.responses {
        check(topic, result.error_code, result.error_message.as_ref()).map_err(Failure::run)?;
    }
    line(format!("deleted {topic}"));
    Ok(())
}

/// An offset of each of these partitions: −2 the first kept, −1 the next to be written.
pub fn offsets(hubs: &mut Hubs, topic: &str, partitions: &[i32], time: i64) -> Result<Vec<i64>, Failure> {
    let found = hubs.patiently(|hubs| {
        let mut found = BTreeMap::new();
        for (leader, led) in by_leader(hubs, topic, partitions)? {
            found.extend(offsets_at(hubs.node(leader)?, topic, &led, time)?);
        }
        Ok(found)
    })?;
    let missing = |partition: &i32| Failure::run(format!("{topic} has no partition {partition}"));
    partitions
        .iter()
        .map(|partition| found.get(partition).copied().ok_or_else(|| missing(partition)))
        .collect()
}

/// These partitions under the node ids of their leaders.
pub fn by_leader(
    hubs: &mut Hubs,
    topic: &str,
    partitions: &[i32],
) -> Result<BTreeMap<i32, Vec<i32>>, Trouble> {
    let mut led: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (partition, leader) in hubs.leaders(topic)? {
        if !partitions.contains(&partition) {
            continue;
        }
        if leader < 0 {
            let why = format!("{topic}, partition {partition}: it has no leader now");
            return Err(Trouble::Passing(Failure::run(why)));
        }
        led.entry(leader).or_default().push(partition);
    }
    Ok(led)
}

fn offsets_at(
    client: &mut Client,
    topic: &str,
    partitions: &[i32],
    time: i64,
) -> Result<Vec<(i32, i64)>, Trouble> {
    let wanted = partitions
        .iter()
        .map(|index| ListOffsetsPartition::default().with_partition_index(*index).with_timestamp(time))
        .collect();
    let wanted = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(wanted);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![wanted]);
    let answer = client.call(&request, 5)?;
    let mut found = Vec::new();
    for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
        let what = format!("{topic}, partition {}", partition.partition_index);
        check(&what, partition.error_code, None)?;
        found.push((partition.partition_index, partition.offset));
    }
    Ok(found)
}

fn name_of(topic: &MetadataResponseTopic) -> String {
    topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default()
}
