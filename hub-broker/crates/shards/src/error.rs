//! One error per operation; each says by its variant whether trying again can help.

use std::path::PathBuf;

use consensus::RestoreError;
use partition_log::{DecodeStateError, SequenceError};
use schemas::{NodeId, PartitionId};
use uuid::Uuid;

/// Why an append was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("the shard has no such partition")]
    UnknownPartition,
    /// Try again at the leader. The batch may still be committed by it.
    #[error("this hub does not lead the shard")]
    NotLeader { leader: Option<NodeId> },
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// Try again when there is room.
    #[error("the disk is full")]
    NoSpace,
    /// Try again later: the hub holds as much unanswered work as it may.
    #[error("the hub holds as many unanswered appends as it may")]
    Overloaded,
    /// The hub is stopping. The batch may have been stored.
    #[error("the hub is stopping")]
    Stopping,
    #[error("the batch has {bytes} bytes, more than {max}")]
    TooLarge { bytes: usize, max: usize },
    /// The bytes are not exactly one batch.
    #[error("not a batch")]
    Malformed,
    /// The shard met an entry that this version cannot apply and stands still.
    #[error("the shard is stopped by an entry of an unknown version")]
    Stopped,
}

/// Why a partition command did not take effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("the shard has no such partition")]
    UnknownPartition,
    #[error("this hub does not lead the shard")]
    NotLeader { leader: Option<NodeId> },
    #[error("the disk is full")]
    NoSpace,
    #[error("the hub holds as many unanswered requests as it may")]
    Overloaded,
    #[error("the hub is stopping")]
    Stopping,
    #[error("the shard is stopped by an entry of an unknown version")]
    Stopped,
    /// A closed segment cannot be read or rewritten; the log says why. The partition is as it was.
    #[error("the partition could not be compacted")]
    NotCompacted,
}

/// Why a metadata command did not take effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    #[error("this hub does not lead the metadata")]
    NotLeader { leader: Option<NodeId> },
    #[error("the disk is full")]
    NoSpace,
    #[error("the hub holds as many unanswered requests as it may")]
    Overloaded,
    #[error("the hub is stopping")]
    Stopping,
    #[error("the command has {bytes} bytes, more than {max}")]
    TooLarge { bytes: usize, max: usize },
    #[error("the metadata is stopped by an entry of an unknown version")]
    Stopped,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("data directory {path}: a file is in its place", path = .0.display())]
    NotADirectory(PathBuf),
    #[error("data directory {path}: cannot be written: {source}", path = .path.display())]
    NotWritable { path: PathBuf, source: std::io::Error },
    #[error("data directory {path}: another hub is running in it", path = .0.display())]
    InUse(PathBuf),
    #[error("{path}: not a headwater data directory, but not empty either", path = .0.display())]
    Foreign(PathBuf),
    #[error("{path}: format version {found}, this hub reads {supported}", path = .path.display())]
    Version { path: PathBuf, found: u32, supported: u32 },
    #[error("{path}: damaged: {what}", path = .path.display())]
    Damaged { path: PathBuf, what: &'static str },
    #[error("{path}: belongs to node {found}, not to node {configured}", path = .path.display())]
    OtherNode { path: PathBuf, found: u32, configured: u32 },
    #[error("{path}: has {found} shards, not {configured}", path = .path.display())]
    OtherShardCount { path: PathBuf, found: u16, configured: u16 },
    #[error("{path}: belongs to {cluster}, not to cluster {joining}", path = .path.display(),
        cluster = .found.map_or_else(|| "a cluster of its own".to_owned(), |id| format!("cluster {id}")))]
    OtherCluster { path: PathBuf, found: Option<Uuid>, joining: Uuid },
    #[error("{path}: {source}", path = .path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

/// Why the shards did not start. None of these goes away by trying again alone.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("configuration: {0}")]
    Config(&'static str),
    /// The directory was neither founded nor joined.
    #[error("this hub is part of no cluster yet")]
    NoCluster,
    /// Damage of the log names file and position: the others may not have what this hub acknowledged, so it refuses
    /// to start rather than lose it.
    #[error(transparent)]
    Wal(#[from] wal::OpenError),
    /// What is whole of a damaged log could not be put into a new one; the damaged one is where it was.
    #[error(transparent)]
    Replace(#[from] crate::SalvageError),
    #[error("group {group}: {source}")]
    Checkpoint { group: u32, source: checkpoint::OpenError },
    #[error("group {group}: the state in its checkpoint cannot be read: {what}")]
    State { group: u32, what: String },
    #[error("group {group}, partition {partition}: the state in its checkpoint cannot be read: {source}")]
    PartitionState { group: u32, partition: PartitionId, source: DecodeStateError },
    #[error("group {group}, partition {partition}: {source}")]
    Partition { group: u32, partition: PartitionId, source: partition_log::RecoverError },
    #[error("group {group}: the write-ahead log does not fit its checkpoint: {source}")]
    Log { group: u32, source: RestoreError },
    #[error("group {group}: the write-ahead log holds a group that this hub does not have")]
    UnknownGroup { group: u32 },
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

impl StartError {
    /// Something that was stored is changed or gone for good. What is of a later release, or what this moment does not
    /// let be read, is still there, and is no reason to give it up.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::PartitionState { source, .. } => *source == DecodeStateError::Checksum,
            Self::Log { source, .. } => match source {
                RestoreError::Hole { .. }
                | RestoreError::TooShort { .. }
                | RestoreError::TermWentBack { .. }
                | RestoreError::HardStateBehind { .. } => true,
                RestoreError::UnknownKind { .. } | RestoreError::Membership(_) | RestoreError::Config(_) => {
                    false
                }
            },
            _ => false,
        }
    }
}

/// Why a change of a group's replicas, or of its leader, was not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("this hub does not lead the group")]
    NotLeader { leader: Option<NodeId> },
    /// Try again when it is done.
    #[error("another change of the group's replicas is under way")]
    Pending,
    /// Damaged replicas of the group have leave to go. Try again when they are replaced.
    #[error("too few replicas would be left that are whole: damaged ones are replaced first")]
    TooFewLeft,
    /// The change was proposed, and another leader's entry took its place or nobody knows.
    #[error("the leader has changed meanwhile")]
    Lost,
    #[error("the replica is no voter of the group")]
    NoVoter,
    #[error("the replica's hub waits for room")]
    NoRoom,
    #[error("the group cannot change in this way, or is so already")]
    Invalid,
    #[error("the hub is stopping")]
    Stopping,
}

/// Why a leader could not confirm that it leads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadIndexError {
    #[error("this hub does not lead the shard")]
    NotLeader { leader: Option<NodeId> },
    /// It leads, but has applied nothing of its own term yet. Try again.
    #[error("the leader is new and does not serve yet")]
    NotServing,
    #[error("the hub is stopping")]
    Stopping,
}
