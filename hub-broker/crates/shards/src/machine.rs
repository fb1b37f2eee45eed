//! What a raft group applies its committed entries to.

use bytes::Bytes;

/// Where in the group's log a command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppliedAt {
    pub index: u64,
    pub term: u64,
    /// The leader's stamp, ms since 1970; never goes backwards within the group.
    pub stamp_ms: i64,
}

/// The command is of a version that this program does not know: the group stops rather than guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a command of unknown version {0}")]
pub struct UnknownCommand(pub u8);

/// A snapshot that its machine cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("snapshot of the metadata: {0}")]
pub struct RestoreError(pub &'static str);

/// The state of group 0, the metadata's. Its snapshot goes into every checkpoint.
///
/// `apply` MUST be a pure function of the state and its arguments: no clock, no configuration, no I/O. The same
/// commands in the same order MUST give the same state and the same answers on every hub. It runs on an executor
/// thread and MUST NOT block. After a restart the state is `restore` of the last checkpoint's snapshot, followed
/// by `apply` of what was committed since.
pub trait StateMachine: Send {
    /// Applies one committed command and returns the answer for the one who proposed it. A refusal is an answer.
    fn apply(&mut self, at: AppliedAt, command: &Bytes) -> Result<Bytes, UnknownCommand>;
    /// The whole state, in a versioned format of the machine's own.
    fn snapshot(&self) -> Bytes;
    /// Replaces the state.
    fn restore(&mut self, snapshot: &Bytes) -> Result<(), RestoreError>;
}
