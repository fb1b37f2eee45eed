//! CreateTopics.

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use metadata::{CreateTopic, Topic};
use schemas::TopicName;

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::session::Session;
use crate::topics::text;
use crate::wire::{Field, Shape, all};

pub(crate) struct CreateTopics;

/// −1 asks for the cluster's default (KIP-464).
const DEFAULT_PARTITIONS: i32 = -1;
/// KIP-525: where a setting comes from.
const SOURCE_TOPIC: i8 = 1;
const SOURCE_DEFAULT: i8 = 5;

impl Control for CreateTopics {
    type Request = CreateTopicsRequest;

    const VERSIONS: Versions = Versions::new(2, 7);
    const SHAPE: &'static [Field] = &[
        all(Shape::Structs(&[
            all(Shape::String),
            all(Shape::Int32),
            all(Shape::Int16),
            all(Shape::Structs(&[all(Shape::Int32), all(Shape::Many(&Shape::Int32))])),
            all(Shape::Structs(&[all(Shape::String), all(Shape::String)])),
        ])),
        all(Shape::Int32),
        all(Shape::Int8),
    ];

    async fn handle(session: &Session, head: &Head, request: CreateTopicsRequest) -> CreateTopicsResponse {
        let mut results = Vec::new();
        for topic in request.topics {
            results.push(create(session, head, topic, request.validate_only).await);
        }
        CreateTopicsResponse::default().with_topics(results)
    }
}

async fn create(
    session: &Session,
    head: &Head,
    topic: CreatableTopic,
    validate_only: bool,
) -> CreatableTopicResult {
    let answer = CreatableTopicResult::default().with_name(topic.name.clone());
    let refused = |code, message: String| {
        answer.clone().with_error_code(code).with_error_message(Some(text(message))).with_num_partitions(-1)
    };
    if !topic.assignments.is_empty() {
        let message = "a topic's partitions are placed by the cluster".to_owned();
        return refused(errors::invalid_replica_assignment(head), message);
    }
    let name = match TopicName::try_from(topic.name.as_str()) {
        Ok(name) => name,
        Err(error) => return refused(errors::invalid_topic(head), error.to_string()),
    };
    let request = CreateTopic {
        name,
        partitions: (topic.num_partitions != DEFAULT_PARTITIONS).then_some(topic.num_partitions),
        replication_factor: topic.replication_factor,
        config: topic
            .configs
            .iter()
            .map(|setting| (setting.name.to_string(), setting.value.as_ref().map(ToString::to_string)))
            .collect(),
        validate_only,
    };
    match session.context.metadata.create_topic(&session.principal, request).await {
        Ok(created) => describe(session, answer, &created),
        Err(error) => refused(errors::code(head, &error), error.to_string()),
    }
}

fn describe(session: &Session, answer: CreatableTopicResult, topic: &Topic) -> CreatableTopicResult {
    let configs = topic.config.entries().into_iter().map(|entry| {
        CreatableTopicConfigs::default()
            .with_name(text(entry.key))
            .with_value(Some(text(entry.value)))
            .with_config_source(if entry.is_default { SOURCE_DEFAULT } else { SOURCE_TOPIC })
    });
    answer
        .with_topic_id(topic.id.0)
        .with_num_partitions(topic.partition_count())
        .with_replication_factor(replication_factor(session, topic))
        .with_configs(Some(configs.collect()))
}

/// How many replicas the partitions' shards have, or are going to have.
fn replication_factor(session: &Session, topic: &Topic) -> i16 {
    let view = session.context.metadata.view();
    let planned = topic.placed().map(|(_, shard)| {
        let records = view.replicas(u32::from(shard.0) + 1).iter();
        records.filter(|record| !record.leaving).count()
    });
    i16::try_from(planned.min().unwrap_or(0).max(1)).unwrap_or(i16::MAX)
}
