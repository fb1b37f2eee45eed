//! DescribeGroups.

use groups::{DescribedGroup as Described, GroupState};
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::session::Session;
use crate::topics::{OPERATIONS_NOT_ASKED, text};
use crate::wire::{Field, Shape, all, since};

pub(crate) struct DescribeGroups;

/// KIP-1043: a group that does not exist is an error and no longer a dead group.
const FIRST_WITH_NOT_FOUND: i16 = 6;

impl Control for DescribeGroups {
    type Request = DescribeGroupsRequest;

    const VERSIONS: Versions = Versions::new(0, 6);
    const SHAPE: &'static [Field] = &[all(Shape::Many(&Shape::String)), since(3, Shape::Int8)];

    async fn handle(
        session: &Session,
        head: &Head,
        request: DescribeGroupsRequest,
    ) -> DescribeGroupsResponse {
        let mut groups = Vec::new();
        for id in request.groups {
            groups.push(describe(session, head, id).await);
        }
        DescribeGroupsResponse::default().with_groups(groups)
    }
}

async fn describe(session: &Session, head: &Head, id: GroupId) -> DescribedGroup {
    let described = session.context.groups.describe(&session.principal, &id).await;
    let answer = DescribedGroup::default().with_group_id(id).with_authorized_operations(OPERATIONS_NOT_ASKED);
    match described {
        Ok(group) if group.state == GroupState::Dead && head.version >= FIRST_WITH_NOT_FOUND => {
            answer.with_group_state(text(group.state.name())).with_error_code(errors::unknown_group(head))
        }
        Ok(group) => fill(head, answer, group),
        Err(error) => answer.with_error_code(errors::code(head, &error)),
    }
}

fn fill(head: &Head, answer: DescribedGroup, group: Described) -> DescribedGroup {
    let members = group.members.into_iter().map(|member| {
        let instance = member.group_instance_id.filter(|_| head.version >= 4);
        DescribedGroupMember::default()
            .with_member_id(text(member.member_id))
            .with_group_instance_id(instance.map(text))
            .with_client_id(text(member.client_id))
            .with_client_host(text(member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    });
    answer
        .with_group_state(text(group.state.name()))
        .with_protocol_type(text(group.protocol_type))
        .with_protocol_data(text(group.protocol_name))
        .with_members(members.collect())
}
