//! One raft group on this hub: its replica, its state and everyone who waits for it.

use std::collections::VecDeque;

use consensus::{Action, Committed, Event, Membership, RefusedReason, Replica, Role};
use partition_log::LogError;
use wal::{GroupId, Lsn};

use crate::answer::{Answer, Outcome, Refusal};
use crate::capture::StateOrigin;
use crate::clock::Clock;
use crate::entry::{Command, EntryBuilder, EntryReader, UnknownEntry};
use crate::limits::{ENTRIES_IN_FLIGHT_MAX, ENTRY_BYTES_TARGET, ENTRY_COMMANDS_MAX};
use crate::outbox::Outbox;
use crate::partitions::PartitionSet;
use crate::{AppliedAt, StateMachine, UnknownCommand};

/// One command and who waits for its outcome.
pub(crate) struct Request {
    pub command: Command,
    pub answer: Answer,
}

/// What the group applies to.
pub(crate) enum Machine {
    Partitions(PartitionSet),
    Metadata(Box<dyn StateMachine>),
}

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
    pub(crate) machine: Machine,
    pub(crate) membership: Membership,
    /// What the next checkpoint says of itself.
    pub(crate) origin: StateOrigin,
    /// Index and term of the last applied entry.
    pub(crate) applied: (u64, u64),
    /// The stamp of the last entry applied or proposed: the next is not below it.
    pub(crate) last_stamp_ms: i64,
    /// Something was applied since the last capture.
    pub(crate) changed: bool,
    pub(crate) standing: Standing,
    replica: Replica,
    queue: VecDeque<Request>,
    proposals: VecDeque<Proposal>,
    next_token: u64,
    committed: VecDeque<Committed>,
    applying: Option<Applying>,
}

/// An entry on its way through the log, and who waits for its commands, in their order.
struct Proposal {
    token: u64,
    answers: Vec<Answer>,
}

/// An entry that is being applied, as far as it has come.
struct Applying {
    at: AppliedAt,
    token: Option<u64>,
    /// `None` for a new leader's first entry.
    commands: Option<EntryReader>,
    current: Option<Command>,
    outcomes: Vec<Outcome>,
}

enum ApplyError {
    NoSpace(LogError),
    Unknown(UnknownEntry),
}

impl Group {
    pub(crate) fn new(id: GroupId, replica: Replica, machine: Machine, membership: Membership) -> Self {
        Self {
            id,
            machine,
            membership,
            origin: StateOrigin { replica_number: 1, generation: 0, void_entries_through: Lsn(0) },
            applied: (0, 0),
            last_stamp_ms: i64::MIN,
            changed: false,
            standing: Standing::Running,
            replica,
            queue: VecDeque::new(),
            proposals: VecDeque::new(),
            next_token: 0,
            committed: VecDeque::new(),
            applying: None,
        }
    }

    /// Leads, and has applied an entry of its own term: only then does it know everything that was acknowledged.
    pub(crate) fn is_serving(&self) -> bool {
        self.replica.role() == Role::Leader && self.applied.1 == self.replica.term()
    }

    /// Nothing is between entries: the state is exactly that of `applied`.
    pub(crate) fn is_between_entries(&self) -> bool {
        self.applying.is_none()
    }

    /// The last known commit index, which is never below `applied`.
    pub(crate) fn commit(&self) -> u64 {
        self.replica.hard_state().commit
    }

    pub(crate) fn has_proposals(&self) -> bool {
        !self.proposals.is_empty()
    }

    /// Takes a request in; it is proposed with the next [`Group::propose_waiting`].
    pub(crate) fn enqueue(&mut self, request: Request) {
        match self.refusal() {
            Some(refusal) => request.answer.refuse(refusal),
            None => self.queue.push_back(request),
        }
    }

    fn refusal(&self) -> Option<Refusal> {
        match self.standing {
            Standing::Stopped => Some(Refusal::Stopped),
            Standing::Paused => Some(Refusal::NoSpace),
            Standing::Running if self.replica.role() != Role::Leader => {
                Some(Refusal::NotLeader { leader: None })
            }
            Standing::Running => None,
        }
    }

    /// Refuses what was not proposed yet.
    pub(crate) fn refuse_queue(&mut self, refusal: Refusal) {
        for request in self.queue.drain(..) {
            request.answer.refuse(refusal);
        }
    }

    /// Feeds the replica and does what it says.
    pub(crate) fn step(&mut self, event: Event, outbox: &mut Outbox) {
        let mut event = Some(event);
        while let Some(next) = event.take() {
            for action in self.replica.step(next) {
                self.perform(action, outbox);
            }
            let before = self.applied.0;
            if let Some(error) = self.apply_committed() {
                tracing::warn!(group = %self.id, after = before, %error, "the shard waits for room");
            }
            if self.applied.0 > before {
                event = Some(Event::Applied { index: self.applied.0 });
            }
        }
    }

    fn perform(&mut self, action: Action, outbox: &mut Outbox) {
        match action {
            Action::Persist { ready, hard_state, truncate_from, entries, .. } => {
                let term = self.replica.term();
                outbox.persist(self.id, ready, term, hard_state, truncate_from, entries);
            }
            Action::Apply(entries) => self.committed.extend(entries),
            Action::Refused { token, reason } => self.refuse_proposal(token, reason),
            Action::RoleChanged { role, term, .. } => {
                tracing::debug!(group = %self.id, ?role, term, "role changed");
            }
            action @ (Action::ReadReady { .. }
            | Action::ReadRefused { .. }
            | Action::WantSnapshot { .. }
            | Action::NeedSnapshot { .. }) => {
                tracing::trace!(group = %self.id, ?action, "nobody asked for it");
            }
            Action::Send(message) => {
                tracing::trace!(group = %self.id, to = %message.to(), "no transport to other hubs");
            }
        }
    }

    fn refuse_proposal(&mut self, token: u64, reason: RefusedReason) {
        let refusal = match reason {
            RefusedReason::Full => Refusal::Overloaded,
            RefusedReason::ChangePending | RefusedReason::InvalidChange => Refusal::Overloaded,
            RefusedReason::NotLeader { .. } | RefusedReason::Overwritten | RefusedReason::InDoubt => {
                Refusal::NotLeader { leader: None }
            }
        };
        if let Some(position) = self.proposals.iter().position(|proposal| proposal.token == token) {
            let answers =
                self.proposals.remove(position).map(|proposal| proposal.answers).unwrap_or_default();
            answers.into_iter().for_each(|answer| answer.refuse(refusal));
        }
    }

    /// Packs what waits into entries, as many as may be in flight.
    pub(crate) fn propose_waiting(&mut self, clock: &Clock, outbox: &mut Outbox) {
        if let Some(refusal) = self.refusal() {
            return self.refuse_queue(refusal);
        }
        while !self.queue.is_empty() && self.proposals.len() < ENTRIES_IN_FLIGHT_MAX && self.is_serving() {
            let (count, bytes) = self.next_entry();
            self.last_stamp_ms = self.last_stamp_ms.max(clock.now_ms());
            let mut entry = EntryBuilder::new(self.last_stamp_ms, bytes);
            let mut answers = Vec::with_capacity(count);
            for request in self.queue.drain(..count) {
                entry.push(&request.command);
                answers.push(request.answer);
            }
            self.next_token += 1;
            let token = self.next_token;
            self.proposals.push_back(Proposal { token, answers });
            self.step(Event::Propose { payload: entry.finish(), token }, outbox);
        }
    }

    /// How many waiting commands the next entry takes, and the room they need.
    fn next_entry(&self) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        for request in self.queue.iter().take(ENTRY_COMMANDS_MAX) {
            let more = request.command.bytes();
            if count > 0 && bytes + more > ENTRY_BYTES_TARGET {
                break;
            }
            count += 1;
            bytes += more;
        }
        (count, bytes)
    }

    /// Tries an entry again that could not be applied for want of room.
    pub(crate) fn resume(&mut self, outbox: &mut Outbox) {
        if self.standing != Standing::Paused {
            return;
        }
        self.standing = Standing::Running;
        self.apply_committed();
        if self.standing == Standing::Running {
            tracing::info!(group = %self.id, "the shard goes on: there is room again");
            let index = self.applied.0;
            self.step(Event::Applied { index }, outbox);
        }
    }

    /// Returns what it had to pause for, if it had to.
    fn apply_committed(&mut self) -> Option<LogError> {
        while self.standing == Standing::Running {
            let mut applying = self.applying.take().map_or_else(|| self.begin_next(), |it| Some(Ok(it)))?;
            let applied = match &mut applying {
                Ok(applying) => self.machine.apply(applying),
                Err(error) => Err(ApplyError::Unknown(*error)),
            };
            match (applied, applying) {
                (Ok(()), Ok(applying)) => self.finish(applying),
                (Err(ApplyError::NoSpace(error)), Ok(applying)) => {
                    self.pause(applying);
                    return Some(error);
                }
                (Err(ApplyError::Unknown(error)), _) | (Ok(()) | Err(ApplyError::NoSpace(_)), Err(error)) => {
                    self.stop(error);
                }
            }
        }
        None
    }

    fn begin_next(&mut self) -> Option<Result<Applying, UnknownEntry>> {
        let entry = self.committed.pop_front()?;
        let commands = match entry.payload.is_empty() {
            true => None,
            false => match EntryReader::new(entry.payload) {
                Ok(commands) => Some(commands),
                Err(error) => return Some(Err(error)),
            },
        };
        let stamp_ms = commands.as_ref().map_or(self.last_stamp_ms, EntryReader::stamp_ms);
        Some(Ok(Applying {
            at: AppliedAt { index: entry.index, term: entry.term, stamp_ms },
            token: entry.token,
            commands,
            current: None,
            outcomes: Vec::new(),
        }))
    }

    /// The entry has taken effect: says so to those who wait.
    fn finish(&mut self, applying: Applying) {
        self.applied = (applying.at.index, applying.at.term);
        self.last_stamp_ms = self.last_stamp_ms.max(applying.at.stamp_ms);
        self.changed = true;
        let Some(token) = applying.token else { return };
        if self.proposals.front().is_some_and(|proposal| proposal.token == token)
            && let Some(proposal) = self.proposals.pop_front()
        {
            for (answer, outcome) in proposal.answers.into_iter().zip(applying.outcomes) {
                answer.outcome(outcome);
            }
        }
    }

    fn pause(&mut self, applying: Applying) {
        self.applying = Some(applying);
        self.standing = Standing::Paused;
    }

    fn stop(&mut self, error: UnknownEntry) {
        tracing::error!(group = %self.id, after = self.applied.0, %error, "the shard is stopped by an entry");
        self.standing = Standing::Stopped;
        self.refuse_queue(Refusal::Stopped);
        for answer in self.proposals.drain(..).flat_map(|proposal| proposal.answers) {
            answer.refuse(Refusal::Stopped);
        }
    }
}

impl Machine {
    /// Applies the rest of an entry.
    fn apply(&mut self, applying: &mut Applying) -> Result<(), ApplyError> {
        let Some(commands) = &mut applying.commands else {
            return self.begin_term(applying.at.term);
        };
        loop {
            if applying.current.is_none() {
                applying.current = commands.next().map_err(ApplyError::Unknown)?;
            }
            let Some(command) = &applying.current else { break };
            let outcome = match self {
                Self::Partitions(partitions) => partitions.apply(applying.at, command).map_err(no_space)?,
                Self::Metadata(machine) => apply_metadata(machine.as_mut(), applying.at, command)?,
            };
            applying.outcomes.push(outcome);
            applying.current = None;
        }
        match self {
            Self::Partitions(partitions) => partitions.publish().map_err(no_space),
            Self::Metadata(_) => Ok(()),
        }
    }

    fn begin_term(&mut self, term: u64) -> Result<(), ApplyError> {
        match self {
            Self::Partitions(partitions) => partitions.begin_epoch(term).map_err(no_space),
            Self::Metadata(_) => Ok(()),
        }
    }
}

fn apply_metadata(
    machine: &mut dyn StateMachine,
    at: AppliedAt,
    command: &Command,
) -> Result<Outcome, ApplyError> {
    let Command::Metadata(command) = command else {
        return Ok(Outcome::UnknownPartition);
    };
    match machine.apply(at, command) {
        Ok(answer) => Ok(Outcome::Answered(answer)),
        Err(UnknownCommand(version)) => Err(ApplyError::Unknown(UnknownEntry::Version(version))),
    }
}

/// Anything but want of room ends the process: nobody knows any more what the segments hold.
fn no_space(error: LogError) -> ApplyError {
    match error {
        LogError::NoSpace { .. } => ApplyError::NoSpace(error),
        error => crate::fail::stop("a partition's log failed", &error),
    }
}
