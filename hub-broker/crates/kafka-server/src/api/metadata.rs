//! Metadata: the hubs and the topics, and the way topics come into being by being named.

use std::sync::Arc;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName as WireName};
use metadata::{PartitionPlacement, Topic, View};
use schemas::{NodeId, TopicName};

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::hubs;
use crate::leadership::{self, Others};
use crate::limits::{AUTO_CREATED_TOPICS_MAX, LOOK_ROUND_MAX};
use crate::session::Session;
use crate::topics::{OPERATIONS_NOT_ASKED, TopicRef, text};
use crate::wire::{Field, Shape, all, since, within};

pub(crate) struct Metadata;

impl Control for Metadata {
    type Request = MetadataRequest;

    const VERSIONS: Versions = Versions::new(0, 13);
    const SHAPE: &'static [Field] = &[
        all(Shape::Structs(&[since(10, Shape::Uuid), all(Shape::String)])),
        since(4, Shape::Int8),
        within(8, 10, Shape::Int8),
        since(8, Shape::Int8),
    ];

    async fn handle(session: &Session, head: &Head, request: MetadataRequest) -> MetadataResponse {
        session.context.metadata.shards().peers().look_round(LOOK_ROUND_MAX).await;
        let others = Others::now(session, &session.context.metadata.view());
        let topics = match wanted(head, request.topics) {
            None => every_topic(session, &others),
            Some(named) => {
                let auto_create = request.allow_auto_topic_creation;
                named_topics(session, head, named, auto_create, &others).await
            }
        };
        let view = session.context.metadata.view();
        let brokers = hubs::list(session, &view).into_iter().map(|hub| {
            MetadataResponseBroker::default()
                .with_node_id(hub.node.into())
                .with_host(text(hub.host))
                .with_port(hub.port)
                .with_rack(hub.rack.map(text))
        });
        MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_cluster_id(Some(text(&view.cluster_id)))
            .with_controller_id(hubs::wire_id(hubs::controller(session, &view)).into())
            .with_topics(topics)
            .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED)
    }
}

/// `None` is every topic: null, or an empty list in version 0, which knows no null.
fn wanted(head: &Head, topics: Option<Vec<MetadataRequestTopic>>) -> Option<Vec<MetadataRequestTopic>> {
    topics.filter(|topics| head.version > 0 || !topics.is_empty())
}

fn every_topic(session: &Session, others: &Others) -> Vec<MetadataResponseTopic> {
    let view = session.context.metadata.view();
    view.topics().map(|topic| describe(session, &view, topic, others)).collect()
}

async fn named_topics(
    session: &Session,
    head: &Head,
    named: Vec<MetadataRequestTopic>,
    auto_create: bool,
    others: &Others,
) -> Vec<MetadataResponseTopic> {
    let mut creations_left = if auto_create { AUTO_CREATED_TOPICS_MAX } else { 0 };
    let mut answers = Vec::new();
    for topic in named {
        let answer = match topic.name {
            Some(name) => by_name(session, head, name, &mut creations_left, others).await,
            None => by_id(session, head, TopicRef::Id(topic.topic_id), others),
        };
        answers.push(answer);
    }
    answers
}

async fn by_name(
    session: &Session,
    head: &Head,
    wire_name: WireName,
    creations_left: &mut usize,
    others: &Others,
) -> MetadataResponseTopic {
    let refused = |code| MetadataResponseTopic::default().with_error_code(code);
    let Ok(name) = TopicName::try_from(wire_name.as_str()) else {
        return refused(errors::invalid_topic(head)).with_name(Some(wire_name));
    };
    let metadata = &session.context.metadata;
    let known = metadata.topic(&name);
    if known.is_none() && *creations_left == 0 {
        return refused(errors::unknown_topic(head)).with_name(Some(wire_name));
    }
    let topic = match known {
        Some(topic) => Ok(topic),
        None => {
            *creations_left -= 1;
            metadata.ensure_topic(&session.principal, &name).await
        }
    };
    match topic {
        Ok(topic) => describe(session, &metadata.view(), &topic, others),
        Err(error) => refused(errors::code(head, &error)).with_name(Some(wire_name)),
    }
}

fn by_id(session: &Session, head: &Head, id: TopicRef, others: &Others) -> MetadataResponseTopic {
    let view = session.context.metadata.view();
    match (id.find(&view), id) {
        (Some(topic), _) => describe(session, &view, topic, others),
        (None, TopicRef::Id(id)) => {
            MetadataResponseTopic::default().with_error_code(errors::unknown_topic_id(head)).with_topic_id(id)
        }
        (None, TopicRef::Name(_)) => {
            MetadataResponseTopic::default().with_error_code(errors::unknown_topic(head))
        }
    }
}

fn describe(session: &Session, view: &View, topic: &Arc<Topic>, others: &Others) -> MetadataResponseTopic {
    let partitions = (0..)
        .zip(&topic.partitions)
        .map(|(index, placement)| describe_partition(session, view, index, placement, others));
    MetadataResponseTopic::default()
        .with_name(Some(WireName(text(topic.name.as_str()))))
        .with_topic_id(topic.id.0)
        .with_is_internal(topic.name.is_internal())
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(OPERATIONS_NOT_ASKED)
}

fn describe_partition(
    session: &Session,
    view: &View,
    index: i32,
    placement: &PartitionPlacement,
    others: &Others,
) -> MetadataResponsePartition {
    let replicas = leadership::replicas(session, view, placement.shard());
    let nodes = |nodes: &[NodeId]| nodes.iter().map(|node| hubs::wire_id(*node).into()).collect();
    let answer = MetadataResponsePartition::default()
        .with_partition_index(index)
        .with_replica_nodes(nodes(&replicas.all))
        .with_isr_nodes(nodes(&replicas.in_sync))
        .with_offline_replicas(nodes(&replicas.offline));
    match leadership::of(session, placement) {
        Some(leader) => {
            answer.with_leader_id(hubs::wire_id(leader.node).into()).with_leader_epoch(leader.epoch.0)
        }
        // The client asks again soon; where this hub may be the one that is cut off, it asks another one.
        None => match others.of(&replicas, index) {
            Some(node) => answer
                .with_leader_id(hubs::wire_id(node).into())
                .with_leader_epoch(leadership::last_epoch(session, placement).0),
            None => answer
                .with_error_code(errors::LEADER_NOT_AVAILABLE)
                .with_leader_id((-1).into())
                .with_leader_epoch(-1),
        },
    }
}
