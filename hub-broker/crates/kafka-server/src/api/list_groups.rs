//! ListGroups.

use groups::ListedGroup as Listed;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;

use crate::answer::Head;
use crate::control::Control;
use crate::entry::Versions;
use crate::errors;
use crate::session::Session;
use crate::topics::text;
use crate::wire::{Field, Shape, since};

pub(crate) struct ListGroups;

/// KIP-848: the groups whose members assign their partitions themselves. There are no others here.
const CLASSIC: &str = "classic";

impl Control for ListGroups {
    type Request = ListGroupsRequest;

    const VERSIONS: Versions = Versions::new(0, 5);
    const SHAPE: &'static [Field] =
        &[since(4, Shape::Many(&Shape::String)), since(5, Shape::Many(&Shape::String))];

    async fn handle(session: &Session, head: &Head, request: ListGroupsRequest) -> ListGroupsResponse {
        match session.context.groups.list(&session.principal).await {
            Ok(groups) => {
                let asked = |group: &Listed| {
                    passes(&request.states_filter, group.state.name())
                        && passes(&request.types_filter, CLASSIC)
                };
                let groups = groups.into_iter().filter(asked).map(|group| answer(head, group));
                ListGroupsResponse::default().with_groups(groups.collect())
            }
            Err(error) => ListGroupsResponse::default().with_error_code(errors::code(head, &error)),
        }
    }
}

fn passes(filter: &[StrBytes], value: &str) -> bool {
    filter.is_empty() || filter.iter().any(|one| one.eq_ignore_ascii_case(value))
}

fn answer(head: &Head, group: Listed) -> ListedGroup {
    let answer = ListedGroup::default()
        .with_group_id(GroupId(text(group.group_id)))
        .with_protocol_type(text(group.protocol_type));
    let answer = if head.version >= 4 { answer.with_group_state(text(group.state.name())) } else { answer };
    if head.version >= 5 { answer.with_group_type(text(CLASSIC)) } else { answer }
}
