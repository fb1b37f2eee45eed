//! Who belongs to a group, and how that changes.

use std::collections::BTreeSet;
use std::fmt;

use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

use crate::ReplicaId;

/// Who belongs to a group. Empty for a replica that waits for its first snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Membership {
    pub voters: Vec<ReplicaId>,
    pub learners: Vec<ReplicaId>,
    /// The voters before the change that is under way: while there are any, a majority of both is needed.
    pub outgoing: Vec<ReplicaId>,
    /// Old voters that become learners when the change is through.
    pub learners_next: Vec<ReplicaId>,
    /// The leader ends the change by itself.
    pub auto_leave: bool,
}

/// A wish to change a group: in one step, or through a joint membership that the leader leaves by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MembershipChange {
    pub add_learners: Vec<ReplicaId>,
    /// Learners that are to vote.
    pub promote: Vec<ReplicaId>,
    pub remove: Vec<ReplicaId>,
}

/// By node, as people know the replicas: `voters=[1,2,3]`, and who else there is.
impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "voters={}", Nodes(&self.voters))?;
        let others = [("learners", &self.learners), ("outgoing", &self.outgoing)];
        others
            .iter()
            .filter(|(_, ids)| !ids.is_empty())
            .try_for_each(|(who, ids)| write!(f, " {who}={}", Nodes(ids)))
    }
}

/// By node: `learners=[3] voters=[2]` for those that become it, `removed=[1]`.
impl fmt::Display for MembershipChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [("learners", &self.add_learners), ("voters", &self.promote), ("removed", &self.remove)];
        let named = lists.iter().filter(|(_, ids)| !ids.is_empty());
        named.enumerate().try_for_each(|(at, (what, ids))| {
            let gap = if at == 0 { "" } else { " " };
            write!(f, "{gap}{what}={}", Nodes(ids))
        })
    }
}

struct Nodes<'a>(&'a [ReplicaId]);

impl fmt::Display for Nodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<_> = self.0.iter().map(|id| id.node().to_string()).collect();
        write!(f, "[{}]", nodes.join(","))
    }
}

impl Membership {
    /// A change is under way: decisions need a majority of the old and of the new voters.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub fn contains(&self, id: ReplicaId) -> bool {
        self.is_voter(id) || self.learners.contains(&id)
    }

    /// Whether its vote counts, if only among the old voters of a change.
    pub fn is_voter(&self, id: ReplicaId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Whether the group can do without this replica: the voters that are left are a majority, and of the old ones as
    /// well while a change is under way. Then whatever was decided is known to one of them, whatever it has lost.
    pub fn can_spare(&self, id: ReplicaId) -> bool {
        let is_majority_left = |voters: &[ReplicaId]| {
            let left = voters.iter().filter(|voter| **voter != id).count();
            voters.is_empty() || left > voters.len() / 2
        };
        is_majority_left(&self.voters) && is_majority_left(&self.outgoing)
    }

    /// Nobody belongs: the replica waits for its first snapshot.
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// Everyone who belongs, each once, in order.
    pub fn replicas(&self) -> Vec<ReplicaId> {
        let everyone: BTreeSet<_> = self.voters.iter().chain(&self.learners).chain(&self.outgoing).collect();
        everyone.into_iter().copied().collect()
    }

    /// What raft-rs can go by: it ends the process over anything else.
    pub(crate) fn is_sound(&self) -> bool {
        let lists = [&self.voters, &self.learners, &self.outgoing, &self.learners_next];
        if lists.iter().any(|list| !is_set(list)) {
            return false;
        }
        if self.voters.is_empty() {
            return *self == Self::default();
        }
        let learner_votes = self.learners.iter().any(|id| self.is_voter(*id));
        let demoted = |id| self.outgoing.contains(id) && !self.voters.contains(id);
        !learner_votes
            && self.learners_next.iter().all(demoted)
            && (self.is_joint() || (self.learners_next.is_empty() && !self.auto_leave))
    }

    pub(crate) fn to_raft(&self) -> ConfState {
        let ids = |list: &[ReplicaId]| list.iter().map(|id| id.0).collect();
        ConfState {
            voters: ids(&self.voters),
            learners: ids(&self.learners),
            voters_outgoing: ids(&self.outgoing),
            learners_next: ids(&self.learners_next),
            auto_leave: self.auto_leave,
            ..Default::default()
        }
    }

    /// raft-rs keeps its members in hash tables; here they are in order.
    pub(crate) fn from_raft(state: &ConfState) -> Self {
        let ids = |list: &[u64]| {
            let mut ids: Vec<_> = list.iter().copied().map(ReplicaId).collect();
            ids.sort_unstable();
            ids
        };
        Self {
            voters: ids(&state.voters),
            learners: ids(&state.learners),
            outgoing: ids(&state.voters_outgoing),
            learners_next: ids(&state.learners_next),
            auto_leave: state.auto_leave,
        }
    }
}

impl MembershipChange {
    /// What is to change in `now`; `None` if nothing is, or if it cannot change in this way.
    pub(crate) fn to_raft(&self, now: &Membership) -> Option<ConfChangeV2> {
        let promotable = |id| now.learners.contains(id) && !self.remove.contains(id);
        let addable = |id: &ReplicaId| id.0 != raft::INVALID_ID && !now.contains(*id);
        let removable = |id: &ReplicaId| now.contains(*id);
        let possible = is_set(&self.add_learners)
            && is_set(&self.promote)
            && is_set(&self.remove)
            && self.add_learners.iter().all(addable)
            && self.promote.iter().all(promotable)
            && self.remove.iter().all(removable)
            && !(self.promote.is_empty() && now.voters.iter().all(|id| self.remove.contains(id)));
        let single = |kind: ConfChangeType| {
            move |id: &ReplicaId| ConfChangeSingle { change_type: kind, node_id: id.0, ..Default::default() }
        };
        let changes: Vec<_> = (self.add_learners.iter().map(single(ConfChangeType::AddLearnerNode)))
            .chain(self.promote.iter().map(single(ConfChangeType::AddNode)))
            .chain(self.remove.iter().map(single(ConfChangeType::RemoveNode)))
            .collect();
        (possible && !changes.is_empty())
            .then(|| ConfChangeV2 { changes: changes.into(), ..Default::default() })
    }
}

fn is_set(list: &[ReplicaId]) -> bool {
    let distinct: BTreeSet<_> = list.iter().collect();
    distinct.len() == list.len() && list.iter().all(|id| id.0 != raft::INVALID_ID)
}

#[cfg(test)]
mod tests;
