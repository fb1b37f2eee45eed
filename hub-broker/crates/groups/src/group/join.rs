//! JoinGroup.

use super::member::{Member, millis, protocol_bytes};
use super::{Action, Group, Now, Storing, Token};
use crate::api::{Join, Joined, JoinedMember, Protocol};
use crate::error::{CoordinatorError, MemberError};
use crate::limits::NEW_MEMBER_JOIN_TIMEOUT_MS;
use crate::state::GroupState;

impl Group {
    /// A consumer joins. `fresh_id` becomes its member id if it needs one.
    pub(crate) fn join(&mut self, now: Now, request: &Join, fresh_id: String, to: Token) {
        if let Err(error) = self.check_join(request) {
            return self.refuse_join(to, error);
        }
        if request.member_id.is_empty() {
            self.join_new(now, request, fresh_id, to);
        } else {
            self.join_existing(now, request, to);
        }
    }

    fn check_join(&mut self, request: &Join) -> Result<(), MemberError> {
        if self.state == GroupState::Dead {
            return Err(CoordinatorError::NotAvailable.into());
        }
        let (min, max) = (self.settings.session_timeout_min_ms, self.settings.session_timeout_max_ms);
        let given = request.session_timeout_ms;
        if !(min..=max).contains(&given) {
            return Err(MemberError::InvalidSessionTimeout { given, min, max });
        }
        if !self.has_room(request) {
            // One that rejoins and finds no room is no longer waited for.
            self.remove(&request.member_id);
            return Err(MemberError::GroupFull);
        }
        if !self.supports_protocols(&request.protocol_type, &request.protocols) {
            return Err(MemberError::InconsistentProtocol);
        }
        Ok(())
    }

    fn has_room(&self, request: &Join) -> bool {
        let others = self.members.values().filter(|member| member.id != request.member_id);
        let bytes: usize = others.map(|member| protocol_bytes(&member.protocols)).sum();
        if bytes + protocol_bytes(&request.protocols) > self.settings.metadata_bytes_max {
            return false;
        }
        let member = self.members.get(&request.member_id);
        match self.state {
            // Members that are still to rejoin may not: count those that have.
            GroupState::PreparingRebalance => {
                member.is_some_and(|member| member.join.is_some())
                    || self.members.values().filter(|member| member.join.is_some()).count()
                        < self.settings.members_max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                member.is_some() || self.members.len() < self.settings.members_max
            }
            GroupState::Empty | GroupState::Dead => true,
        }
    }

    fn supports_protocols(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols
                .iter()
                .any(|protocol| self.members.values().all(|member| member.supports(&protocol.name)))
    }

    fn join_new(&mut self, now: Now, request: &Join, fresh_id: String, to: Token) {
        let known = request.group_instance_id.as_ref().and_then(|instance| self.static_members.get(instance));
        if let Some(old_id) = known.cloned() {
            return self.replace_static(now, request, &old_id, fresh_id, to);
        }
        if request.group_instance_id.is_none() && request.requires_known_member_id {
            if self.pending_join.len() >= self.settings.members_max {
                return self.refuse_join(to, MemberError::GroupFull);
            }
            let until = now.ms + millis(request.session_timeout_ms);
            self.pending_join.insert(fresh_id.clone(), until);
            return self.refuse_join(to, MemberError::MemberIdRequired { member_id: fresh_id });
        }
        self.add(now, request, fresh_id, to);
    }

    fn join_existing(&mut self, now: Now, request: &Join, to: Token) {
        let id = &request.member_id;
        if request.group_instance_id.is_none() && self.pending_join.contains_key(id) {
            return self.add(now, request, id.clone(), to);
        }
        if let Err(error) = self.check_member(id, request.group_instance_id.as_deref()) {
            return self.refuse_join(to, error);
        }
        let is_unchanged = self.members.get(id).is_some_and(|member| member.protocols == request.protocols);
        match self.state {
            // It may not have received the answer to its first JoinGroup.
            GroupState::CompletingRebalance if is_unchanged => self.answer_again(id, to),
            // A leader joins again to have partitions assigned anew.
            GroupState::Stable if is_unchanged && !self.is_leader(id) => self.answer_again(id, to),
            GroupState::PreparingRebalance | GroupState::CompletingRebalance | GroupState::Stable => {
                self.update(now, request, to);
            }
            GroupState::Empty | GroupState::Dead => self.refuse_join(to, MemberError::UnknownMember),
        }
    }

    fn answer_again(&mut self, member_id: &str, to: Token) {
        let joined = self.joined(member_id);
        self.actions.push(Action::Joined { to, result: Ok(joined) });
    }

    fn add(&mut self, now: Now, request: &Join, member_id: String, to: Token) {
        self.pending_join.remove(&member_id);
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        if self.state == GroupState::PreparingRebalance && self.is_initial_rebalance() {
            self.new_member_added = true;
        }
        let mut member = Member::new(member_id.clone(), request);
        member.join = Some(to);
        member.session_ends_ms = Some(now.ms + NEW_MEMBER_JOIN_TIMEOUT_MS);
        if let Some(instance) = &member.group_instance_id {
            self.static_members.insert(instance.clone(), member_id.clone());
        }
        self.leader.get_or_insert_with(|| member_id.clone());
        self.members.insert(member_id, member);
        self.rebalance_or_complete_join(now, "a member joined");
    }

    fn update(&mut self, now: Now, request: &Join, to: Token) {
        self.wait_for_join(request, &request.member_id, to);
        self.rebalance_or_complete_join(now, "a member joined again");
    }

    /// Parks the member's request. One that it had parked before belongs to a connection that it has given up.
    fn wait_for_join(&mut self, request: &Join, member_id: &str, to: Token) {
        self.answer_join(member_id, Err(MemberError::RebalanceInProgress));
        if let Some(member) = self.members.get_mut(member_id) {
            member.update(request);
            member.join = Some(to);
        }
    }

    /// A static member is back without its id (KIP-345): it takes over the place of the one before it.
    fn replace_static(&mut self, now: Now, request: &Join, old_id: &str, new_id: String, to: Token) {
        let told_leader = self.leader.clone();
        self.answer_join(old_id, Err(MemberError::FencedInstance));
        self.answer_sync(old_id, Err(MemberError::FencedInstance));
        let Some(mut member) = self.members.remove(old_id) else {
            return self.refuse_join(to, MemberError::UnknownMember);
        };
        let is_awaited = self.pending_sync.remove(old_id);
        member.id.clone_from(&new_id);
        member.hear(now.ms);
        if let Some(instance) = &member.group_instance_id {
            self.static_members.insert(instance.clone(), new_id.clone());
        }
        self.members.insert(new_id.clone(), member);
        if is_awaited {
            self.pending_sync.insert(new_id.clone());
        }
        if self.is_leader(old_id) {
            self.leader = Some(new_id.clone());
        }
        self.wait_for_join(request, &new_id, to);
        match self.state {
            GroupState::Stable if self.select_protocol() == self.protocol_name => {
                self.store_static(now, new_id, told_leader, request.supports_skipping_assignment);
            }
            GroupState::Stable => {
                self.rebalance_or_complete_join(now, "a static member changed the protocol");
            }
            // The leader may already assign to the old id.
            GroupState::CompletingRebalance => self.prepare_rebalance(now, "a static member came back"),
            GroupState::PreparingRebalance => self.complete_join_if_all_joined(now),
            GroupState::Empty | GroupState::Dead => {}
        }
    }

    fn store_static(&mut self, now: Now, member_id: String, told_leader: Option<String>, skip: bool) {
        // One that waits for its own id to be stored has been fenced by nobody: it is told to come again.
        self.give_up_storing_static();
        let ticket = self.next_ticket();
        self.storing = Some(Storing::StaticMember { ticket, member_id, told_leader, skip_assignment: skip });
        let metadata = self.to_metadata(None, now);
        self.actions.push(Action::Store { ticket, metadata });
    }

    fn give_up_storing_static(&mut self) {
        if let Some(Storing::StaticMember { member_id, .. }) = self.storing.take() {
            self.answer_join(&member_id, Err(CoordinatorError::NotAvailable.into()));
        }
    }

    /// What a member is told of the present generation; only the leader hears of the others.
    pub(super) fn joined(&self, member_id: &str) -> Joined {
        let members = if self.is_leader(member_id) { self.joined_members() } else { Vec::new() };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_name: self.protocol_name.clone().unwrap_or_default(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: member_id.to_owned(),
            members,
            skip_assignment: false,
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let one = |member: &Member| JoinedMember {
            member_id: member.id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            metadata: self.chosen_metadata(member),
        };
        self.members.values().map(one).collect()
    }
}
