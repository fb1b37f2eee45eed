//! Heartbeat.

use groups::Membership;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::session::Session;
use crate::wire::{Field, Shape, all, since};

pub(crate) struct Heartbeat;

impl Control for Heartbeat {
    type Request = HeartbeatRequest;

    const VERSIONS: Versions = Versions::new(0, 4);
    const SHAPE: &'static [Field] =
        &[all(Shape::String), all(Shape::Int32), all(Shape::String), since(3, Shape::String)];

    async fn handle(session: &Session, head: &Head, request: HeartbeatRequest) -> HeartbeatResponse {
        let member = Membership {
            group_id: request.group_id.to_string(),
            member_id: request.member_id.to_string(),
            group_instance_id: request.group_instance_id.map(|id| id.to_string()),
            generation: request.generation_id,
        };
        match session.context.groups.heartbeat(&session.principal, member).await {
            Ok(()) => HeartbeatResponse::default(),
            Err(error) => HeartbeatResponse::default().with_error_code(errors::code(head, &error)),
        }
    }
}
