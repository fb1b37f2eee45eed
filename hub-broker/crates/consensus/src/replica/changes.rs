//! Changes of who belongs to the group, and of who leads it.
//!
//! A change takes effect on a replica when its entry is committed and durable there. A change of more than one
//! replica goes through a joint membership, which the leader leaves by itself once it has applied it.

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{ConfChangeV2, Entry, EntryType};
use raft::{Changer, StateRole};

use super::Replica;
use crate::{Action, Membership, MembershipChange, RefusedReason, ReplicaId};

impl Replica {
    pub(super) fn change_membership(
        &mut self,
        change: &MembershipChange,
        token: u64,
        actions: &mut Vec<Action>,
    ) {
        match self.possible_change(change) {
            Ok(payload) => {
                let entry = Entry { data: payload, ..Default::default() };
                self.propose_entry(EntryType::EntryConfChangeV2, entry, token, actions);
            }
            Err(reason) => actions.push(Action::Refused { token, reason }),
        }
    }

    /// A change was proposed, and is not applied yet.
    pub fn has_pending_change(&self) -> bool {
        self.node.raft.has_pending_conf()
    }

    /// raft-rs would put an empty entry in the place of a change that comes too early, and refuse an impossible one
    /// only when it is applied.
    fn possible_change(&self, change: &MembershipChange) -> Result<Bytes, RefusedReason> {
        if let Some(reason) = self.not_leading() {
            return Err(reason);
        }
        let (raft, membership) = (&self.node.raft, self.membership());
        if raft.has_pending_conf() || membership.is_joint() || !raft.apply_to_current_term() {
            return Err(RefusedReason::ChangePending);
        }
        let steps = change.to_raft(&membership).ok_or(RefusedReason::InvalidChange)?;
        if !change.promote.iter().all(|id| self.has_state(*id)) {
            return Err(RefusedReason::ChangePending);
        }
        let mut changer = Changer::new(raft.prs());
        let outcome = match steps.enter_joint() {
            Some(auto_leave) => changer.enter_joint(auto_leave, &steps.changes),
            None => changer.simple(&steps.changes),
        };
        outcome.map_err(|_| RefusedReason::InvalidChange)?;
        let payload = steps.write_to_bytes().map_err(|_| RefusedReason::InvalidChange)?;
        Ok(Bytes::from(payload))
    }

    /// A voter that still waits for its snapshot would not even vote: a group of one could not come back from its own
    /// restart after such a promotion.
    fn has_state(&self, id: ReplicaId) -> bool {
        self.node.raft.prs().get(id.0).is_some_and(|progress| progress.matched > 0)
    }

    /// A committed change takes effect. `None` if it is none after all; every replica comes to the same conclusion.
    pub(super) fn apply_change(&mut self, entry: &Entry) -> Option<Membership> {
        let changed = ConfChangeV2::parse_from_carllerche_bytes(&entry.data)
            .map_err(|error| error.to_string())
            .and_then(|change| self.node.apply_conf_change(&change).map_err(|error| error.to_string()));
        match changed {
            Ok(members) => {
                self.leave_office_if_removed();
                Some(Membership::from_raft(&members))
            }
            Err(error) => {
                tracing::error!(index = entry.index, error, "a change of the membership has no effect");
                None
            }
        }
    }

    /// raft-rs lets a leader that is not a voter any more stand, and panics at the next acknowledgement.
    fn leave_office_if_removed(&mut self) {
        let raft = &mut self.node.raft;
        if raft.state == StateRole::Leader && !raft.promotable() {
            raft.become_follower(raft.term, raft::INVALID_ID);
        }
    }

    pub(super) fn transfer_leadership(&mut self, to: ReplicaId) {
        let raft = &self.node.raft;
        if self.is_leader() && to.0 != raft.id && self.membership().voters.contains(&to) {
            self.node.transfer_leader(to.0);
        }
    }
}
