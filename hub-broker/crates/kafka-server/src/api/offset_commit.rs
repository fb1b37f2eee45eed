//! OffsetCommit.

use std::collections::HashMap;

use groups::{CommitResult, Membership, OffsetToCommit};
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use schemas::{Offset, PartitionIndex, TopicName};

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::session::Session;
use crate::wire::{Field, Shape, all, since, until};

pub(crate) struct OffsetCommit;

/// Codes by topic and partition, as far as the partition could be asked for.
type Codes = HashMap<(TopicName, i32), i16>;

impl Control for OffsetCommit {
    type Request = OffsetCommitRequest;

    /// Version 9 is the same on the wire for members of classic groups, and librdkafka and Java ask for it.
    const VERSIONS: Versions = Versions::new(2, 9);
    const SHAPE: &'static [Field] = &[
        all(Shape::String),
        all(Shape::Int32),
        all(Shape::String),
        since(7, Shape::String),
        until(4, Shape::Int64),
        all(Shape::Structs(&[
            all(Shape::String),
            all(Shape::Structs(&[
                all(Shape::Int32),
                all(Shape::Int64),
                since(6, Shape::Int32),
                all(Shape::String),
            ])),
        ])),
    ];

    async fn handle(session: &Session, head: &Head, request: OffsetCommitRequest) -> OffsetCommitResponse {
        let member = Membership {
            group_id: request.group_id.to_string(),
            member_id: request.member_id.to_string(),
            group_instance_id: request.group_instance_id.map(|id| id.to_string()),
            generation: request.generation_id_or_member_epoch,
        };
        let offsets = request.topics.iter().flat_map(offsets).collect();
        let committed = session.context.groups.commit(&session.principal, member, offsets).await;
        let outcome = match committed {
            Ok(results) => Ok(codes(head, results)),
            Err(error) => Err(errors::code(head, &error)),
        };
        let topics = request.topics.into_iter().map(|topic| answer(head, topic, &outcome));
        OffsetCommitResponse::default().with_topics(topics.collect())
    }
}

/// A name that no topic could have is left out and answered as an unknown topic.
fn offsets(topic: &OffsetCommitRequestTopic) -> Vec<OffsetToCommit> {
    let Ok(name) = TopicName::try_from(topic.name.as_str()) else { return Vec::new() };
    let offsets = topic.partitions.iter().map(|partition| OffsetToCommit {
        topic: name.clone(),
        partition: PartitionIndex(partition.partition_index),
        offset: Offset(partition.committed_offset),
        leader_epoch: partition.committed_leader_epoch,
        metadata: partition.committed_metadata.as_ref().map(ToString::to_string).unwrap_or_default(),
    });
    offsets.collect()
}

fn codes(head: &Head, results: Vec<CommitResult>) -> Codes {
    let code = |result: CommitResult| {
        let code = result.result.map_or_else(|error| errors::code(head, &error), |()| 0);
        ((result.topic, result.partition.0), code)
    };
    results.into_iter().map(code).collect()
}

fn answer(
    head: &Head,
    topic: OffsetCommitRequestTopic,
    outcome: &Result<Codes, i16>,
) -> OffsetCommitResponseTopic {
    let name = TopicName::try_from(topic.name.as_str()).ok();
    let partitions = topic.partitions.iter().map(|partition| {
        let code = match outcome {
            Err(code) => *code,
            Ok(codes) => name
                .clone()
                .and_then(|name| codes.get(&(name, partition.partition_index)).copied())
                .unwrap_or_else(|| errors::unknown_topic(head)),
        };
        OffsetCommitResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_error_code(code)
    });
    let partitions = partitions.collect();
    OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions)
}
