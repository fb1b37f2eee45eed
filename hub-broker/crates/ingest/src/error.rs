//! Why something was not stored: one enum for each door.

use schemas::{BatchError, NodeId, Sequence};
use shards::{AppendError, SequenceError};

use crate::authorize::Denied;
use crate::observe::Reason;

/// Why a Kafka producer's batch was not stored.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("the topic has no such partition")]
    UnknownPartition,
    /// The batch breaks a rule of `design/batch.md`. Sending it again does not help.
    #[error(transparent)]
    Invalid(#[from] BatchError),
    #[error("the produce request carries {found} for a partition, not one batch")]
    NotOneBatch { found: &'static str },
    /// Another hub leads the partition's shard, or none does. Sending it again helps at the leader; where the
    /// batch was on its way when this hub lost the lead it may have been stored.
    #[error("this hub does not lead the partition")]
    NotLeader { leader: Option<NodeId> },
    #[error(transparent)]
    Append(AppendError),
}

impl From<AppendError> for ProduceError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NotLeader { leader } => Self::NotLeader { leader },
            error => Self::Append(error),
        }
    }
}

impl ProduceError {
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Denied(_) => Reason::NotAllowed,
            Self::UnknownPartition => Reason::UnknownTopic,
            Self::Invalid(error) => batch_reason(error),
            Self::NotOneBatch { .. } => Reason::Invalid,
            Self::NotLeader { .. } => Reason::Unavailable,
            Self::Append(error) => append_reason(error),
        }
    }
}

fn batch_reason(error: &BatchError) -> Reason {
    match error {
        BatchError::TooLarge { .. }
        | BatchError::DecompressedTooLarge { .. }
        | BatchError::RecordTooLarge { .. } => Reason::TooLarge,
        BatchError::KeyNotAllowed { .. } => Reason::NotAllowed,
        _ => Reason::Invalid,
    }
}

fn append_reason(error: &AppendError) -> Reason {
    match error {
        AppendError::UnknownPartition => Reason::UnknownTopic,
        AppendError::NoSpace => Reason::DiskFull,
        AppendError::Overloaded => Reason::Overloaded,
        AppendError::TooLarge { .. } => Reason::TooLarge,
        AppendError::Malformed => Reason::Invalid,
        AppendError::Sequence(_) => Reason::Sequence,
        AppendError::NotLeader { .. } | AppendError::Stopping | AppendError::Stopped => Reason::Unavailable,
    }
}

/// Why an agent's batch was refused.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("the topic has no such partition")]
    UnknownPartition,
    /// Agents name their topics when they connect. One that agents feed cannot be compacted: gaps and streams
    /// would not survive it.
    #[error("the topic has not been opened to agents")]
    NotAdmitted,
    #[error("the publish carries no batch")]
    Empty,
    #[error("the publish carries more than {0} batches")]
    TooManyBatches(usize),
    #[error("the publish carries batches of more than one stream")]
    MixedStreams,
    /// No fault of the batch, which other topics would take. Sending it again helps when the topic's
    /// `max.message.bytes` has been raised.
    #[error("the batch has {bytes} bytes, and the topic takes {max}")]
    TopicTakesLess { bytes: usize, max: usize },
    /// The batch breaks a rule of `design/batch.md`. Sending it again does not help.
    #[error(transparent)]
    Invalid(#[from] BatchError),
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl AgentError {
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Denied(_) => Reason::NotAllowed,
            Self::UnknownPartition | Self::NotAdmitted => Reason::UnknownTopic,
            Self::Empty | Self::TooManyBatches(_) | Self::MixedStreams => Reason::Invalid,
            Self::TopicTakesLess { .. } => Reason::TooLarge,
            Self::Invalid(error) => batch_reason(error),
            Self::Append(error) => append_reason(error),
        }
    }
}

/// The first batch of a publish that was refused. What stands before it is stored.
#[derive(Debug, thiserror::Error)]
#[error("batch {batch}: {error}")]
pub struct AgentRefusal {
    /// Its index within the publish.
    pub batch: usize,
    #[source]
    pub error: AgentError,
}

impl AgentRefusal {
    /// The sequence that the hub expects instead, where the refusal is about sequences.
    #[must_use]
    pub fn expected(&self) -> Option<Sequence> {
        let AgentError::Append(AppendError::Sequence(error)) = &self.error else { return None };
        match *error {
            SequenceError::OutOfOrder { expected } | SequenceError::Fork { expected } => Some(expected),
            SequenceError::UnknownStream => Some(Sequence::ZERO),
            _ => None,
        }
    }

    /// Another batch is stored under the same sequences.
    #[must_use]
    pub fn is_fork(&self) -> bool {
        matches!(&self.error, AgentError::Append(AppendError::Sequence(SequenceError::Fork { .. })))
    }
}

/// Why the messages of one call of `plain` were not stored. Copied to every call that the batch served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlainError {
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("the topic has no such partition")]
    UnknownPartition,
    #[error("a message is larger than the topic takes")]
    TooLarge,
    /// Try again later.
    #[error("the hub holds as much unanswered work as it may")]
    Overloaded,
    /// Try again when there is room.
    #[error("the disk is full")]
    NoSpace,
    /// Try again; the messages may have been stored.
    #[error("the shard could not take the batch now")]
    Unavailable,
    #[error("the hub is stopping")]
    Stopping,
}

impl PlainError {
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Denied(_) => Reason::NotAllowed,
            Self::UnknownPartition => Reason::UnknownTopic,
            Self::TooLarge => Reason::TooLarge,
            Self::Overloaded => Reason::Overloaded,
            Self::NoSpace => Reason::DiskFull,
            Self::Unavailable | Self::Stopping => Reason::Unavailable,
        }
    }
}

impl From<&AppendError> for PlainError {
    fn from(error: &AppendError) -> Self {
        match error {
            AppendError::UnknownPartition => Self::UnknownPartition,
            AppendError::NoSpace => Self::NoSpace,
            AppendError::Overloaded => Self::Overloaded,
            AppendError::TooLarge { .. } => Self::TooLarge,
            AppendError::Stopping => Self::Stopping,
            AppendError::NotLeader { .. }
            | AppendError::Sequence(_)
            | AppendError::Malformed
            | AppendError::Stopped => Self::Unavailable,
        }
    }
}
