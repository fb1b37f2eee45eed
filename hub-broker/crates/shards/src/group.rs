//! One raft group's replica on this hub: the protocol, the state that it is applied to, and everyone who waits.

mod applying;
mod capturing;
mod comparing;
mod laggards;
mod lead;
mod leave;
mod mending;
mod pleas;
mod switch;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use consensus::{
    Action, Committed, Event, HardState, LogEntry, Membership, PeerMessage, RefusedReason, Replica,
    ReplicaId, Role,
};
use schemas::{NodeId, PartitionId};
use wal::GroupId;

use crate::ChangeError;
use crate::answer::Refusal;
use crate::apply::Applying;
use crate::clock::Clock;
use crate::entry::EntryBuilder;
use crate::faults::Faults;
use crate::group_state::StateOrigin;
use crate::incoming::{Held, Incoming};
use crate::limits::UNAPPLIED_BYTES_MAX;
use crate::outbox::{Outbox, Wish};
use crate::waiting::{Pack, Waiting};

pub(crate) use crate::apply::Machine;
pub(crate) use crate::waiting::Request;
pub(crate) use lead::ViewKey;

/// Whether a group's replica here applies what is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Running,
    /// An entry cannot be applied for want of room, on the disk or for another open file; it is tried again with every tick.
    Paused,
    /// An entry is of an unknown version. Only another version of the program can go on.
    Stopped,
}

pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) own: ReplicaId,
    pub(crate) machine: Machine,
    pub(crate) origin: StateOrigin,
    /// As of the applied index.
    pub(crate) membership: Membership,
    /// Index and term of the last applied entry.
    pub(crate) applied: (u64, u64),
    /// The stamp of the last entry applied or proposed: the next is not below it.
    pub(crate) last_stamp_ms: i64,
    /// The latest stamp that another hub gave, until the clock has heard of it.
    pub(crate) heard_ms: Option<i64>,
    /// Partitions of which a compaction is under way; its outcome fits no other state.
    pub(crate) compacting: Vec<PartitionId>,
    /// Something was applied since the last capture.
    pub(crate) changed: bool,
    pub(crate) standing: Standing,
    pub(crate) faults: Faults,
    replica: Replica,
    waiting: Waiting,
    incoming: Incoming,
    /// A checkpoint for followers is being made.
    making_snapshot: bool,
    /// The log is kept from here on for replicas that are behind.
    log_kept_from: Option<u64>,
    comparison: Option<comparing::Comparison>,
    /// Who belongs to the group is another than at the last checkpoint.
    members_changed: bool,
    /// Files that were found damaged when the replica was recovered, until something is done about them.
    pub(crate) found_damaged: Vec<PathBuf>,
    /// And that it may not be what its group has.
    pub(crate) found_doubted: bool,
    mending: mending::Mending,
    leaves: leave::Leaves,
    /// Ticks until the lead may be left to another hub again, for want of room or because of damage.
    makes_way_in: u32,
    /// How often it was left to another because of damage.
    ways_made: u32,
    /// The disk does not answer: the replica takes part in nothing.
    suspended: bool,
    /// The replica stands for nothing any more.
    resigned: bool,
    /// To whom the lead was handed while this hub stops, without their taking it.
    lead_offered: Vec<ReplicaId>,
    /// Replicas that have, or are about to have, everything that is committed; only the leader knows.
    in_sync: Vec<ReplicaId>,
    /// At how many looks one after another a replica had not been heard of.
    quiet_looks: BTreeMap<ReplicaId, u32>,
    /// Counts changes of the membership and of `in_sync`.
    news: u64,
    committed: VecDeque<Committed>,
    /// Bytes of these.
    unapplied_bytes: usize,
    applying: Option<Applying>,
    /// The last entry that was handed out to be applied.
    handed_out: u64,
    /// The term in which this replica leads, 0 while it does not.
    led_term: u64,
    /// What expires goes by it, if that fault is switched on.
    pub(crate) local_ms: Option<i64>,
}

impl Group {
    pub(crate) fn new(id: GroupId, own: ReplicaId, replica: Replica, machine: Machine) -> Self {
        Self {
            id,
            own,
            machine,
            origin: StateOrigin::first(own.number()),
            membership: replica.membership(),
            applied: (0, 0),
            last_stamp_ms: i64::MIN,
            heard_ms: None,
            compacting: Vec::new(),
            changed: false,
            standing: Standing::Running,
            faults: Faults::default(),
            replica,
            waiting: Waiting::default(),
            incoming: Incoming::default(),
            making_snapshot: false,
            log_kept_from: None,
            comparison: None,
            members_changed: false,
            found_damaged: Vec::new(),
            found_doubted: false,
            mending: mending::Mending::default(),
            leaves: leave::Leaves::default(),
            makes_way_in: 0,
            ways_made: 0,
            suspended: false,
            resigned: false,
            lead_offered: Vec::new(),
            in_sync: Vec::new(),
            quiet_looks: BTreeMap::new(),
            news: 0,
            committed: VecDeque::new(),
            unapplied_bytes: 0,
            applying: None,
            handed_out: 0,
            led_term: 0,
            local_ms: None,
        }
    }

    /// Leads, and has applied an entry of its own term: only then does it know everything that was acknowledged.
    pub(crate) fn is_serving(&self) -> bool {
        let knows = self.applied.1 == self.replica.term() || self.faults.serve_before_own_term;
        self.leads() && knows
    }

    pub(crate) fn leads(&self) -> bool {
        self.replica.role() == Role::Leader
    }

    /// This replica is the whole group.
    pub(crate) fn is_alone(&self) -> bool {
        self.membership.replicas() == [self.own]
    }

    /// The state is exactly that of `applied`, and there is one.
    pub(crate) fn is_between_entries(&self) -> bool {
        self.applying.is_none() && !self.incoming.is_switching() && !self.membership.is_empty()
    }

    /// The last known commit index, which is never below `applied`.
    pub(crate) fn commit(&self) -> u64 {
        self.replica.commit().max(self.applied.0)
    }

    /// What the replica has promised.
    pub(crate) fn hard_state(&self) -> wal::HardState {
        let HardState { term, vote, commit } = self.replica.hard_state();
        wal::HardState { term, vote, commit }
    }

    /// A snapshot is being switched in: what the replica is told meanwhile is lost.
    pub(crate) fn is_deaf(&self) -> bool {
        self.incoming.is_switching()
    }

    /// The barrier of a snapshot is on its way into the WAL.
    pub(crate) fn awaits_barrier(&self) -> bool {
        self.incoming.awaits_barrier()
    }

    pub(crate) fn has_proposals(&self) -> bool {
        self.waiting.has_proposals()
    }

    /// Takes a request in; it is proposed with the next [`Group::propose_waiting`].
    pub(crate) fn enqueue(&mut self, request: Request) {
        match self.refusal() {
            Some(refusal) => request.answer.refuse(refusal),
            None => self.waiting.enqueue(request),
        }
    }

    fn refusal(&self) -> Option<Refusal> {
        match self.standing {
            Standing::Stopped => Some(Refusal::Stopped),
            Standing::Paused => Some(Refusal::NoSpace),
            Standing::Running if !self.leads() => Some(self.not_leader()),
            Standing::Running => None,
        }
    }

    pub(crate) fn not_leader(&self) -> Refusal {
        Refusal::NotLeader { leader: self.leader_node() }
    }

    /// The hub that leads, unless it is this one.
    pub(crate) fn leader_node(&self) -> Option<NodeId> {
        node(self.replica.leader().filter(|leader| *leader != self.own))
    }

    /// Refuses what was not proposed yet.
    pub(crate) fn refuse_queue(&mut self, refusal: Refusal) {
        self.waiting.refuse_queue(refusal);
    }

    /// Refuses everyone who waits, whatever may become of what is in the log.
    pub(crate) fn refuse_all(&mut self, refusal: Refusal) {
        self.waiting.refuse_all(refusal);
    }

    /// Feeds the replica and does what it says.
    pub(crate) fn step(&mut self, event: Event, outbox: &mut Outbox) {
        let mut event = Some(event).filter(|event| !self.declines(event));
        while let Some(next) = event.take() {
            for action in self.replica.step(next) {
                self.perform(action, outbox);
            }
            let before = self.applied.0;
            if let Some(error) = self.apply_committed() {
                tracing::warn!(group = %self.id, after = before, %error, "the shard waits for room");
            }
            if self.applied.0 > before {
                event = Some(self.applied_event());
            }
        }
        self.waiting.answer_reads(self.applied.0, self.replica.term());
    }

    /// Where nothing takes effect, entries are not taken on without bound, and a replica that is stopped is not to lead,
    /// nor one that is damaged in the place of one that is not.
    fn declines(&self, event: &Event) -> bool {
        let Event::Message(message) = event else { return false };
        let is_too_much = || message.is_append() && self.unapplied_bytes > UNAPPLIED_BYTES_MAX;
        match self.standing {
            Standing::Running => {
                let is_no_worse = || self.is_damaged_leader(message.from(), message.term());
                message.hands_lead_over() && self.has_damage() && !is_no_worse()
            }
            Standing::Paused => is_too_much(),
            Standing::Stopped => message.hands_lead_over() || is_too_much(),
        }
    }

    /// What is applied, as far as the protocol may hear of it: what was applied before its time it may not.
    fn applied_event(&self) -> Event {
        Event::Applied { index: self.applied.0.min(self.replica.commit()) }
    }

    fn perform(&mut self, action: Action, outbox: &mut Outbox) {
        match action {
            Action::Persist { ready, hard_state, snapshot: None, truncate_from, entries } => {
                self.persist(ready, hard_state, truncate_from, entries, outbox);
            }
            Action::Persist { ready, snapshot: Some(mark), entries, .. } => {
                self.begin_switch(ready, mark, entries, outbox);
            }
            Action::Apply(entries) => self.hand_out(entries),
            Action::Refused { token, reason } => self.refused(token, reason),
            Action::RoleChanged { role, term, leader } => self.role_changed(role, term, leader),
            Action::Send(message) => self.send(&message, outbox),
            Action::ReadReady { token, index } => self.waiting.read_confirmed(token, index),
            Action::ReadRefused { token } => self.read_refused(token),
            Action::WantSnapshot { from, index, term, message } => {
                self.want_snapshot(from, (index, term), message, outbox);
            }
            Action::ReadEntries { from, through, bytes_max } => {
                self.read_log(from, through, bytes_max, outbox);
            }
            Action::NeedSnapshot { .. } => {
                if !std::mem::replace(&mut self.making_snapshot, true) {
                    outbox.wishes.push(Wish::Checkpoint { group: self.id });
                }
            }
        }
    }

    fn persist(
        &mut self,
        ready: u64,
        hard_state: Option<HardState>,
        truncate_from: Option<u64>,
        entries: Vec<LogEntry>,
        outbox: &mut Outbox,
    ) {
        if self.faults.apply_before_commit && self.leads() {
            self.hand_out_early(&entries);
        }
        match &mut self.incoming {
            Incoming::Switching { after, .. } => {
                after.held.push(Held { ready, hard_state, truncate_from, entries });
            }
            _ => outbox.persist(self.id, ready, self.replica.term(), hard_state, truncate_from, entries),
        }
    }

    fn send(&self, message: &PeerMessage, outbox: &mut Outbox) {
        outbox.send(self.id, message);
        if let Some(index) = message.snapshot_index() {
            outbox.wishes.push(Wish::Offered { group: self.id, index, to: message.to() });
        }
    }

    fn role_changed(&mut self, role: Role, term: u64, leader: Option<ReplicaId>) {
        tracing::debug!(group = %self.id, own = %self.own, ?role, term, ?leader, "role changed");
        let led_term = if role == Role::Leader { term } else { 0 };
        if self.led_term != 0 && self.led_term != led_term {
            let leader = node(leader.filter(|leader| *leader != self.own));
            self.waiting.refuse_all(Refusal::NotLeader { leader });
        }
        if self.led_term != led_term {
            self.forget_pleas();
        }
        self.led_term = led_term;
        self.count_in_sync();
    }

    fn refused(&mut self, token: u64, reason: RefusedReason) {
        let (refusal, change) = match reason {
            RefusedReason::Full => (Refusal::Overloaded, ChangeError::Pending),
            RefusedReason::NotLeader { leader } => {
                let leader = node(leader.filter(|leader| *leader != self.own));
                (Refusal::NotLeader { leader }, ChangeError::NotLeader { leader })
            }
            RefusedReason::Overwritten | RefusedReason::InDoubt => {
                (Refusal::NotLeader { leader: None }, ChangeError::Lost)
            }
            RefusedReason::ChangePending => (Refusal::Overloaded, ChangeError::Pending),
            RefusedReason::InvalidChange => (Refusal::Overloaded, ChangeError::Invalid),
        };
        self.waiting.refused(token, refusal, change);
    }

    /// Packs what waits into entries, as many as may be in flight.
    pub(crate) fn propose_waiting(&mut self, clock: &Clock, outbox: &mut Outbox) {
        if let Some(refusal) = self.refusal() {
            return self.waiting.refuse_queue(refusal);
        }
        // While the lead is being handed over the protocol takes nothing; the next leader's hub is asked then.
        while self.is_serving()
            && self.replica.transferring_to().is_none()
            && let Some(Pack { requests, bytes }) = self.waiting.pack(self.replica.term())
        {
            self.last_stamp_ms = self.last_stamp_ms.max(clock.now_ms());
            let mut entry = EntryBuilder::new(self.last_stamp_ms, bytes);
            let mut answers = Vec::with_capacity(requests.len());
            for request in requests {
                entry.push(&request.command);
                answers.push(request.answer);
            }
            let token = self.waiting.token();
            self.waiting.proposed(token, answers);
            self.step(Event::Propose { payload: entry.finish(), token }, outbox);
        }
    }
}

fn node(replica: Option<ReplicaId>) -> Option<NodeId> {
    replica.map(|replica| NodeId(replica.node()))
}
