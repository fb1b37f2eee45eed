//! Who leads the group, who belongs to it, and what this hub is told of both.

use std::cmp::Reverse;

use consensus::{Event, MembershipChange, Progress, ProgressState, ReplicaId};
use schemas::{NodeId, Term};

use super::{Group, Refusal, Standing};
use crate::leaders::OwnView;
use crate::limits::{MAKE_WAY_DOUBLINGS_MAX, MAKE_WAY_TICKS, QUIET_LOOKS_MAX};
use crate::outbox::{Outbox, Wish};
use crate::space::Room;
use crate::waiting::{ChangeReply, ReadReply};
use crate::{ChangeError, GroupStatus, ReadIndexError};

impl Group {
    pub(crate) fn change_membership(
        &mut self,
        change: MembershipChange,
        reply: ChangeReply,
        outbox: &mut Outbox,
    ) {
        let token = self.waiting.token();
        self.waiting.change(token, reply);
        if !self.bears(&change) {
            return self.waiting.refused(token, Refusal::Overloaded, ChangeError::TooFewLeft);
        }
        self.step(Event::ChangeMembership { change, token }, outbox);
    }

    /// Begins to hand the lead over; what comes of it shows in who leads.
    pub(crate) fn transfer(&mut self, to: ReplicaId, outbox: &mut Outbox) -> Result<(), ChangeError> {
        if !self.leads() {
            return Err(ChangeError::NotLeader { leader: self.leader_node() });
        }
        if !self.membership.voters.contains(&to) {
            return Err(ChangeError::NoVoter);
        }
        if to != self.own && self.replica.transferring_to() != Some(to) {
            self.step(Event::TransferLeadership { to }, outbox);
        }
        Ok(())
    }

    /// From now on the replica leads only where it is asked to, or where nobody else could.
    pub(crate) fn resign(&mut self, outbox: &mut Outbox) {
        if !std::mem::replace(&mut self.resigned, true) {
            self.step(Event::Resign, outbox);
        }
    }

    /// Hands the lead to the voter that has come furthest of those to whom it was offered least often. False if there
    /// is nothing to hand over, or nobody.
    pub(crate) fn hand_over(&mut self, outbox: &mut Outbox) -> bool {
        if !self.leads() {
            return false;
        }
        if self.replica.transferring_to().is_some() {
            return true;
        }
        let progress = self.progress();
        let others = progress
            .into_iter()
            .filter(|it| it.id != self.own && it.recently_active && self.membership.voters.contains(&it.id));
        let Some(heir) = heir(others, &self.lead_offered) else { return false };
        self.lead_offered.push(heir);
        self.step(Event::TransferLeadership { to: heir }, outbox);
        self.leads()
    }

    /// A leader that waits for room, is damaged, or has not what most of its group have leaves the lead to a voter that
    /// has everything and does not wait, if there is one: not without end, for that one may be no better. One that only
    /// takes no appends leaves it to a hub that is known to take some.
    pub(crate) fn make_way(&mut self, room: &Room, outbox: &mut Outbox) {
        self.makes_way_in = self.makes_way_in.saturating_sub(1);
        if !self.leads() || self.makes_way_in > 0 {
            return;
        }
        let waits = self.standing == Standing::Paused;
        let is_damaged = self.is_damaged();
        if !waits && !is_damaged && !room.is_short {
            return;
        }
        let may_lead = |it: &&Progress| {
            it.id != self.own
                && it.recently_active
                && it.matched >= self.commit()
                && self.membership.voters.contains(&it.id)
                && !room.waits(NodeId(it.id.node()))
                && (waits || is_damaged || room.is_there(NodeId(it.id.node())))
                && (waits || !self.is_fellow(it.id))
        };
        let progress = self.progress();
        if let Some(to) = progress.iter().filter(may_lead).max_by_key(|it| it.matched).map(|it| it.id) {
            let is_short = room.is_short;
            tracing::warn!(group = %self.id, %to, waits, is_short, is_damaged, "the lead is left to another hub");
            self.makes_way_in = MAKE_WAY_TICKS << self.ways_made.min(MAKE_WAY_DOUBLINGS_MAX);
            self.ways_made = if is_damaged { self.ways_made + 1 } else { 0 };
            self.step(Event::TransferLeadership { to }, outbox);
        }
    }

    /// That the group's members have changed is soon part of a checkpoint: a start goes by it.
    pub(crate) fn ask_for_checkpoint(&mut self, outbox: &mut Outbox) {
        if std::mem::take(&mut self.members_changed) {
            outbox.wishes.push(Wish::CheckpointSoon { group: self.id });
        }
    }

    pub(crate) fn read_index(&mut self, reply: ReadReply, outbox: &mut Outbox) {
        let refusal = match (self.leads(), self.is_serving()) {
            (false, _) => Some(ReadIndexError::NotLeader { leader: self.leader_node() }),
            (true, false) => Some(ReadIndexError::NotServing),
            (true, true) => None,
        };
        let token = self.waiting.token();
        self.waiting.read(token, reply);
        match refusal {
            Some(error) => self.waiting.read_refused(token, error),
            None => self.step(Event::ReadIndex { token }, outbox),
        }
    }

    pub(super) fn read_refused(&mut self, token: u64) {
        let error = match self.leads() {
            true => ReadIndexError::NotServing,
            false => ReadIndexError::NotLeader { leader: self.leader_node() },
        };
        self.waiting.read_refused(token, error);
    }

    /// The process of that hub is gone.
    pub(crate) fn hub_gone(&mut self, hub: NodeId, outbox: &mut Outbox) {
        if self.leader_node() == Some(hub) {
            return self.step(Event::LeaderGone, outbox);
        }
        if self.leads() {
            let there = |replica: &ReplicaId| replica.node() == hub.0;
            for replica in self.membership.replicas().into_iter().filter(there) {
                self.step(Event::Unreachable { replica }, outbox);
            }
        }
    }

    /// The disk does not answer, or does again. A replica that is the whole group has nobody to make room for.
    pub(crate) fn suspend(&mut self, suspend: bool, outbox: &mut Outbox) {
        let suspend = suspend && !self.is_alone();
        if std::mem::replace(&mut self.suspended, suspend) != suspend {
            self.step(if suspend { Event::StepDown } else { Event::Recovered }, outbox);
        }
    }

    /// Time passes.
    pub(crate) fn tick(&mut self, outbox: &mut Outbox) {
        if !self.incoming.is_switching() {
            self.resume(outbox);
            self.mend_on(outbox);
            self.plead(outbox);
            self.step(Event::Tick, outbox);
            self.abdicate(outbox);
        }
    }

    /// What this version cannot apply another one may, so that a replica that is stopped leaves the lead to others: at
    /// once, for whoever is named may be stopped as well. It goes on keeping what it is sent, and votes.
    fn abdicate(&mut self, outbox: &mut Outbox) {
        let has_rivals = self.membership.voters.iter().any(|voter| *voter != self.own);
        if self.standing != Standing::Stopped || !has_rivals {
            return;
        }
        self.resign(outbox);
        if self.leads() {
            tracing::warn!(group = %self.id, "a shard that is stopped is led by this hub no more");
            self.step(Event::StepDown, outbox);
            self.step(Event::Recovered, outbox);
        }
    }

    /// How far everyone has come. Where a replica has all there is, nothing is left to be found out about it, though the
    /// protocol goes over to streaming only with the next entry.
    pub(super) fn progress(&self) -> Vec<Progress> {
        let last = self.replica.last_index();
        let mut all = self.replica.progress();
        for progress in &mut all {
            if progress.state == ProgressState::Probe && progress.matched == last {
                progress.state = ProgressState::Replicate;
            }
        }
        all
    }

    /// Looks who has been heard of, then who keeps up. raft-rs forgets at each of its election timeouts whom it has
    /// heard, so that one quiet look says nothing of a replica.
    pub(crate) fn look_at_replicas(&mut self) {
        for progress in self.progress() {
            let looks = self.quiet_looks.entry(progress.id).or_insert(0);
            *looks = if progress.recently_active { 0 } else { looks.saturating_add(1) };
        }
        let membership = &self.membership;
        self.quiet_looks.retain(|id, _| membership.contains(*id));
        self.count_in_sync();
    }

    /// Finds out anew who keeps up.
    pub(crate) fn count_in_sync(&mut self) {
        let mut in_sync = Vec::new();
        for progress in self.progress() {
            let is_heard = self.quiet_looks.get(&progress.id).is_none_or(|looks| *looks < QUIET_LOOKS_MAX);
            let keeps_up = progress.state == ProgressState::Replicate && is_heard;
            if progress.id == self.own || (keeps_up && self.membership.voters.contains(&progress.id)) {
                in_sync.push(progress.id);
            }
        }
        if in_sync != self.in_sync {
            self.in_sync = in_sync;
            self.news += 1;
        }
    }

    /// Changes whenever [`Group::view`] does.
    pub(crate) fn view_key(&self) -> ViewKey {
        let leader = self.replica.leader();
        ViewKey {
            term: self.replica.term(),
            leader,
            serving: self.is_serving(),
            news: self.news,
            lost_files: self.lost_files_key(),
        }
    }

    pub(crate) fn view(&self) -> OwnView {
        OwnView {
            term: self.replica.term(),
            leader: self.replica.leader(),
            serving: self.is_serving(),
            voters: self.membership.voters.clone(),
            learners: self.membership.learners.clone(),
            in_sync: self.in_sync.clone(),
            lost_files: self.lost_files(),
        }
    }

    pub(crate) fn status(&self) -> GroupStatus {
        GroupStatus {
            group: self.id.0,
            own: Some(self.own),
            role: self.replica.role(),
            term: Term(self.replica.term()),
            leader: self.replica.leader(),
            membership: self.membership.clone(),
            applied: self.applied.0,
            commit: self.commit(),
            last: self.replica.last_index(),
            progress: self.progress(),
            standing: self.standing,
            is_damaged: self.has_damage() || self.is_outvoted(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ViewKey {
    term: u64,
    leader: Option<ReplicaId>,
    serving: bool,
    news: u64,
    lost_files: Option<u64>,
}

/// One that does not take the lead may be stopped: then it is another's turn.
fn heir(candidates: impl Iterator<Item = Progress>, offered: &[ReplicaId]) -> Option<ReplicaId> {
    let times = |id| offered.iter().filter(|other| **other == id).count();
    candidates.max_by_key(|it| (Reverse(times(it.id)), it.matched)).map(|it| it.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_is_offered_to_each_in_turn_beginning_with_whoever_has_most() {
        let candidate = |node, matched| Progress {
            id: ReplicaId::new(node, 1),
            matched,
            next: matched + 1,
            state: ProgressState::Replicate,
            recently_active: true,
            is_learner: false,
        };
        let candidates = [candidate(2, 10), candidate(3, 12), candidate(4, 11)];
        let mut offered = Vec::new();
        for node in [3, 4, 2, 3, 4, 2] {
            let next = heir(candidates.iter().cloned(), &offered);
            assert_eq!(next, Some(ReplicaId::new(node, 1)));
            offered.extend(next);
        }
        assert_eq!(heir(std::iter::empty(), &offered), None);
    }
}
