//! The driver around raft-rs.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{self, MessageType};
use raft::{RawNode, Ready, StateRole};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::tail::Tail;
use crate::types::KIND_NORMAL;
use crate::{
    Action, Committed, Event, HardState, LogEntry, Membership, PeerMessage, Progress, RefusedReason,
    ReplicaId, RestoreError, Restored, Role, logger,
};

/// How a replica runs. Times are in ticks.
#[derive(Debug, Clone)]
pub struct ReplicaConfig {
    pub id: ReplicaId,
    /// Everything random about the replica follows from this.
    pub seed: u64,
    /// A follower that hears nothing stands for election after one to two of these.
    pub election_ticks: usize,
    pub heartbeat_ticks: usize,
    /// Proposals are refused while this much is proposed and not committed; one entry is always let through.
    pub uncommitted_bytes_max: u64,
    /// Committed bytes handed out in one [`Action::Apply`]; at least one entry.
    pub apply_bytes_max: u64,
    /// Bytes of entries in one message; at least one entry.
    pub message_bytes_max: u64,
    /// Messages with entries on their way to one follower.
    pub messages_in_flight_max: usize,
    /// Bytes of applied entries kept in memory for followers. A group of one keeps none.
    pub tail_bytes_max: usize,
}

impl ReplicaConfig {
    /// The defaults for replica `id`.
    pub fn new(id: ReplicaId, seed: u64) -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            id,
            seed,
            election_ticks: 10,
            heartbeat_ticks: 2,
            uncommitted_bytes_max: 64 * MIB,
            apply_bytes_max: 16 * MIB,
            message_bytes_max: MIB,
            messages_in_flight_max: 8,
            tail_bytes_max: 4 * MIB as usize,
        }
    }

    fn to_raft(&self, applied: u64) -> raft::Config {
        raft::Config {
            election_tick: self.election_ticks,
            heartbeat_tick: self.heartbeat_ticks,
            applied,
            max_size_per_msg: self.message_bytes_max,
            max_inflight_msgs: self.messages_in_flight_max,
            check_quorum: true,
            pre_vote: true,
            max_uncommitted_size: self.uncommitted_bytes_max,
            max_committed_size_per_ready: self.apply_bytes_max,
            ..raft::Config::new(self.id.0)
        }
    }
}

/// One replica of one group.
pub struct Replica {
    node: RawNode<Tail>,
    rng: StdRng,
    election_timeout: usize,
    /// Role, term and leader as last reported.
    reported: (Role, u64, u64),
    /// Bytes of applied entries that stay in memory.
    tail_bytes_max: usize,
    /// The newest hard state that is not on its way to the disk yet: a commit index alone can wait for company.
    unwritten: Option<HardState>,
    /// Readies that wait to be persisted, oldest first.
    outstanding: VecDeque<Outstanding>,
    /// Own proposals that are not committed, by index.
    proposals: VecDeque<Proposal>,
}

/// A ready whose messages may leave when it, and all before it, are durable.
struct Outstanding {
    ready: u64,
    /// Whether it has something of its own to be written.
    written: bool,
    messages: Vec<eraftpb::Message>,
}

struct Proposal {
    index: u64,
    term: u64,
    token: u64,
}

impl Replica {
    pub fn new(config: &ReplicaConfig, restored: Restored) -> Result<Self, RestoreError> {
        check(config, &restored)?;
        let members = restored.membership.to_raft();
        let group_of_one = members.voters.len() + members.learners.len() == 1;
        let hard_state = eraftpb::HardState {
            term: restored.hard_state.term,
            vote: restored.hard_state.vote,
            commit: restored.hard_state.commit.max(restored.applied),
            ..Default::default()
        };
        let entries: Vec<_> = restored.entries.into_iter().map(LogEntry::into_raft).collect();
        let tail = Tail::new(hard_state, members, (restored.applied, restored.applied_term), entries);
        let node = RawNode::new(&config.to_raft(restored.applied), tail, &logger::logger())
            .map_err(|error| RestoreError::Config(error.to_string()))?;
        let mut replica = Self {
            rng: StdRng::seed_from_u64(config.seed ^ config.id.0.rotate_left(32)),
            election_timeout: config.election_ticks,
            reported: (Role::Follower, node.raft.term, raft::INVALID_ID),
            tail_bytes_max: if group_of_one { 0 } else { config.tail_bytes_max },
            unwritten: None,
            outstanding: VecDeque::new(),
            proposals: VecDeque::new(),
            node,
        };
        replica.draw_election_timeout();
        Ok(replica)
    }

    /// What this replica takes itself for.
    pub fn role(&self) -> Role {
        self.node.raft.state.into()
    }

    pub fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// The leader of the current term as far as it is known.
    pub fn leader(&self) -> Option<ReplicaId> {
        ReplicaId::known(self.node.raft.leader_id)
    }

    /// Who belongs to the group, by all that is known to be committed.
    pub fn membership(&self) -> Membership {
        Membership::from_raft(&self.node.raft.prs().conf().to_conf_state())
    }

    /// Index of the last entry that is known to be committed.
    pub fn commit(&self) -> u64 {
        self.node.raft.raft_log.committed
    }

    /// To whom leadership is being handed over.
    pub fn transferring_to(&self) -> Option<ReplicaId> {
        self.node.raft.lead_transferee.and_then(ReplicaId::known)
    }

    /// How far everyone in the group has come, itself included, by id. Nobody but the leader knows.
    pub fn progress(&self) -> Vec<Progress> {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader {
            return Vec::new();
        }
        let learners = raft.prs().conf().learners();
        let report = |(id, progress): (&u64, &raft::Progress)| Progress {
            id: ReplicaId(*id),
            matched: progress.matched,
            next: progress.next_idx,
            state: progress.state.into(),
            recently_active: progress.recent_active || *id == raft.id,
            is_learner: learners.contains(id),
        };
        let mut all: Vec<_> = raft.prs().iter().map(report).collect();
        all.sort_unstable_by_key(|progress| progress.id);
        all
    }

    /// Index of the last entry of the log, committed or not.
    pub fn last_index(&self) -> u64 {
        self.node.raft.raft_log.last_index()
    }

    /// What would have to survive now; a checkpoint keeps it.
    pub fn hard_state(&self) -> HardState {
        HardState::from(&self.node.raft.hard_state())
    }

    /// Takes one event and says what is to be done.
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Tick => drop(self.node.tick()),
            Event::Campaign => self.campaign(),
            Event::Propose { payload, token } => self.propose(payload, token, &mut actions),
            Event::Persisted { ready } => self.persisted(ready, &mut actions),
            Event::Applied { index } => self.applied(index),
            Event::Message(PeerMessage(message)) => self.message(message),
            Event::ChangeMembership { token, .. } => {
                actions.push(Action::Refused { token, reason: RefusedReason::InvalidChange });
            }
            Event::ReadIndex { token } => actions.push(Action::ReadRefused { token }),
            Event::TransferLeadership { .. }
            | Event::Snapshot(_)
            | Event::SnapshotReady { .. }
            | Event::SnapshotSent { .. }
            | Event::Unreachable { .. }
            | Event::LeaderGone
            | Event::StepDown
            | Event::Recovered => {}
        }
        self.keep_election_timeout();
        while self.node.has_ready() {
            self.ready(&mut actions);
        }
        self.report_role(&mut actions);
        actions
    }

    fn campaign(&mut self) {
        if let Err(error) = self.node.campaign() {
            tracing::debug!(%error, "could not stand for election");
        }
    }

    fn propose(&mut self, payload: Bytes, token: u64, actions: &mut Vec<Action>) {
        if self.node.raft.state != StateRole::Leader {
            let reason = RefusedReason::NotLeader { leader: self.leader() };
            return actions.push(Action::Refused { token, reason });
        }
        let mut message = eraftpb::Message { from: self.node.raft.id, ..Default::default() };
        message.set_msg_type(MessageType::MsgPropose);
        message.set_entries(vec![eraftpb::Entry { data: payload, ..Default::default() }].into());
        // Stepped directly: `RawNode::propose` would have the payload as a vector.
        match self.node.raft.step(message) {
            Ok(()) => {
                let (index, term) = (self.last_index(), self.term());
                self.proposals.push_back(Proposal { index, term, token });
            }
            Err(_) => actions.push(Action::Refused { token, reason: RefusedReason::Full }),
        }
    }

    fn message(&mut self, message: eraftpb::Message) {
        if message.get_msg_type() == MessageType::MsgSnapshot
            || message.get_msg_type() == MessageType::MsgPropose
        {
            return tracing::warn!(from = message.from, "a peer sent what this version does not take");
        }
        if let Err(error) = self.node.step(message) {
            tracing::debug!(%error, "a message was not taken");
        }
    }

    fn applied(&mut self, index: u64) {
        if index > self.node.raft.raft_log.applied() {
            self.node.advance_apply_to(index);
            let keep = self.tail_bytes_max;
            self.node.mut_store().compact(index, keep);
        }
    }

    /// raft-rs counts everything before a persisted ready as persisted, so the queue is emptied only up to it.
    fn persisted(&mut self, ready: u64, actions: &mut Vec<Action>) {
        let mut last = None;
        while let Some(front) = self.outstanding.front()
            && (front.ready <= ready || !front.written)
        {
            last = Some(front.ready);
            if let Some(durable) = self.outstanding.pop_front() {
                actions.extend(durable.messages.into_iter().map(send));
            }
        }
        if let Some(last) = last {
            self.node.on_persist_ready(last);
        }
    }

    fn ready(&mut self, actions: &mut Vec<Action>) {
        let mut ready = self.node.ready();
        actions.extend(ready.take_messages().into_iter().map(send));
        if let Some(state) = ready.hs() {
            self.unwritten = Some(HardState::from(state));
        }
        let number = ready.number();
        let messages = ready.take_persisted_messages();
        let committed = ready.take_committed_entries();
        let written = ready.must_sync();
        if written {
            actions.push(self.persist(&ready));
        }
        self.node.advance_append_async(ready);
        if written || !self.outstanding.is_empty() {
            self.outstanding.push_back(Outstanding { ready: number, written, messages });
        } else {
            self.node.on_persist_ready(number);
            actions.extend(messages.into_iter().map(send));
        }
        self.hand_out(&committed, actions);
    }

    fn persist(&mut self, ready: &Ready) -> Action {
        let truncate_from = self.node.mut_store().append(ready.entries());
        Action::Persist {
            ready: ready.number(),
            hard_state: self.unwritten.take(),
            snapshot: None,
            truncate_from,
            entries: ready.entries().iter().map(LogEntry::from_raft).collect(),
        }
    }

    fn hand_out(&mut self, committed: &[eraftpb::Entry], actions: &mut Vec<Action>) {
        if committed.is_empty() {
            return;
        }
        let mut apply = Vec::with_capacity(committed.len());
        for entry in committed {
            let token = self.token_of(entry, actions);
            apply.push(Committed {
                index: entry.index,
                term: entry.term,
                payload: entry.data.clone(),
                token,
                membership: None,
            });
        }
        actions.push(Action::Apply(apply));
    }

    /// The token of the own proposal that became this entry. A proposal at its index from another term lost.
    fn token_of(&mut self, entry: &eraftpb::Entry, actions: &mut Vec<Action>) -> Option<u64> {
        while let Some(front) = self.proposals.front()
            && front.index <= entry.index
        {
            let (token, own) = (front.token, front.index == entry.index && front.term == entry.term);
            self.proposals.pop_front();
            if own {
                return Some(token);
            }
            actions.push(Action::Refused { token, reason: RefusedReason::Overwritten });
        }
        None
    }

    fn report_role(&mut self, actions: &mut Vec<Action>) {
        let raft = &self.node.raft;
        let now = (Role::from(raft.state), raft.term, raft.leader_id);
        if now != self.reported {
            self.reported = now;
            actions.push(Action::RoleChanged { role: now.0, term: now.1, leader: ReplicaId::known(now.2) });
        }
    }

    /// raft-rs draws a new timeout from the process's generator whenever role or term change; ours goes in its
    /// place, so that a run can be repeated from its seed.
    fn keep_election_timeout(&mut self) {
        let raft = &self.node.raft;
        if self.reported.0 != Role::from(raft.state) || self.reported.1 != raft.term {
            self.draw_election_timeout();
        } else {
            self.node.raft.set_randomized_election_timeout(self.election_timeout);
        }
    }

    fn draw_election_timeout(&mut self) {
        let shortest = self.node.raft.election_timeout();
        self.election_timeout = self.rng.gen_range(shortest..2 * shortest);
        self.node.raft.set_randomized_election_timeout(self.election_timeout);
    }
}

fn send(message: eraftpb::Message) -> Action {
    Action::Send(PeerMessage(message))
}

/// raft-rs panics on a log that does not fit; this says what is wrong instead.
fn check(config: &ReplicaConfig, restored: &Restored) -> Result<(), RestoreError> {
    let members = &restored.membership;
    if config.id.0 == raft::INVALID_ID
        || !members.voters.iter().chain(&members.learners).any(|id| *id == config.id)
    {
        return Err(RestoreError::NotAMember(config.id));
    }
    let (mut last, mut previous) = match restored.entries.first() {
        Some(first) if first.index <= restored.applied => (first.index - 1, first.term),
        _ => (restored.applied, restored.applied_term),
    };
    for entry in &restored.entries {
        if entry.index != last + 1 {
            return Err(RestoreError::Hole { expected: last + 1, found: entry.index });
        }
        if entry.term < previous {
            return Err(RestoreError::TermWentBack { index: entry.index, term: entry.term, previous });
        }
        if entry.kind != KIND_NORMAL {
            return Err(RestoreError::UnknownKind { index: entry.index, kind: entry.kind });
        }
        (last, previous) = (entry.index, entry.term);
    }
    let hard_state = restored.hard_state;
    let commit = hard_state.commit.max(restored.applied);
    if commit > last {
        return Err(RestoreError::TooShort { last, commit });
    }
    if hard_state.term < previous {
        return Err(RestoreError::HardStateBehind { log: previous, hard_state: hard_state.term });
    }
    Ok(())
}
