//! The driver around raft-rs.

mod changes;
mod election;
mod followers;
mod laggards;
mod log;
mod readies;
mod reads;

use raft::RawNode;
use raft::eraftpb::{self, MessageType};
use rand::SeedableRng;
use rand::rngs::StdRng;

use self::election::Elections;
use self::followers::Followers;
use self::laggards::Laggards;
use self::readies::Readies;
use self::reads::Reads;
use crate::tail::{Keep, Tail};
use crate::{
    Action, Event, HardState, LogEntry, Membership, PeerMessage, Progress, RefusedReason, ReplicaConfig,
    ReplicaId, RestoreError, Restored, Role, SnapshotMark, guard, logger, restore,
};

/// One replica of one group.
pub struct Replica {
    node: RawNode<Tail>,
    /// Role, term and leader as last reported.
    reported: (Role, u64, Option<ReplicaId>),
    /// Ticks of this life.
    now: u64,
    elections: Elections,
    readies: Readies,
    proposals: log::Proposals,
    reads: Reads,
    followers: Followers,
    laggards: Laggards,
    keep: Keep,
}

impl Replica {
    pub fn new(config: &ReplicaConfig, restored: Restored) -> Result<Self, RestoreError> {
        restore::check(config, &restored)?;
        let hard_state = eraftpb::HardState {
            term: restored.hard_state.term,
            vote: restored.hard_state.vote,
            commit: restore::commit(&restored),
            ..Default::default()
        };
        let entries: Vec<_> = restored.entries.into_iter().map(LogEntry::into_raft).collect();
        let applied = (restored.applied, restored.applied_term);
        let tail = Tail::new(hard_state, restored.membership.to_raft(), applied, entries);
        let node = RawNode::new(&config.to_raft(restored.applied), tail, &logger::logger())
            .map_err(|error| RestoreError::Config(error.to_string()))?;
        let rng = StdRng::seed_from_u64(config.seed ^ config.id.0.rotate_left(32));
        let mut replica = Self {
            reported: (Role::Follower, node.raft.term, None),
            now: 0,
            elections: Elections::new(rng, config.election_ticks),
            readies: Readies::new(node.raft.term),
            proposals: log::Proposals::default(),
            reads: Reads::default(),
            followers: Followers::new(config),
            laggards: Laggards::new(config),
            keep: Keep {
                wanted_from: None,
                wanted_bytes_max: config.tail_bytes_max,
                idle_bytes_max: config.tail_bytes_idle_max,
            },
            node,
        };
        if replica.laggards.can_read() {
            replica.node.mut_store().reach_back();
        }
        replica.draw_election_timeout();
        Ok(replica)
    }

    /// What this replica takes itself for. It leads once its term is durable: a sole voter that wins without asking
    /// anybody could still forget the term, and somebody else lead in it.
    pub fn role(&self) -> Role {
        match self.node.raft.state.into() {
            Role::Leader if self.readies.durable_term() < self.node.raft.term => Role::Candidate,
            role => role,
        }
    }

    pub fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// The leader of the current term as far as it is known.
    pub fn leader(&self) -> Option<ReplicaId> {
        let leader = ReplicaId(self.node.raft.leader_id);
        match leader.0 == self.node.raft.id && !self.is_leader() {
            true => None,
            false => ReplicaId::known(leader.0),
        }
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
        if !self.is_leader() {
            return Vec::new();
        }
        let raft = &self.node.raft;
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
            Event::Tick => self.tick(&mut actions),
            Event::Campaign => self.campaign(),
            Event::Propose { payload, token } => self.propose(payload, token, &mut actions),
            Event::ChangeMembership { change, token } => self.change_membership(&change, token, &mut actions),
            Event::TransferLeadership { to } => self.transfer_leadership(to),
            Event::ReadIndex { token } => self.read_index(token, &mut actions),
            Event::Persisted { ready } => self.persisted(ready, &mut actions),
            Event::Applied { index } => self.applied(index),
            Event::Message(PeerMessage(message)) => self.message(message, &mut actions),
            Event::Snapshot(PeerMessage(message)) => self.snapshot_copied(message),
            Event::SnapshotReady { index, term, membership } => {
                self.snapshot_ready(SnapshotMark { index, term, membership });
            }
            Event::SnapshotSent { to, ok } => self.snapshot_sent(to, ok),
            Event::EntriesRead { from, before_term, entries } => {
                self.entries_read(from, before_term, entries);
            }
            Event::EntriesGone { from } => self.entries_gone(from),
            Event::Unreachable { replica } => self.unreachable(replica),
            Event::LeaderGone => self.leader_gone(),
            Event::StepDown => self.step_down(),
            Event::Recovered => self.recovered(),
            Event::Resign => self.resign(),
        }
        self.report_role(&mut actions);
        while self.node.has_ready() {
            self.ready(&mut actions);
            self.report_role(&mut actions);
        }
        self.need_snapshots(&mut actions);
        self.read_for_laggards(&mut actions);
        actions
    }

    fn tick(&mut self, actions: &mut Vec<Action>) {
        self.now += 1;
        self.tick_election();
        self.repeat_offers(actions);
        self.forget_what_was_read();
        if self.node.store().bytes() > self.keep.idle_bytes_max {
            self.compact();
        }
    }

    fn message(&mut self, message: eraftpb::Message, actions: &mut Vec<Action>) {
        if !self.is_fit(&message) || !self.may_hear(&message) {
            return;
        }
        match message.get_msg_type() {
            MessageType::MsgSnapshot => return self.snapshot_offered(message, actions),
            MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse => {
                self.heard_of(ReplicaId(message.from), actions);
            }
            _ => {}
        }
        self.hand_in(message);
    }

    fn hand_in(&mut self, message: eraftpb::Message) {
        let vote = self.node.raft.vote;
        if let Err(error) = self.node.step(message) {
            tracing::debug!(%error, "a message was not taken");
        }
        self.await_outcome(vote);
    }

    fn is_fit(&self, message: &eraftpb::Message) -> bool {
        let (from, kind) = (ReplicaId(message.from), message.get_msg_type());
        match guard::check(&self.node.raft, message) {
            Ok(()) => return true,
            Err(unfit @ guard::Unfit::NoState) => {
                tracing::debug!(%from, ?kind, "a message is dropped: {unfit}");
            }
            Err(unfit) => tracing::warn!(%from, ?kind, "a message is dropped: {unfit}"),
        }
        false
    }

    fn is_leader(&self) -> bool {
        self.role() == Role::Leader
    }

    /// Why nothing new can get into the log here, if it cannot.
    fn not_leading(&self) -> Option<RefusedReason> {
        match self.transferring_to() {
            Some(_) => Some(RefusedReason::NotLeader { leader: None }),
            None if !self.is_leader() => Some(RefusedReason::NotLeader { leader: self.leader() }),
            None => None,
        }
    }

    fn report_role(&mut self, actions: &mut Vec<Action>) {
        let now = (self.role(), self.term(), self.leader());
        let before = std::mem::replace(&mut self.reported, now);
        if (now.0, now.1) != (before.0, before.1) {
            self.draw_election_timeout();
            self.reads.refuse_all(actions);
            self.followers.forget_all(self.now);
            self.laggards.forget_all();
        } else {
            self.keep_election_timeout();
        }
        if now == before {
            return;
        }
        actions.push(Action::RoleChanged { role: now.0, term: now.1, leader: now.2 });
    }
}
