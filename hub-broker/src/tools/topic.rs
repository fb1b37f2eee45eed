//! `hub-broker topic …`

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicsRequest;
use kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{BrokerId, CreateTopicsRequest};
use kafka_protocol::protocol::StrBytes;
use program::outcome::Failure;

use super::client::{Client, check, topic_name};
use super::table;
use crate::args::TopicCommand;

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
const TIMEOUT_MS: i32 = 30_000;

pub fn run(command: TopicCommand) -> Result<(), Failure> {
    match command {
        TopicCommand::Create { topic, partitions, settings, hub } => {
            create(&mut connect(&hub.hub)?, &topic, partitions, &settings)
        }
        TopicCommand::List { internal, hub } => list(&mut connect(&hub.hub)?, internal),
        TopicCommand::Describe { topic, hub } => describe(&mut connect(&hub.hub)?, &topic),
        TopicCommand::Delete { topic, hub } => delete(&mut connect(&hub.hub)?, &topic),
    }
}

fn connect(hub: &str) -> Result<Client, Failure> {
    Client::connect(hub).map_err(Failure::run)
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
    let answer = client.call(&request, 5).map_err(Failure::run)?;
    for result in &answer.topics {
        check(topic, result.error_code, result.error_message.as_ref()).map_err(Failure::run)?;
    }
    println!("created {topic} with {partitions} partitions");
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

fn describe(client: &mut Client, topic: &str) -> Result<(), Failure> {
    let partitions = partitions(client, topic)?;
    let earliest = offsets(client, topic, &partitions, EARLIEST)?;
    let latest = offsets(client, topic, &partitions, LATEST)?;
    let rows: Vec<Vec<String>> = partitions
        .iter()
        .zip(earliest.iter().zip(&latest))
        .map(|(partition, (first, next))| {
            let kept = next.saturating_sub(*first);
            vec![partition.to_string(), first.to_string(), next.to_string(), kept.to_string()]
        })
        .collect();
    table::print(&["PARTITION", "FIRST OFFSET", "NEXT OFFSET", "OFFSETS KEPT"], &rows);
    Ok(())
}

fn delete(client: &mut Client, topic: &str) -> Result<(), Failure> {
    let request =
        DeleteTopicsRequest::default().with_topic_names(vec![topic_name(topic)]).with_timeout_ms(TIMEOUT_MS);
    let answer = client.call(&request, 5).map_err(Failure::run)?;
    for result in &answer.responses {
        check(topic, result.error_code, result.error_message.as_ref()).map_err(Failure::run)?;
    }
    println!("deleted {topic}");
    Ok(())
}

/// The partitions of a topic, in order. Never creates it.
pub fn partitions(client: &mut Client, topic: &str) -> Result<Vec<i32>, Failure> {
    let wanted = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
    let request =
        MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(false);
    let answer = client.call(&request, 8).map_err(Failure::run)?;
    let mut found = Vec::new();
    for described in &answer.topics {
        check(topic, described.error_code, None).map_err(Failure::run)?;
        found.extend(described.partitions.iter().map(|partition| partition.partition_index));
    }
    found.sort_unstable();
    Ok(found)
}

/// An offset of each of these partitions: −2 the first kept, −1 the next to be written.
pub fn offsets(client: &mut Client, topic: &str, partitions: &[i32], time: i64) -> Result<Vec<i64>, Failure> {
    let wanted = partitions
        .iter()
        .map(|index| ListOffsetsPartition::default().with_partition_index(*index).with_timestamp(time))
        .collect();
    let wanted = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(wanted);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![wanted]);
    let answer = client.call(&request, 5).map_err(Failure::run)?;
    let mut found = Vec::new();
    for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
        let what = format!("{topic}, partition {}", partition.partition_index);
        check(&what, partition.error_code, None).map_err(Failure::run)?;
        found.push((partition.partition_index, partition.offset));
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, offset)| offset).collect())
}

fn name_of(topic: &MetadataResponseTopic) -> String {
    topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default()
}
