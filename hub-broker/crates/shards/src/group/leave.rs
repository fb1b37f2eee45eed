//! Leave for damaged replicas to give themselves up: asked for, and given; see `leave`.

use std::collections::BTreeMap;

use consensus::{MembershipChange, ReplicaId};

use super::Group;
use super::pleas::Pleas;
use crate::leave::{Answer, Plea};
use crate::limits::{LEAVE_FORGOTTEN_TICKS, LEAVE_TICKS, LEAVE_WAIT_TICKS, QUIET_LOOKS_MAX};
use crate::observe;
use crate::outbox::{Outbox, Wish};

/// Leave is given by one of so many answers of a leader, or there are too few who stay.
const DENIALS_MAX: u32 = (LEAVE_WAIT_TICKS / LEAVE_TICKS as u64) as u32 + 2;

/// Whoever is damaged asks again before that.
const FELLOW_TICKS: u32 = 3 * LEAVE_TICKS;

#[derive(Default)]
pub(super) struct Leaves {
    /// What this leader was asked in its term.
    asked: Pleas,
    /// Ticks until the replica here asks again.
    asks_in: u32,
    /// How often the leader of this term has denied it leave.
    denials: (u64, u32),
    /// That it is kept all the same was said.
    is_kept: bool,
    /// Who has asked this leader while it was damaged itself, and the ticks since.
    fellows: BTreeMap<ReplicaId, u32>,
    /// The leader that has answered last, its term, and whether it is damaged as well.
    heard: Option<(ReplicaId, u64, bool)>,
    /// Ticks since it has given leave, if it has lately.
    leave_ticks: Option<u64>,
}

impl Leaves {
    /// A leader has answered that the replica is to stay. Another one begins anew: it does not know yet who keeps up with it.
    fn deny(&mut self, term: u64) {
        let before = if self.denials.0 == term { self.denials.1 } else { 0 };
        self.denials = (term, before.saturating_add(1));
    }
}

impl Group {
    /// Where the damage will not be mended, asks the leader from time to time to be let go.
    pub(super) fn plead(&mut self, outbox: &mut Outbox) {
        self.count_pleas();
        self.leaves.asks_in = self.leaves.asks_in.saturating_sub(1);
        if self.leaves.asks_in > 0 {
            return;
        }
        if !self.is_damaged() || !self.is_hopeless() {
            (self.leaves.denials, self.leaves.is_kept) = ((0, 0), false);
            return;
        }
        self.leaves.asks_in = LEAVE_TICKS;
        if self.is_serving() {
            // It is damaged as well.
            self.leaves.deny(self.replica.term());
        }
        let is_denied = self.leaves.denials.1 > DENIALS_MAX;
        if (is_denied || !self.membership.can_spare(self.own))
            && !std::mem::replace(&mut self.leaves.is_kept, true)
        {
            tracing::error!(
                group = %self.id, own = %self.own,
                "the replica is damaged and its group cannot do without it: it is kept, and what is damaged is not served"
            );
            observe::kept_damaged();
        }
        if let Some(leader) = self.replica.leader().filter(|leader| *leader != self.own) {
            let term = self.replica.term();
            outbox.wishes.push(Wish::Plead(Plea { group: self.id.0, replica: self.own, leader, term }));
        }
    }

    fn count_pleas(&mut self) {
        let (commit, quiet_looks) = (self.commit(), &self.quiet_looks);
        let is_heard = |id| quiet_looks.get(&id).is_some_and(|looks| *looks < QUIET_LOOKS_MAX);
        self.leaves.asked.tick(commit, is_heard);
        let leave_ticks = self.leaves.leave_ticks.map(|ticks| ticks + 1);
        self.leaves.leave_ticks = leave_ticks.filter(|ticks| *ticks < LEAVE_FORGOTTEN_TICKS);
        self.leaves.fellows.values_mut().for_each(|ticks| *ticks += 1);
        self.leaves.fellows.retain(|_, ticks| *ticks <= FELLOW_TICKS);
    }

    /// Whether the replica that asks may go. What it has, but for the last moments, must be where the group goes on.
    pub(crate) fn give_leave(&mut self, plea: &Plea) -> Answer {
        let is_asked =
            plea.leader == self.own && plea.replica != self.own && plea.term == self.replica.term();
        if !is_asked || !self.is_serving() {
            return Answer::Stay;
        }
        if self.is_damaged() {
            self.leaves.fellows.insert(plea.replica, 0);
            return Answer::DamagedAsWell;
        }
        match self.can_let_go(plea) {
            true => Answer::Go,
            false => Answer::Stay,
        }
    }

    fn can_let_go(&mut self, plea: &Plea) -> bool {
        if self.membership.is_joint() || self.replica.has_pending_change() {
            return false;
        }
        if !self.membership.contains(plea.replica) {
            return true;
        }
        let membership = &self.membership;
        self.leaves.asked.retain(|id| membership.contains(id));
        let Some(needed) = self.leaves.asked.hear(plea.replica) else { return false };
        self.count_in_sync();
        let progress = self.progress();
        let staying = progress.iter().filter(|it| {
            it.id != plea.replica
                && it.matched >= needed
                && self.in_sync.contains(&it.id)
                && self.membership.voters.contains(&it.id)
                && !self.leaves.asked.is_let_go(it.id)
        });
        let given = staying.count() > self.membership.voters.len() / 2;
        if given {
            self.leaves.asked.let_go(plea.replica);
        }
        given
    }

    /// Whether those whom this leader has not let go are a majority of the voters that a change leaves.
    pub(super) fn bears(&self, change: &MembershipChange) -> bool {
        bears(&self.membership.voters, change, |id| self.leaves.asked.is_let_go(id))
    }

    /// The leader has said whether it is any better. Another than before may give what is damaged here, and so may one that
    /// is so no more, and whoever is back where leave is given that was not.
    pub(crate) fn hear_of_leader(&mut self, plea: &Plea, answer: Answer) {
        if plea.replica != self.own {
            return;
        }
        let heard = (plea.leader, plea.term, answer == Answer::DamagedAsWell);
        let is_news = self.leaves.heard.replace(heard).is_some_and(|before| before != heard);
        if is_news {
            self.leaves.leave_ticks = None;
        }
        let is_leave = answer == Answer::Go;
        if (is_leave && self.leaves.leave_ticks.replace(0).is_none()) || is_news {
            self.mend_anew();
        }
        if !is_leave && plea.term == self.replica.term() {
            self.leaves.deny(plea.term);
        }
    }

    /// Whether this leader is known to be damaged as well.
    pub(super) fn is_damaged_leader(&self, leader: ReplicaId, term: u64) -> bool {
        self.leaves.heard == Some((leader, term, true))
    }

    /// Whether the replica has asked this leader, which is damaged, for leave.
    pub(super) fn is_fellow(&self, replica: ReplicaId) -> bool {
        self.leaves.fellows.contains_key(&replica)
    }

    /// The replica is damaged, and its group cannot do without it.
    pub(super) fn is_kept(&self) -> bool {
        self.leaves.is_kept
    }

    /// Leave counts in the term in which it was given, and for a replica that needs it still, as was found out since.
    pub(crate) fn may_go(&self, plea: &Plea) -> bool {
        plea.replica == self.own && plea.term == self.replica.term() && !self.leads() && self.is_beyond_hope()
    }

    /// The replica leads no more, or in another term.
    pub(super) fn forget_pleas(&mut self) {
        self.leaves.asked.clear();
        self.leaves.fellows.clear();
    }
}

fn bears(voters: &[ReplicaId], change: &MembershipChange, is_let_go: impl Fn(ReplicaId) -> bool) -> bool {
    let left = voters.iter().chain(&change.promote).filter(|id| !change.remove.contains(id));
    let (gone, staying) = left.fold((0, 0), |(gone, staying), id| match is_let_go(*id) {
        true => (gone + 1, staying),
        false => (gone, staying + 1),
    });
    gone == 0 || staying > gone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_more_voters_than_are_let_go() {
        let [a, b, c, d] = [1, 2, 3, 4].map(|node| ReplicaId::new(node, 1));
        let remove = |id| MembershipChange { remove: vec![id], ..MembershipChange::default() };
        let replace = |id, by| MembershipChange { promote: vec![by], ..remove(id) };
        let c_goes = |id| id == c;
        assert!(!bears(&[a, b, c], &remove(b), c_goes), "a alone would not be a majority of two");
        assert!(bears(&[a, b, c], &remove(c), c_goes));
        assert!(bears(&[a, b, c], &replace(b, d), c_goes));
        assert!(bears(&[a, b, c], &remove(b), |_| false));
        assert!(bears(&[a], &remove(b), |_| false), "what else is wrong with a change is not said here");
    }
}
