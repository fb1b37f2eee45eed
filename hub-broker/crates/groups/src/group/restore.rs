//! The group as it is written down.

use std::collections::HashMap;

use bytes::Bytes;

use super::member::{Member, millis};
use super::{Group, Now, Settings};
use crate::api::Protocol;
use crate::records::{GroupMetadata, StoredMember};
use crate::state::GroupState;

impl Group {
    /// What is to be stored: the members with the given assignment, or else with the one that they have.
    pub(super) fn to_metadata(&self, assignment: Option<&HashMap<String, Bytes>>, now: Now) -> GroupMetadata {
        let member = |member: &Member| StoredMember {
            member_id: member.id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: wire(member.rebalance_timeout_ms),
            session_timeout_ms: wire(member.session_timeout_ms),
            subscription: self.chosen_metadata(member),
            assignment: match assignment {
                Some(all) => all.get(&member.id).cloned().unwrap_or_default(),
                None => member.assignment.clone(),
            },
        };
        GroupMetadata {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol_name.clone(),
            leader: self.leader.clone(),
            state_since_ms: now.wall_ms,
            members: self.members.values().map(member).collect(),
        }
    }

    /// The group as it was stored last. Its members have a whole session to be heard of again.
    pub(crate) fn restore(id: &str, settings: Settings, now: Now, stored: GroupMetadata) -> Self {
        let mut group = Self::new(id, settings, now);
        group.generation = stored.generation;
        group.protocol_type = Some(stored.protocol_type).filter(|name| !name.is_empty());
        group.state_since_ms = stored.state_since_ms;
        if stored.members.is_empty() {
            return group;
        }
        group.state = GroupState::Stable;
        group.protocol_name = stored.protocol;
        group.leader = stored.leader;
        let protocol = group.protocol_name.clone().unwrap_or_default();
        for member in stored.members {
            let mut member = restore_member(member, &protocol);
            member.hear(now.ms);
            if let Some(instance) = &member.group_instance_id {
                group.static_members.insert(instance.clone(), member.id.clone());
            }
            group.members.insert(member.id.clone(), member);
        }
        group
    }
}

fn restore_member(stored: StoredMember, protocol: &str) -> Member {
    Member {
        id: stored.member_id,
        group_instance_id: stored.group_instance_id,
        client_id: stored.client_id,
        client_host: stored.client_host,
        rebalance_timeout_ms: millis(stored.rebalance_timeout_ms),
        session_timeout_ms: millis(stored.session_timeout_ms),
        protocols: vec![Protocol { name: protocol.to_owned(), metadata: stored.subscription }],
        assignment: stored.assignment,
        is_new: false,
        join: None,
        sync: None,
        session_ends_ms: None,
    }
}

fn wire(ms: u64) -> i32 {
    i32::try_from(ms).unwrap_or(i32::MAX)
}
