//! OffsetFetch, of one group (to version 7) or many (KIP-709).

use std::collections::BTreeMap;

use groups::FetchedOffset;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName as WireName};
use schemas::{PartitionIndex, TopicName};

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::session::Session;
use crate::topics::text;
use crate::wire::{Field, Shape, all, since, until, within};

pub(crate) struct OffsetFetch;

const FIRST_WITH_GROUPS: i16 = 8;

/// Topics and partitions as the client named them; `None` is all that the group has.
type Asked = Option<Vec<(WireName, Vec<i32>)>>;
/// What is answered, by topic.
type Found = Vec<(WireName, Vec<Answer>)>;

/// One partition: −1 where nothing is committed.
struct Answer {
    index: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: String,
    error_code: i16,
}

impl Control for OffsetFetch {
    type Request = OffsetFetchRequest;

    const VERSIONS: Versions = Versions::new(1, 9);
    const SHAPE: &'static [Field] = &[
        until(7, Shape::String),
        until(7, Shape::Structs(&[all(Shape::String), all(Shape::Many(&Shape::Int32))])),
        since(
            8,
            Shape::Structs(&[
                all(Shape::String),
                since(9, Shape::String),
                since(9, Shape::Int32),
                all(Shape::Structs(&[all(Shape::String), all(Shape::Many(&Shape::Int32))])),
            ]),
        ),
        within(7, 9, Shape::Int8),
    ];

    async fn handle(session: &Session, head: &Head, request: OffsetFetchRequest) -> OffsetFetchResponse {
        if head.version >= FIRST_WITH_GROUPS {
            return of_many(session, head, request).await;
        }
        let asked: Asked = request
            .topics
            .map(|topics| topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect());
        match find(session, head, &request.group_id, asked).await {
            Ok(found) => OffsetFetchResponse::default()
                .with_topics(found.into_iter().map(|(name, partitions)| older(name, partitions)).collect()),
            Err((code, topics)) => OffsetFetchResponse::default()
                .with_error_code(code)
                .with_topics(topics.into_iter().map(|(name, partitions)| older(name, partitions)).collect()),
        }
    }
}

async fn of_many(session: &Session, head: &Head, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let mut groups = Vec::new();
    for group in request.groups {
        let asked: Asked = group
            .topics
            .map(|topics| topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect());
        let answer = OffsetFetchResponseGroup::default();
        let answer = match find(session, head, &group.group_id, asked).await {
            Ok(found) => answer
                .with_topics(found.into_iter().map(|(name, partitions)| newer(name, partitions)).collect()),
            Err((code, _)) => answer.with_error_code(code),
        };
        groups.push(answer.with_group_id(group.group_id));
    }
    OffsetFetchResponse::default().with_groups(groups)
}

/// With an error come the partitions that carry it in version 1, which has no other place for it.
async fn find(session: &Session, head: &Head, group: &str, asked: Asked) -> Result<Found, (i16, Found)> {
    let wanted = asked.as_ref().map(|topics| partitions(topics));
    let committed = session.context.groups.committed(&session.principal, group, wanted).await;
    match (committed, asked) {
        (Ok(committed), None) => Ok(all_of(committed)),
        (Ok(committed), Some(asked)) => Ok(as_asked(asked, &committed)),
        (Err(error), asked) => {
            let code = errors::code(head, &error);
            let none = |(name, indexes): (WireName, Vec<i32>)| {
                (name, indexes.into_iter().map(|index| Answer::none(index, code)).collect())
            };
            Err((code, asked.unwrap_or_default().into_iter().map(none).collect()))
        }
    }
}

/// A name that no topic could have has nothing committed.
fn partitions(topics: &[(WireName, Vec<i32>)]) -> Vec<(TopicName, PartitionIndex)> {
    let named = topics.iter().filter_map(|(name, indexes)| {
        let name = TopicName::try_from(name.as_str()).ok()?;
        Some(indexes.iter().map(move |index| (name.clone(), PartitionIndex(*index))))
    });
    named.flatten().collect()
}

fn all_of(committed: Vec<FetchedOffset>) -> Found {
    let mut topics: BTreeMap<TopicName, Vec<Answer>> = BTreeMap::new();
    for offset in committed {
        let answer = Answer::of(&offset);
        topics.entry(offset.topic).or_default().push(answer);
    }
    topics.into_iter().map(|(name, answers)| (WireName(text(name.as_str())), answers)).collect()
}

fn as_asked(asked: Vec<(WireName, Vec<i32>)>, committed: &[FetchedOffset]) -> Found {
    let by_partition: BTreeMap<(&str, i32), &FetchedOffset> =
        committed.iter().map(|offset| ((offset.topic.as_str(), offset.partition.0), offset)).collect();
    let answer = |(name, indexes): (WireName, Vec<i32>)| {
        let find = |index| by_partition.get(&(name.as_str(), index)).map(|offset| Answer::of(offset));
        let answers =
            indexes.into_iter().map(|index| find(index).unwrap_or_else(|| Answer::none(index, 0))).collect();
        (name, answers)
    };
    asked.into_iter().map(answer).collect()
}

impl Answer {
    fn of(offset: &FetchedOffset) -> Self {
        let index = offset.partition.0;
        match &offset.committed {
            None => Self::none(index, 0),
            Some(committed) => Self {
                index,
                offset: committed.offset.0,
                leader_epoch: committed.leader_epoch,
                metadata: committed.metadata.clone(),
                error_code: 0,
            },
        }
    }

    fn none(index: i32, error_code: i16) -> Self {
        Self { index, offset: -1, leader_epoch: -1, metadata: String::new(), error_code }
    }
}

fn older(name: WireName, answers: Vec<Answer>) -> OffsetFetchResponseTopic {
    let partitions = answers.into_iter().map(|answer| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(answer.index)
            .with_committed_offset(answer.offset)
            .with_committed_leader_epoch(answer.leader_epoch)
            .with_metadata(Some(text(answer.metadata)))
            .with_error_code(answer.error_code)
    });
    OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
}

fn newer(name: WireName, answers: Vec<Answer>) -> OffsetFetchResponseTopics {
    let partitions = answers.into_iter().map(|answer| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(answer.index)
            .with_committed_offset(answer.offset)
            .with_committed_leader_epoch(answer.leader_epoch)
            .with_metadata(Some(text(answer.metadata)))
            .with_error_code(answer.error_code)
    });
    OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
}
