//! LeaveGroup, of one member (to version 2) or several (KIP-345).

use groups::{Leaving, MemberError};
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::session::Session;
use crate::wire::{Field, Shape, all, since, until};

pub(crate) struct LeaveGroup;

/// From here on several members can leave at once.
const FIRST_WITH_MEMBERS: i16 = 3;

impl Control for LeaveGroup {
    type Request = LeaveGroupRequest;

    const VERSIONS: Versions = Versions::new(0, 5);
    const SHAPE: &'static [Field] = &[
        all(Shape::String),
        until(2, Shape::String),
        since(3, Shape::Structs(&[all(Shape::String), all(Shape::String), since(5, Shape::String)])),
    ];

    async fn handle(session: &Session, head: &Head, request: LeaveGroupRequest) -> LeaveGroupResponse {
        let members = if head.version >= FIRST_WITH_MEMBERS {
            request.members
        } else {
            vec![MemberIdentity::default().with_member_id(request.member_id)]
        };
        let leaving = members.iter().map(|member| Leaving {
            member_id: member.member_id.to_string(),
            group_instance_id: member.group_instance_id.as_ref().map(|id| id.to_string()),
        });
        let left =
            session.context.groups.leave(&session.principal, &request.group_id, leaving.collect()).await;
        match left {
            Err(error) => LeaveGroupResponse::default().with_error_code(errors::code(head, &error)),
            Ok(left) if head.version >= FIRST_WITH_MEMBERS => {
                let answers = members.into_iter().zip(left).map(|(member, left)| {
                    MemberResponse::default()
                        .with_member_id(member.member_id)
                        .with_group_instance_id(member.group_instance_id)
                        .with_error_code(code(head, &left))
                });
                LeaveGroupResponse::default().with_members(answers.collect())
            }
            Ok(left) => {
                LeaveGroupResponse::default().with_error_code(left.first().map_or(0, |left| code(head, left)))
            }
        }
    }
}

fn code(head: &Head, left: &Result<(), MemberError>) -> i16 {
    left.as_ref().map_or_else(|error| errors::code(head, error), |()| 0)
}
