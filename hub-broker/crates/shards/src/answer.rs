//! Who waits for an outcome, and the promise that they hear of it exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use partition_log::SequenceError;
use schemas::{NodeId, Offset};

use crate::{AppendDone, AppendError, Appended, CommandError, ProposeError};

/// Hears what became of a partition command.
pub type CommandDone = Box<dyn FnOnce(Result<(), CommandError>) + Send>;
/// Hears the metadata machine's answer.
pub type ProposeDone = Box<dyn FnOnce(Result<Bytes, ProposeError>) + Send>;
/// Hears where retention moved the first offset to.
pub(crate) type RetainDone = Box<dyn FnOnce(Result<Option<Offset>, CommandError>) + Send>;

/// What applying one command of an entry gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Appended(Appended),
    Sequence(SequenceError),
    /// What was applied is no batch: whoever proposed it did not check it.
    Malformed,
    Done,
    UnknownPartition,
    Answered(Bytes),
}

/// Why a request was not carried out, whatever it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotLeader { leader: Option<NodeId> },
    NoSpace,
    Overloaded,
    Stopping,
    Stopped,
}

/// Bytes that count against the hub's bound for as long as this lives.
pub(crate) struct Permit {
    queued_bytes: Arc<AtomicU64>,
    bytes: u64,
}

impl Permit {
    /// `None` if the bytes do not fit under `max`.
    pub(crate) fn take(queued_bytes: &Arc<AtomicU64>, bytes: u64, max: u64) -> Option<Self> {
        let before = queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let permit = Self { queued_bytes: queued_bytes.clone(), bytes };
        (before + bytes <= max).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.queued_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

enum Waiting {
    Append(AppendDone),
    Command(CommandDone),
    Propose(ProposeDone),
}

/// One who waits. Dropped unanswered, it is answered with `Stopping`.
pub(crate) struct Answer {
    waiting: Option<Waiting>,
    permit: Option<Permit>,
}

impl Answer {
    pub(crate) fn append(done: AppendDone, permit: Permit) -> Self {
        Self { waiting: Some(Waiting::Append(done)), permit: Some(permit) }
    }

    pub(crate) fn command(done: CommandDone, permit: Permit) -> Self {
        Self { waiting: Some(Waiting::Command(done)), permit: Some(permit) }
    }

    pub(crate) fn propose(done: ProposeDone, permit: Permit) -> Self {
        Self { waiting: Some(Waiting::Propose(done)), permit: Some(permit) }
    }

    /// Of what this hub has asked itself.
    pub(crate) fn for_nobody() -> Self {
        Self { waiting: None, permit: None }
    }

    pub(crate) fn outcome(mut self, outcome: Outcome) {
        // What was held is given back first: the one who is called may ask for more at once.
        self.permit = None;
        match self.waiting.take() {
            Some(Waiting::Append(done)) => done(append_outcome(&outcome)),
            Some(Waiting::Command(done)) => done(command_outcome(&outcome)),
            Some(Waiting::Propose(done)) => done(propose_outcome(outcome)),
            None => {}
        }
    }

    /// An append's outcome that was found elsewhere.
    pub(crate) fn appended(mut self, outcome: Result<Appended, AppendError>) {
        self.permit = None;
        if let Some(Waiting::Append(done)) = self.waiting.take() {
            done(outcome);
        }
    }

    pub(crate) fn refuse(mut self, refusal: Refusal) {
        self.refuse_once(refusal);
    }

    fn refuse_once(&mut self, refusal: Refusal) {
        self.permit = None;
        match self.waiting.take() {
            Some(Waiting::Append(done)) => done(Err(refusal.into())),
            Some(Waiting::Command(done)) => done(Err(refusal.into())),
            Some(Waiting::Propose(done)) => done(Err(refusal.into())),
            None => {}
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.refuse_once(Refusal::Stopping);
    }
}

fn append_outcome(outcome: &Outcome) -> Result<Appended, AppendError> {
    match outcome {
        Outcome::Appended(appended) => Ok(*appended),
        Outcome::Sequence(error) => Err(AppendError::Sequence(*error)),
        Outcome::UnknownPartition => Err(AppendError::UnknownPartition),
        Outcome::Malformed | Outcome::Done | Outcome::Answered(_) => Err(AppendError::Malformed),
    }
}

fn command_outcome(outcome: &Outcome) -> Result<(), CommandError> {
    match outcome {
        Outcome::Done => Ok(()),
        _ => Err(CommandError::UnknownPartition),
    }
}

fn propose_outcome(outcome: Outcome) -> Result<Bytes, ProposeError> {
    match outcome {
        Outcome::Answered(answer) => Ok(answer),
        _ => Err(ProposeError::Stopped),
    }
}

/// A refusal is the same for whatever was asked.
macro_rules! errors_from_refusals {
    ($($error:ty),+) => {$(
        impl From<Refusal> for $error {
            fn from(refusal: Refusal) -> Self {
                match refusal {
                    Refusal::NotLeader { leader } => Self::NotLeader { leader },
                    Refusal::NoSpace => Self::NoSpace,
                    Refusal::Overloaded => Self::Overloaded,
                    Refusal::Stopping => Self::Stopping,
                    Refusal::Stopped => Self::Stopped,
                }
            }
        }
    )+};
}

errors_from_refusals!(AppendError, CommandError, ProposeError);
