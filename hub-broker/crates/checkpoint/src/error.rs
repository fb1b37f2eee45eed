//! What can go wrong, per operation.

use crate::checkpoint::Key;
use bytes::Bytes;
use std::{fmt, io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot {operation} {}: {error}", file.display())]
    Io { operation: &'static str, file: PathBuf, error: io::Error },
    #[error("{} has format version {version}, which this release does not know", file.display())]
    Version { file: PathBuf, version: u16 },
    /// There are manifests, and none of them can be used.
    #[error("no usable checkpoint in {}: {}", dir.display(), damage.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Damaged {
        dir: PathBuf,
        damage: Vec<Damage>,
        /// Of the newest manifest that can be read, while a state that it names cannot.
        membership: Option<Bytes>,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk is full, or too many files are open; nothing has changed, and a later attempt can succeed.
    #[error("no room for the checkpoint in {}: {error}", dir.display())]
    NoSpace { dir: PathBuf, error: io::Error },
    /// The disk failed. The earlier checkpoints stand.
    #[error("cannot {operation} {}: {error}", file.display())]
    Io { operation: &'static str, file: PathBuf, error: io::Error },
    /// `State::Unchanged` for a key that the last checkpoint does not hold.
    #[error("the last checkpoint holds no state for key {0}")]
    UnknownKey(Key),
    /// A write has failed before. Open the store again to see what it holds.
    #[error("the checkpoints in {} are not written any more after a failure", dir.display())]
    Poisoned { dir: PathBuf },
    /// An unchanged state that was to be moved cannot be read. Writing all states as changed helps.
    #[error("{0}")]
    Damaged(Damage),
    #[error("{what} of {bytes}; at most {max} are possible")]
    TooLarge { what: &'static str, bytes: usize, max: usize },
}

/// A file that could not be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub file: PathBuf,
    pub position: u64,
    pub kind: DamageKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    #[error("the file is missing")]
    Missing,
    #[error("it is cut short")]
    Truncated,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it is not of this format")]
    Format,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at {}: {}", self.file.display(), self.position, self.kind)
    }
}

/// Why one checkpoint or one state cannot be used.
pub(crate) enum Unusable {
    Damaged(Damage),
    Version { file: PathBuf, version: u16 },
    Io { operation: &'static str, file: PathBuf, error: io::Error },
}

impl From<Unusable> for WriteError {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::Damaged(damage) => WriteError::Damaged(damage),
            // A store is opened only if this release knows all its files: this one has changed since.
            Unusable::Version { file, .. } => {
                WriteError::Damaged(Damage { file, position: 0, kind: DamageKind::Format })
            }
            Unusable::Io { operation, file, error } => WriteError::Io { operation, file, error },
        }
    }
}
