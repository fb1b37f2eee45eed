//! DeleteGroups (KIP-229).

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::session::Session;
use crate::wire::{Field, Shape, all};

pub(crate) struct DeleteGroups;

impl Control for DeleteGroups {
    type Request = DeleteGroupsRequest;

    const VERSIONS: Versions = Versions::new(0, 2);
    const SHAPE: &'static [Field] = &[all(Shape::Many(&Shape::String))];

    async fn handle(session: &Session, head: &Head, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
        let mut results = Vec::new();
        for id in request.groups_names {
            let deleted = session.context.groups.delete(&session.principal, &id).await;
            let code = deleted.map_or_else(|error| errors::code(head, &error), |()| 0);
            results.push(DeletableGroupResult::default().with_group_id(id).with_error_code(code));
        }
        DeleteGroupsResponse::default().with_results(results)
    }
}
