//! SyncGroup.

use std::collections::HashMap;

use bytes::Bytes;

use super::{Action, Group, Now, Storing, Ticket, Token};
use crate::api::{Sync, Synced};
use crate::error::{CoordinatorError, MemberError};
use crate::state::GroupState;

impl Group {
    pub(crate) fn sync(&mut self, now: Now, request: Sync, to: Token) {
        if let Err(error) = self.check_sync(&request) {
            return self.refuse_sync(to, error);
        }
        let member_id = request.member.member_id.clone();
        match self.state {
            GroupState::PreparingRebalance => self.refuse_sync(to, MemberError::RebalanceInProgress),
            GroupState::CompletingRebalance => self.sync_completing(now, request, &member_id, to),
            GroupState::Stable => {
                self.pending_sync.remove(&member_id);
                let result = Ok(self.synced(&member_id));
                self.actions.push(Action::Synced { to, result });
            }
            GroupState::Empty | GroupState::Dead => self.refuse_sync(to, MemberError::UnknownMember),
        }
    }

    fn check_sync(&self, request: &Sync) -> Result<(), MemberError> {
        if self.state == GroupState::Dead {
            return Err(CoordinatorError::NotAvailable.into());
        }
        let member = &request.member;
        self.check_member(&member.member_id, member.group_instance_id.as_deref())?;
        if member.generation != self.generation {
            return Err(MemberError::IllegalGeneration);
        }
        let differs = |given: &Option<String>, own: &Option<String>| given.is_some() && given != own;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol_name)
        {
            return Err(MemberError::InconsistentProtocol);
        }
        Ok(())
    }

    fn sync_completing(&mut self, now: Now, request: Sync, member_id: &str, to: Token) {
        // One that it had parked before belongs to a connection that it has given up.
        self.answer_sync(member_id, Err(MemberError::RebalanceInProgress));
        if let Some(member) = self.members.get_mut(member_id) {
            member.sync = Some(to);
        }
        self.pending_sync.remove(member_id);
        if self.is_leader(member_id) {
            self.store_assignment(now, request.assignments.into_iter().collect());
        }
    }

    fn store_assignment(&mut self, now: Now, assignment: HashMap<String, Bytes>) {
        let ticket = self.next_ticket();
        let metadata = self.to_metadata(Some(&assignment), now);
        self.storing = Some(Storing::Assignment { ticket, generation: self.generation, assignment });
        self.actions.push(Action::Store { ticket, metadata });
    }

    /// A write of the group's metadata has ended. One that the group no longer waits for changes nothing.
    pub(crate) fn stored(&mut self, now: Now, ended: Ticket, result: Result<(), MemberError>) {
        let current = match &self.storing {
            Some(Storing::Assignment { ticket, .. } | Storing::StaticMember { ticket, .. }) => *ticket,
            None => return,
        };
        if current != ended {
            return;
        }
        match self.storing.take() {
            Some(Storing::Assignment { generation, assignment, .. })
                if self.state == GroupState::CompletingRebalance && generation == self.generation =>
            {
                self.assignment_stored(now, assignment, result);
            }
            Some(Storing::StaticMember { member_id, told_leader, skip_assignment, .. }) => {
                self.static_member_stored(&member_id, told_leader, skip_assignment, result);
                self.hear(&member_id, now);
            }
            _ => {}
        }
    }

    fn assignment_stored(
        &mut self,
        now: Now,
        mut assignment: HashMap<String, Bytes>,
        result: Result<(), MemberError>,
    ) {
        if let Err(error) = result {
            self.propagate_refusal(now, &error);
            return self.rebalance_or_complete_join(now, "the assignment could not be stored");
        }
        for member in self.members.values_mut() {
            member.assignment = assignment.remove(&member.id).unwrap_or_default();
        }
        self.enter(GroupState::Stable, now);
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in &ids {
            let synced = self.synced(id);
            if self.answer_sync(id, Ok(synced)) {
                self.hear(id, now);
            }
        }
    }

    /// The new id is stored: from now on the member is the one that it replaced. Where it is not, the client comes
    /// again without an id, and this is repeated.
    fn static_member_stored(
        &mut self,
        member_id: &str,
        told_leader: Option<String>,
        skip_assignment: bool,
        result: Result<(), MemberError>,
    ) {
        let answer = result.map(|()| {
            let mut joined = self.joined(member_id);
            if skip_assignment {
                joined.skip_assignment = self.is_leader(member_id);
            } else {
                // An old client that hears that it leads would assign anew: it hears of its former id instead.
                joined.leader = told_leader.unwrap_or_default();
                joined.members.clear();
            }
            joined
        });
        self.answer_join(member_id, answer);
    }

    /// The generation comes to nothing: everyone who waits for an assignment is told why.
    pub(super) fn propagate_refusal(&mut self, now: Now, error: &MemberError) {
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in &ids {
            if let Some(member) = self.members.get_mut(id) {
                member.assignment = Bytes::new();
            }
            if self.answer_sync(id, Err(error.clone())) {
                self.hear(id, now);
            }
        }
    }

    pub(super) fn hear(&mut self, member_id: &str, now: Now) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.hear(now.ms);
        }
    }

    fn synced(&self, member_id: &str) -> Synced {
        let assignment = self.members.get(member_id).map(|member| member.assignment.clone());
        Synced {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_name: self.protocol_name.clone().unwrap_or_default(),
            assignment: assignment.unwrap_or_default(),
        }
    }
}
