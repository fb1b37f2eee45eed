//! JoinGroup.

use groups::{Join, Joined, MemberError, Protocol};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::session::Session;
use crate::topics::text;
use crate::wire::{Field, Shape, all, since};

pub(crate) struct JoinGroup;

/// KIP-394.
const FIRST_WITH_MEMBER_ID_REQUIRED: i16 = 4;
/// KIP-814.
const FIRST_WITH_SKIP_ASSIGNMENT: i16 = 9;

impl Control for JoinGroup {
    type Request = JoinGroupRequest;

    const VERSIONS: Versions = Versions::new(0, 9);
    const SHAPE: &'static [Field] = &[
        all(Shape::String),
        all(Shape::Int32),
        since(1, Shape::Int32),
        all(Shape::String),
        since(5, Shape::String),
        all(Shape::String),
        all(Shape::Structs(&[all(Shape::String), all(Shape::Bytes)])),
        since(8, Shape::String),
    ];

    async fn handle(session: &Session, head: &Head, request: JoinGroupRequest) -> JoinGroupResponse {
        let own_id = request.member_id.clone();
        let joined = session.context.groups.join(&session.principal, join(session, head, request)).await;
        match joined {
            Ok(joined) => accepted(head, joined),
            Err(error) => {
                let member_id = match &error {
                    MemberError::MemberIdRequired { member_id } => text(member_id),
                    _ => own_id,
                };
                JoinGroupResponse::default()
                    .with_error_code(errors::code(head, &error))
                    .with_generation_id(-1)
                    .with_protocol_name(Some(text("")))
                    .with_member_id(member_id)
            }
        }
    }
}

fn join(session: &Session, head: &Head, request: JoinGroupRequest) -> Join {
    let protocols = request.protocols.into_iter();
    Join {
        group_id: request.group_id.to_string(),
        member_id: request.member_id.to_string(),
        group_instance_id: request.group_instance_id.map(|id| id.to_string()),
        client_id: head.client_id.clone(),
        client_host: format!("/{}", session.peer.ip()),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if head.version == 0 {
            request.session_timeout_ms
        } else {
            request.rebalance_timeout_ms
        },
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols
            .map(|protocol| Protocol { name: protocol.name.to_string(), metadata: protocol.metadata })
            .collect(),
        requires_known_member_id: head.version >= FIRST_WITH_MEMBER_ID_REQUIRED,
        supports_skipping_assignment: head.version >= FIRST_WITH_SKIP_ASSIGNMENT,
    }
}

fn accepted(head: &Head, joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| {
        let instance = member.group_instance_id.filter(|_| head.version >= 5);
        JoinGroupResponseMember::default()
            .with_member_id(text(member.member_id))
            .with_group_instance_id(instance.map(text))
            .with_metadata(member.metadata)
    });
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type((head.version >= 7).then(|| text(joined.protocol_type)))
        .with_protocol_name(Some(text(joined.protocol_name)))
        .with_leader(text(joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(text(joined.member_id))
        .with_members(members.collect())
}
