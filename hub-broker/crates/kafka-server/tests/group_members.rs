//! Consumer groups through the Kafka front, in the oldest and the newest versions that are offered.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Client, Hub};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

const TOPIC: StrBytes = StrBytes::from_static_str("telemetry");

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str("readers"))
}

async fn make_topic(client: &mut Client) {
    let topic = MetadataRequestTopic::default().with_name(Some(TopicName(TOPIC)));
    let request =
        MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(true);
    assert_eq!(client.call(&request, 12).await.topics[0].error_code, 0);
}

fn join(member_id: StrBytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(Bytes::from_static(b"what I read"));
    JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_member_id(member_id)
        .with_protocols(vec![protocol])
}

/// The coordinator reads its offsets at the start; clients ask again until it has.
const LOAD_IN_PROGRESS: i16 = 14;
const MEMBER_ID_REQUIRED: i16 = 79;

/// Joins as clients do: again while the coordinator loads, and again with the id that it gave.
async fn joined(client: &mut Client, version: i16) -> JoinGroupResponse {
    let mut request = join(StrBytes::default());
    if version == 0 {
        request = request.with_rebalance_timeout_ms(-1);
    }
    let settled = async {
        loop {
            let answer = client.call(&request, version).await;
            match answer.error_code {
                LOAD_IN_PROGRESS => tokio::task::yield_now().await,
                MEMBER_ID_REQUIRED => request.member_id = answer.member_id,
                _ => return answer,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settled).await.unwrap()
}

/// `version` is that of the offset fetch. The committed offset, or −1.
async fn committed(client: &mut Client, version: i16, partition: i32) -> i64 {
    let name = TopicName(TOPIC);
    if version < 8 {
        let topic =
            OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(vec![partition]);
        let request = OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![topic]));
        return client.call(&request, version).await.topics[0].partitions[0].committed_offset;
    }
    let topic = OffsetFetchRequestTopics::default().with_name(name).with_partition_indexes(vec![partition]);
    let of = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(vec![topic]));
    let answer = client.call(&OffsetFetchRequest::default().with_groups(vec![of]), version).await;
    assert_eq!(answer.groups[0].error_code, 0);
    answer.groups[0].topics[0].partitions[0].committed_offset
}

/// One life of a member, all in these versions of join, sync, heartbeat, commit, fetch and leave.
async fn one_life(client: &mut Client, [join, sync, heartbeat, commit, fetch, leave]: [i16; 6], offset: i64) {
    let member = joined(client, join).await;
    assert_eq!((member.error_code, member.members.len()), (0, 1));
    assert_eq!(member.leader, member.member_id);
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(member.member_id.clone())
        .with_assignment(Bytes::from_static(b"all of it"));
    let request = SyncGroupRequest::default()
        .with_group_id(group())
        .with_generation_id(member.generation_id)
        .with_member_id(member.member_id.clone())
        .with_assignments(vec![assignment]);
    let synced = client.call(&request, sync).await;
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all of it"[..]));

    let request = HeartbeatRequest::default()
        .with_group_id(group())
        .with_generation_id(member.generation_id)
        .with_member_id(member.member_id.clone());
    assert_eq!(client.call(&request, heartbeat).await.error_code, 0);
    let stale = request.with_generation_id(member.generation_id + 1);
    assert_eq!(client.call(&stale, heartbeat).await.error_code, 22);

    let partition = |index| {
        OffsetCommitRequestPartition::default().with_partition_index(index).with_committed_offset(offset)
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(TOPIC))
        .with_partitions(vec![partition(1), partition(99)]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(member.generation_id)
        .with_member_id(member.member_id.clone())
        .with_topics(vec![topic]);
    let answer = client.call(&request, commit).await;
    let codes: Vec<_> = answer.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!(codes, [0, 3], "partition 99 does not exist");
    assert_eq!(committed(client, fetch, 1).await, offset);
    assert_eq!(committed(client, fetch, 2).await, -1);

    let request = LeaveGroupRequest::default().with_group_id(group());
    let request = if leave < 3 {
        request.with_member_id(member.member_id)
    } else {
        request.with_members(vec![MemberIdentity::default().with_member_id(member.member_id)])
    };
    let left = client.call(&request, leave).await;
    assert_eq!((left.error_code, left.members.first().map_or(0, |member| member.error_code)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_lives_in_the_oldest_and_the_newest_versions() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    make_topic(&mut client).await;
    one_life(&mut client, [0, 0, 0, 2, 1, 0], 5).await;
    one_life(&mut client, [3, 2, 2, 5, 5, 2], 6).await;
    one_life(&mut client, [5, 3, 3, 7, 7, 3], 7).await;
    one_life(&mut client, [9, 5, 4, 9, 9, 5], 8).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_listed_described_and_deleted() {
    let hub = Hub::start().await;
    let mut client = hub.client().await;
    make_topic(&mut client).await;
    one_life(&mut client, [9, 5, 4, 9, 9, 5], 1).await;
    let listed = client.call(&ListGroupsRequest::default(), 5).await;
    assert_eq!(listed.groups.len(), 1);
    assert_eq!(
        (listed.groups[0].group_state.as_str(), listed.groups[0].group_type.as_str()),
        ("Empty", "classic")
    );

    let member = joined(&mut client, 9).await;
    let request = DescribeGroupsRequest::default().with_groups(vec![group()]);
    for version in 0..=6 {
        let described = client.call(&request, version).await;
        assert_eq!((described.groups[0].error_code, described.groups[0].members.len()), (0, 1));
    }
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
    assert_eq!(client.call(&delete, 2).await.results[0].error_code, 68, "it has a member");
    let leave = LeaveGroupRequest::default().with_group_id(group()).with_member_id(member.member_id);
    assert_eq!(client.call(&leave, 0).await.error_code, 0);
    assert_eq!(client.call(&delete, 2).await.results[0].error_code, 0);
    assert_eq!(client.call(&request, 6).await.groups[0].error_code, 69);
    hub.stop().await;
}
