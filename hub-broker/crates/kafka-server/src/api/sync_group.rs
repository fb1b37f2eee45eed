//! SyncGroup.

use groups::{Membership, Sync};
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::session::Session;
use crate::topics::text;
use crate::wire::{Field, Shape, all, since};

pub(crate) struct SyncGroup;

impl Control for SyncGroup {
    type Request = SyncGroupRequest;

    const VERSIONS: Versions = Versions::new(0, 5);
    const SHAPE: &'static [Field] = &[
        all(Shape::String),
        all(Shape::Int32),
        all(Shape::String),
        since(3, Shape::String),
        since(5, Shape::String),
        since(5, Shape::String),
        all(Shape::Structs(&[all(Shape::String), all(Shape::Bytes)])),
    ];

    async fn handle(session: &Session, head: &Head, request: SyncGroupRequest) -> SyncGroupResponse {
        let assignments = request.assignments.into_iter();
        let sync = Sync {
            member: Membership {
                group_id: request.group_id.to_string(),
                member_id: request.member_id.to_string(),
                group_instance_id: request.group_instance_id.map(|id| id.to_string()),
                generation: request.generation_id,
            },
            protocol_type: request.protocol_type.map(|name| name.to_string()),
            protocol_name: request.protocol_name.map(|name| name.to_string()),
            assignments: assignments.map(|one| (one.member_id.to_string(), one.assignment)).collect(),
        };
        match session.context.groups.sync(&session.principal, sync).await {
            Ok(synced) => SyncGroupResponse::default()
                .with_protocol_type((head.version >= 5).then(|| text(synced.protocol_type)))
                .with_protocol_name((head.version >= 5).then(|| text(synced.protocol_name)))
                .with_assignment(synced.assignment),
            Err(error) => SyncGroupResponse::default().with_error_code(errors::code(head, &error)),
        }
    }
}
