//! Who leads the group, who belongs to it, and what this hub is told of both.

use consensus::{Event, MembershipChange, Progress, ProgressState, ReplicaId};
use schemas::{NodeId, Term};

use super::Group;
use crate::leaders::OwnView;
use crate::outbox::Outbox;
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

    /// Hands the lead to the voter that has come furthest. False if there is nothing to hand over, or nobody.
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
        let Some(best) = others.max_by_key(|it| it.matched) else { return false };
        self.step(Event::TransferLeadership { to: best.id }, outbox);
        self.leads()
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
            self.step(Event::Tick, outbox);
        }
    }

    /// How far everyone has come. Where a replica has all there is, nothing is left to be found out about it, though the
    /// protocol goes over to streaming only with the next entry.
    fn progress(&self) -> Vec<Progress> {
        let last = self.replica.last_index();
        let mut all = self.replica.progress();
        for progress in &mut all {
            if progress.state == ProgressState::Probe && progress.matched == last {
                progress.state = ProgressState::Replicate;
            }
        }
        all
    }

    /// Finds out anew who keeps up.
    pub(crate) fn count_in_sync(&mut self) {
        let mut in_sync = Vec::new();
        for progress in self.progress() {
            let keeps_up = progress.state == ProgressState::Replicate && progress.recently_active;
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
        ViewKey { term: self.replica.term(), leader, serving: self.is_serving(), news: self.news }
    }

    pub(crate) fn view(&self) -> OwnView {
        OwnView {
            term: self.replica.term(),
            leader: self.replica.leader(),
            serving: self.is_serving(),
            voters: self.membership.voters.clone(),
            learners: self.membership.learners.clone(),
            in_sync: self.in_sync.clone(),
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
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ViewKey {
    term: u64,
    leader: Option<ReplicaId>,
    serving: bool,
    news: u64,
}
