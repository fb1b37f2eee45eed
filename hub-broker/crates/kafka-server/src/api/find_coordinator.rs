//! FindCoordinator, of one group (to version 3) or many (KIP-699).

use groups::CoordinatorError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use schemas::NodeId;

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::hubs;
use crate::leadership::Others;
use crate::session::Session;
use crate::topics::text;
use crate::wire::{Field, Shape, since, until};

pub(crate) struct FindCoordinator;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

impl Control for FindCoordinator {
    type Request = FindCoordinatorRequest;

    /// Version 6 adds the coordinators of share groups.
    const VERSIONS: Versions = Versions::new(0, 5);
    const SHAPE: &'static [Field] =
        &[until(3, Shape::String), since(1, Shape::Int8), since(4, Shape::Many(&Shape::String))];

    async fn handle(
        session: &Session,
        head: &Head,
        request: FindCoordinatorRequest,
    ) -> FindCoordinatorResponse {
        let answer = FindCoordinatorResponse::default();
        if head.version >= 4 {
            let keys = request.coordinator_keys.into_iter();
            return answer
                .with_coordinators(keys.map(|key| find(session, head, key, request.key_type)).collect());
        }
        let found = find(session, head, request.key, request.key_type);
        answer
            .with_error_code(found.error_code)
            .with_error_message(found.error_message)
            .with_node_id(found.node_id)
            .with_host(found.host)
            .with_port(found.port)
    }
}

/// Where this hub may be the one that is cut off, and so knows of none: another one to be asked. Who is no coordinator
/// says so, and the client has two hubs to ask then.
fn coordinator(session: &Session, group: &str) -> Result<NodeId, CoordinatorError> {
    match session.context.groups.coordinator(&session.principal, group) {
        Err(CoordinatorError::NotAvailable) => {
            Others::now(session, &session.context.metadata.view()).any().ok_or(CoordinatorError::NotAvailable)
        }
        known => known,
    }
}

fn find(session: &Session, head: &Head, key: StrBytes, key_type: i8) -> Coordinator {
    let answer = Coordinator::default().with_key(key);
    let refused = |code, message| {
        answer
            .clone()
            .with_node_id((-1).into())
            .with_port(-1)
            .with_error_code(code)
            .with_error_message(Some(StrBytes::from_static_str(message)))
    };
    match key_type {
        GROUP => match coordinator(session, &answer.key) {
            Ok(node) => {
                let view = session.context.metadata.view();
                match hubs::find(session, &view, node) {
                    Some(hub) => {
                        answer.with_node_id(hub.node.into()).with_host(text(hub.host)).with_port(hub.port)
                    }
                    None => refused(errors::no_coordinator(head), "the coordinator cannot be reached here"),
                }
            }
            Err(error) => refused(errors::code(head, &error), "the coordinator is not known"),
        },
        TRANSACTION => refused(errors::no_transactions(head), "this cluster has no transactions"),
        _ => refused(errors::invalid_request(head), "no such kind of coordinator"),
    }
}
