//! Why a log cannot be opened.

use crate::frame::{GroupId, Lsn};
use std::{fmt, io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot {operation} {}: {error}", file.display())]
    Io { operation: &'static str, file: PathBuf, error: io::Error },
    #[error("the write-ahead log in {} is in use by another process", dir.display())]
    Locked { dir: PathBuf },
    #[error("write-ahead log files of {file_bytes} bytes: from {min} to {max} are possible, in steps of 8")]
    FileBytes { file_bytes: u64, min: u64, max: u64 },
    #[error("{} has format version {version}, which this release does not know", file.display())]
    Version { file: PathBuf, version: u16 },
    #[error("{0}")]
    Corrupt(Box<Corruption>),
}

/// Acknowledged frames that cannot be read any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write-ahead log {} is damaged at {position} (sequence number {lsn}, {groups}): {what}", file.display())]
pub struct Corruption {
    pub file: PathBuf,
    /// Byte position of the first damaged frame.
    pub position: u64,
    /// The first damaged sequence number.
    pub lsn: Lsn,
    /// Who lost something.
    pub groups: Concerned,
    pub what: &'static str,
}

/// The groups that a corruption concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concerned {
    /// Those that the damaged group commits name.
    Groups(Vec<GroupId>),
    /// The names cannot be read: every group.
    All,
}

impl fmt::Display for Concerned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Concerned::Groups(groups) = self else { return f.write_str("all groups") };
        f.write_str(if groups.len() == 1 { "group" } else { "groups" })?;
        groups.iter().try_for_each(|group| write!(f, " {group}"))
    }
}
