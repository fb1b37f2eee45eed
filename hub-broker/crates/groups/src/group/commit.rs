//! Who may commit offsets.

use super::{Group, Now};
use crate::api::Membership;
use crate::error::{CoordinatorError, MemberError};
use crate::state::GroupState;

impl Group {
    /// Whether this commit is the group's. A member's commit is a sign of life too.
    pub(crate) fn check_commit(&mut self, now: Now, from: &Membership) -> Result<(), MemberError> {
        if self.state == GroupState::Dead {
            return Err(CoordinatorError::NotAvailable.into());
        }
        if from.generation < 0 && self.state == GroupState::Empty {
            // A consumer that assigns partitions itself, or an administrator.
            return Ok(());
        }
        if from.generation < 0 && from.member_id.is_empty() && from.group_instance_id.is_none() {
            return Err(MemberError::UnknownMember);
        }
        self.check_member(&from.member_id, from.group_instance_id.as_deref())?;
        if from.generation != self.generation {
            return Err(MemberError::IllegalGeneration);
        }
        match self.state {
            GroupState::CompletingRebalance => Err(MemberError::RebalanceInProgress),
            _ => {
                self.hear(&from.member_id, now);
                Ok(())
            }
        }
    }
}
