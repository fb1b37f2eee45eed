//! ListOffsets: earliest, latest, by time (KIP-79), with the greatest timestamp (KIP-734).

use ::fetch::{ListedOffset, OffsetSpec};
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use schemas::PartitionIndex;

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::session::Session;
use crate::topics::{by_name, client_epoch};
use crate::wire::{Field, Shape, all, since};

pub(crate) struct ListOffsets;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// KIP-405: the first offset on the leader's own disk. There is no other tier, so it is the earliest.
const EARLIEST_LOCAL: i64 = -4;

/// KIP-320.
const FIRST_WITH_EPOCH: i16 = 4;

impl Control for ListOffsets {
    type Request = ListOffsetsRequest;

    /// Version 9 asks for the end of a second tier, which does not exist here.
    const VERSIONS: Versions = Versions::new(1, 8);
    const SHAPE: &'static [Field] = &[
        all(Shape::Int32),
        since(2, Shape::Int8),
        all(Shape::Structs(&[
            all(Shape::String),
            all(Shape::Structs(&[all(Shape::Int32), since(4, Shape::Int32), all(Shape::Int64)])),
        ])),
        since(10, Shape::Int32),
    ];

    async fn handle(session: &Session, head: &Head, request: ListOffsetsRequest) -> ListOffsetsResponse {
        let mut topics = Vec::new();
        for topic in request.topics {
            let mut partitions = Vec::new();
            for partition in &topic.partitions {
                partitions.push(answer(session, head, &topic.name, partition).await);
            }
            topics
                .push(ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions));
        }
        ListOffsetsResponse::default().with_topics(topics)
    }
}

async fn answer(
    session: &Session,
    head: &Head,
    topic: &str,
    asked: &ListOffsetsPartition,
) -> ListOffsetsPartitionResponse {
    let answer = ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
    match find(session, head, topic, asked).await {
        Ok(Some(found)) => answer
            .with_offset(found.offset.0)
            .with_timestamp(found.timestamp_ms)
            .with_leader_epoch(if head.version >= FIRST_WITH_EPOCH { found.leader_epoch.0 } else { -1 }),
        // No record matches: −1 for all three, and no error.
        Ok(None) => answer.with_offset(-1).with_timestamp(-1).with_leader_epoch(-1),
        Err(code) => answer.with_error_code(code).with_offset(-1).with_timestamp(-1).with_leader_epoch(-1),
    }
}

async fn find(
    session: &Session,
    head: &Head,
    topic: &str,
    asked: &ListOffsetsPartition,
) -> Result<Option<ListedOffset>, i16> {
    let wanted = match asked.timestamp {
        LATEST => OffsetSpec::Latest,
        EARLIEST | EARLIEST_LOCAL => OffsetSpec::Earliest,
        MAX_TIMESTAMP => OffsetSpec::MaxTimestamp,
        at_ms if at_ms >= 0 => OffsetSpec::Time(at_ms),
        _ => return Err(errors::unsupported_version(head)),
    };
    let view = session.context.metadata.view();
    let topic = by_name(&view, topic).ok_or_else(|| errors::unknown_topic(head))?;
    let partition = topic.partition_id(PartitionIndex(asked.partition_index));
    let epoch = client_epoch(asked.current_leader_epoch);
    let found = session.context.fetch.list_offset(&session.principal, partition, epoch, wanted).await;
    found.map_err(|error| errors::code(head, &error))
}
