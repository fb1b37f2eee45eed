//! What can go wrong, one enum per operation.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use schemas::{LeaderEpoch, Offset, PartitionId};

use crate::names::LOG_EXTENSION;

/// A place in a file that is not what it was when it was written. It is reported and never served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: damaged at byte {position}: {what}", file.display())]
pub struct Damage {
    pub file: PathBuf,
    /// The byte at which the damaged piece begins.
    pub position: u64,
    pub what: DamageKind,
}

impl Damage {
    /// Whether batches are lost. A damaged index is made again from its segment, and loses nothing.
    pub fn is_loss(&self) -> bool {
        self.file.extension().is_some_and(|extension| extension == LOG_EXTENSION)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// The file is gone.
    FileMissing,
    /// The disk does not give back what was written, or the file system knows that it is something else.
    Unreadable,
    /// The file ends before what it is known to hold.
    Truncated { expected_bytes: u64, actual_bytes: u64 },
    /// A batch does not match its own CRC-32C.
    BatchChecksum,
    /// The 21 bytes in front of what the batch's CRC covers were changed.
    PlacementChecksum,
    /// A batch is not one: its header, length or place in the sequence of offsets is wrong.
    BatchShape,
    /// An entry of an index file does not match its own checksum.
    IndexEntry,
    /// The file does not begin as an index file of a known version does.
    IndexHeader,
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileMissing => write!(f, "the file is missing"),
            Self::Unreadable => write!(f, "the disk cannot read it"),
            Self::Truncated { expected_bytes, actual_bytes } => {
                write!(f, "the file ends after {actual_bytes} bytes, {expected_bytes} were written")
            }
            Self::BatchChecksum => write!(f, "a batch does not match its CRC-32C"),
            Self::PlacementChecksum => write!(f, "the first 21 bytes of a batch do not match their checksum"),
            Self::BatchShape => write!(f, "a batch's header or length is wrong"),
            Self::IndexEntry => write!(f, "an index entry does not match its checksum"),
            Self::IndexHeader => write!(f, "not an index file of a known version"),
        }
    }
}

/// Why the log could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk is full, or too many files are open. Nothing has changed; the same call may be made again when there
    /// is room.
    #[error("no room to write {}: {source}", file.display())]
    NoSpace { file: PathBuf, source: io::Error },
    /// The leader epoch went backwards, which consensus rules out.
    #[error("leader epoch {given} is below the partition's {current}")]
    EpochWentBack { given: LeaderEpoch, current: LeaderEpoch },
    /// The file system failed. The log is poisoned: it takes no further writes in this process.
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: io::Error },
    /// An earlier write failed.
    #[error("an earlier write to this partition failed")]
    Poisoned,
}

impl LogError {
    pub(crate) fn from_io(file: &Path, source: io::Error) -> Self {
        match Errno::from_io_error(&source) {
            // FBIG is the process's own limit on the size of a file: to be raised like a disk that is full.
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => {
                Self::NoSpace { file: file.to_owned(), source }
            }
            // Said of a file that is to be opened, so that nothing has happened to it.
            _ if is_out_of_files(&source) => Self::NoSpace { file: file.to_owned(), source },
            _ => Self::Io { file: file.to_owned(), source },
        }
    }
}

/// What was written cannot be read back and will not be: a bad sector, or a checksum of the file system. Whatever else
/// keeps a file from being read now is no damage.
pub fn is_unreadable(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::BADMSG | Errno::UCLEAN))
}

/// The process, or the whole system, has as many files open as it may.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Why a partition could not be opened at all. Damage that leaves the rest usable is reported beside the log.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: io::Error },
    /// The state names no segment, or segments that do not follow one another.
    #[error("the state of partition {partition} contradicts itself")]
    BadState { partition: PartitionId },
}

/// Why a read was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// `start` is the first offset that is kept, `end` the high watermark.
    #[error("offset out of range [{start}, {end}]")]
    OutOfRange { start: Offset, end: Offset },
    #[error(transparent)]
    Damaged(#[from] Damage),
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: io::Error },
}

/// Why closed segments could not be compacted. The log is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A batch's records cannot be walked, so nothing can be said about their keys.
    #[error("the records of the batch at offset {at} cannot be walked: {source}")]
    Records { at: Offset, source: schemas::BatchError },
    #[error(transparent)]
    Write(#[from] LogError),
}

/// Why bytes are not a partition's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeStateError {
    #[error("version {0} is not known")]
    UnknownVersion(u8),
    #[error("the bytes do not match their checksum")]
    Checksum,
    #[error("the bytes end early or hold an impossible value")]
    Malformed,
}
