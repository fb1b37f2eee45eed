//! LeaveGroup and Heartbeat.

use super::{Group, Now};
use crate::api::{Leaving, Membership};
use crate::error::{CoordinatorError, MemberError};
use crate::state::GroupState;

impl Group {
    pub(crate) fn heartbeat(&mut self, now: Now, member: &Membership) -> Result<(), MemberError> {
        if self.state == GroupState::Dead {
            return Err(CoordinatorError::NotAvailable.into());
        }
        self.check_member(&member.member_id, member.group_instance_id.as_deref())?;
        if member.generation != self.generation {
            return Err(MemberError::IllegalGeneration);
        }
        self.hear(&member.member_id, now);
        match self.state {
            GroupState::PreparingRebalance => Err(MemberError::RebalanceInProgress),
            GroupState::Empty => Err(MemberError::UnknownMember),
            GroupState::CompletingRebalance | GroupState::Stable | GroupState::Dead => Ok(()),
        }
    }

    /// Each has its own result; the group rebalances once for all.
    pub(crate) fn leave(
        &mut self,
        now: Now,
        members: &[Leaving],
    ) -> Result<Vec<Result<(), MemberError>>, MemberError> {
        if self.state == GroupState::Dead {
            return Err(CoordinatorError::NotAvailable.into());
        }
        let results: Vec<_> = members.iter().map(|member| self.leave_one(member)).collect();
        if results.iter().any(Result::is_ok) && self.state != GroupState::Empty {
            self.rebalance_or_complete_join(now, "a member left");
        }
        Ok(results)
    }

    fn leave_one(&mut self, leaving: &Leaving) -> Result<(), MemberError> {
        let instance = leaving.group_instance_id.as_deref();
        // An administrator names a static member by its instance alone.
        let member_id = if leaving.member_id.is_empty() {
            let named = instance.and_then(|instance| self.static_members.get(instance));
            named.cloned().ok_or(MemberError::UnknownMember)?
        } else if self.pending_join.contains_key(&leaving.member_id) {
            leaving.member_id.clone()
        } else {
            self.check_member(&leaving.member_id, instance)?;
            leaving.member_id.clone()
        };
        tracing::info!(group = %self.id, member = member_id, "the member left");
        self.dismiss(&member_id);
        Ok(())
    }

    /// Removes a member; what it waits for is answered so that it joins anew if it is still there.
    pub(super) fn dismiss(&mut self, member_id: &str) {
        self.answer_join(member_id, Err(MemberError::UnknownMember));
        self.answer_sync(member_id, Err(MemberError::UnknownMember));
        self.remove(member_id);
    }
}
