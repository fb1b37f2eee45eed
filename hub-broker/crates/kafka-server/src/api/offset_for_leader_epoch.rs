//! OffsetForLeaderEpoch (KIP-320): a consumer asks whether what it has read was taken back.

use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use schemas::{LeaderEpoch, PartitionIndex};

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::session::Session;
use crate::topics::{by_name, client_epoch};
use crate::wire::{Field, Shape, all, since};

pub(crate) struct OffsetForLeaderEpoch;

impl Control for OffsetForLeaderEpoch {
    type Request = OffsetForLeaderEpochRequest;

    const VERSIONS: Versions = Versions::new(2, 4);
    const SHAPE: &'static [Field] = &[
        since(3, Shape::Int32),
        all(Shape::Structs(&[
            all(Shape::String),
            all(Shape::Structs(&[all(Shape::Int32), all(Shape::Int32), all(Shape::Int32)])),
        ])),
    ];

    async fn handle(
        session: &Session,
        head: &Head,
        request: OffsetForLeaderEpochRequest,
    ) -> OffsetForLeaderEpochResponse {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|asked| answer(session, head, &topic.topic, asked));
            let partitions = partitions.collect();
            OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    }
}

fn answer(session: &Session, head: &Head, topic: &str, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    let answer = EpochEndOffset::default().with_partition(asked.partition);
    let none = |answer: EpochEndOffset| answer.with_leader_epoch(-1).with_end_offset(-1);
    let view = session.context.metadata.view();
    let Some(topic) = by_name(&view, topic) else {
        return none(answer.with_error_code(errors::unknown_topic(head)));
    };
    let partition = topic.partition_id(PartitionIndex(asked.partition));
    let current = client_epoch(asked.current_leader_epoch);
    let wanted = LeaderEpoch(asked.leader_epoch);
    match session.context.fetch.end_of_epoch(&session.principal, partition, current, wanted) {
        Ok(Some((epoch, end))) => answer.with_leader_epoch(epoch.0).with_end_offset(end.0),
        Ok(None) => none(answer),
        Err(error) => none(answer.with_error_code(errors::code(head, &error))),
    }
}
