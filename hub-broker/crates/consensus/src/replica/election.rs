//! When a replica stands for election, and when it must not.

use std::ops::RangeInclusive;

use raft::StateRole;
use raft::eraftpb::{Message, MessageType};
use rand::Rng;
use rand::rngs::StdRng;

use super::Replica;
use crate::{Membership, ReplicaId};

/// Where the leader is gone the first in line stands at once, and asks again with every tick.
const FIRST_TICKS: RangeInclusive<usize> = 1..=1;
/// The others wait for it this long.
const OTHERS_TICKS: RangeInclusive<usize> = 2..=3;
/// How long one who stood, or has given its vote, waits for the outcome before it stands again.
const OUTCOME_TICKS: RangeInclusive<usize> = 4..=7;

pub(super) struct Elections {
    rng: StdRng,
    /// Ticks without a leader after which this replica stands for election.
    timeout: usize,
    shortest: usize,
    /// The leader is known to be gone.
    vacancy: Option<Vacancy>,
    /// The disk does not answer.
    stalled: bool,
    /// The replica is about to go.
    resigned: bool,
}

struct Vacancy {
    stand_in: usize,
    is_first: bool,
    /// After so many ticks it is a matter of the usual timeouts.
    ends_in: usize,
}

impl Elections {
    pub(super) fn new(rng: StdRng, shortest: usize) -> Self {
        Self { rng, timeout: shortest, shortest, vacancy: None, stalled: false, resigned: false }
    }

    fn stand_in(&mut self, ticks: RangeInclusive<usize>) {
        let ticks = self.rng.gen_range(ticks);
        if let Some(vacancy) = &mut self.vacancy {
            vacancy.stand_in = ticks;
        }
    }
}

impl Replica {
    pub(super) fn campaign(&mut self) {
        if !self.may_stand() {
            return;
        }
        if let Err(error) = self.node.campaign() {
            tracing::debug!(%error, "could not stand for election");
        }
    }

    fn may_stand(&self) -> bool {
        (!self.elections.resigned || !self.has_rivals()) && self.may_lead()
    }

    fn has_rivals(&self) -> bool {
        let membership = self.membership();
        let is_rival = |id: &ReplicaId| id.0 != self.node.raft.id && membership.is_voter(*id);
        membership.replicas().iter().any(is_rival)
    }

    /// raft-rs asks only at its own ticks whether the replica is a voter, and panics where another one wins. It takes
    /// for granted that nothing of a candidate's log is still on its way to the disk: a sole voter would lead at once
    /// and panic, and so would anyone over the hole that a snapshot leaves until it is in place.
    fn may_lead(&self) -> bool {
        let log = &self.node.raft.raft_log;
        !self.elections.stalled
            && self.node.raft.promotable()
            && log.persisted == log.last_index()
            && self.readies.log_is_durable()
            && log.applied >= self.node.store().first() - 1
    }

    pub(super) fn tick_election(&mut self) {
        if self.node.raft.state == StateRole::Leader || self.may_stand() {
            self.node.tick();
        } else {
            // Time goes on: a lease runs out, and whoever may stand again does so at once.
            self.node.raft.election_elapsed += 1;
        }
        self.tick_vacancy();
    }

    fn tick_vacancy(&mut self) {
        let filled = self.node.raft.leader_id != raft::INVALID_ID;
        self.elections.vacancy =
            self.elections.vacancy.take().filter(|vacancy| !filled && vacancy.ends_in > 0);
        if let Some(vacancy) = &mut self.elections.vacancy {
            vacancy.ends_in -= 1;
            vacancy.stand_in = vacancy.stand_in.saturating_sub(1);
            self.stand_if_due();
        }
    }

    /// Where the leader is gone, a pre-vote may come before the news of it, or a vote be split: so it is repeated,
    /// sooner than the usual timeout would.
    pub(super) fn stand_if_due(&mut self) {
        let Some(vacancy) = self.elections.vacancy.as_ref().filter(|vacancy| vacancy.stand_in == 0) else {
            return;
        };
        let is_first = vacancy.is_first;
        if self.node.raft.leader_id != raft::INVALID_ID || !self.may_stand() {
            return;
        }
        self.campaign();
        self.elections.stand_in(match self.node.raft.state {
            StateRole::PreCandidate if is_first => FIRST_TICKS,
            StateRole::PreCandidate => OTHERS_TICKS,
            _ => OUTCOME_TICKS,
        });
    }

    /// Its lease is void. Who stands first is agreed upon without a word, so that votes are not split; it is someone
    /// else in every term and group.
    pub(super) fn leader_gone(&mut self) {
        let raft = &mut self.node.raft;
        if raft.state == StateRole::Leader || raft.leader_id == raft::INVALID_ID {
            return;
        }
        let gone = ReplicaId(std::mem::replace(&mut raft.leader_id, raft::INVALID_ID));
        if !raft.promotable() {
            return;
        }
        let (own, term) = (ReplicaId(raft.id), raft.term);
        let is_first = first_in_line(&self.membership(), gone, term) == Some(own);
        let ends_in = 2 * self.elections.shortest;
        self.elections.vacancy = Some(Vacancy { stand_in: 0, is_first, ends_in });
        if !is_first {
            self.elections.stand_in(OTHERS_TICKS);
        }
        self.stand_if_due();
    }

    /// Whoever supports another one does not stand against it at once. `vote` is what it was before a message.
    pub(super) fn await_outcome(&mut self, vote: u64) {
        let raft = &self.node.raft;
        let supports = |message: &Message| {
            message.get_msg_type() == MessageType::MsgRequestPreVoteResponse && !message.reject
        };
        if raft.vote != vote && raft.vote != raft::INVALID_ID {
            self.elections.stand_in(OUTCOME_TICKS);
        } else if raft.msgs.iter().any(supports) {
            self.elections.stand_in(OTHERS_TICKS);
        }
    }

    pub(super) fn step_down(&mut self) {
        self.elections.stalled = true;
        self.elections.vacancy = None;
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Follower {
            raft.become_follower(raft.term, raft::INVALID_ID);
        }
    }

    pub(super) fn recovered(&mut self) {
        self.elections.stalled = false;
        self.node.raft.election_elapsed = 0;
    }

    pub(super) fn resign(&mut self) {
        self.elections.resigned = true;
        self.elections.vacancy = None;
    }

    /// What a replica must not even consider in its present state.
    pub(super) fn may_hear(&mut self, message: &Message) -> bool {
        match message.get_msg_type() {
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => !self.elections.stalled,
            // Only its leader can ask it to take over, and not one of a later term that it has never heard of.
            MessageType::MsgTimeoutNow => {
                let raft = &self.node.raft;
                message.term == raft.term && message.from == raft.leader_id && self.may_lead()
            }
            _ => true,
        }
    }

    /// raft-rs draws a new timeout from the process's generator whenever role or term change; ours goes in its
    /// place, so that a run can be repeated from its seed.
    pub(super) fn keep_election_timeout(&mut self) {
        self.node.raft.set_randomized_election_timeout(self.elections.timeout);
    }

    pub(super) fn draw_election_timeout(&mut self) {
        let shortest = self.elections.shortest;
        self.elections.timeout = self.elections.rng.gen_range(shortest..2 * shortest);
        self.node.raft.set_randomized_election_timeout(self.elections.timeout);
    }
}

/// The voter who stands first after `gone`. Every replica that knows the same term and voters names the same one.
fn first_in_line(membership: &Membership, gone: ReplicaId, term: u64) -> Option<ReplicaId> {
    let voters = membership.replicas().into_iter().filter(|id| *id != gone && membership.is_voter(*id));
    voters.min_by_key(|id| scatter(id.0 ^ scatter(term)))
}

/// The finaliser of splitmix64: neighbouring numbers become unrelated ones.
fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
