//! The hub's data directory: who may use it, and whose it is.
//!
//! ```text
//! lock               held (flock) while a hub runs
//! headwater          format version and identity, see below
//! clock              see `clock::Anchor`
//! wal/               the write-ahead log
//! wal-damaged-N/     a damaged write-ahead log that was set aside; nothing reads it
//! checkpoint/G/      the checkpoints of group G; group 0 is the metadata's
//! log/TOPIC-INDEX/   a partition's segments; TOPIC is the topic's UUID
//! ```
//!
//! `headwater` is text, written once: first line `headwater data directory, format 1`, then `node N`,
//! `incarnation UUID`, `shards N`, and last `crc32c HEX` over all lines before it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use schemas::{NodeId, PartitionId};
use uuid::Uuid;

use crate::{Config, DataDirError};

/// The format that this version writes, and the only one there has been.
const FORMAT: u32 = 1;
const IDENTITY_FILE: &str = "headwater";
const TITLE: &str = "headwater data directory, format ";

/// Whose data it is. The incarnation changes when a hub starts over with an empty directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub node: NodeId,
    pub incarnation: Uuid,
}

/// An open data directory. It is locked for as long as this lives.
pub(crate) struct DataDir {
    path: PathBuf,
    pub(crate) identity: Identity,
    _lock: File,
}

impl DataDir {
    pub(crate) fn open(config: &Config) -> Result<Self, DataDirError> {
        let path = config.data_dir.clone();
        make_directory(&path)?;
        let lock = lock(&path)?;
        let file = path.join(IDENTITY_FILE);
        let identity = match fs::read(&file) {
            Ok(bytes) => read_identity(&file, &bytes, config)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => first_use(&path, config)?,
            Err(source) => return Err(DataDirError::Io { path: file, source }),
        };
        for directory in [path.join("checkpoint"), path.join("log")] {
            fs::create_dir_all(&directory).map_err(|source| not_writable(&directory, source))?;
        }
        sync_directory(&path).map_err(|source| not_writable(&path, source))?;
        Ok(Self { path, identity, _lock: lock })
    }

    /// Opens a directory that a hub has used, whichever hub it was; with its number of shards.
    pub(crate) fn open_existing(path: &Path) -> Result<(Self, u16), DataDirError> {
        let file = path.join(IDENTITY_FILE);
        let bytes = fs::read(&file).map_err(|source| DataDirError::Io { path: file.clone(), source })?;
        let lock = lock(path)?;
        let (identity, shard_count) = parse_identity(&file, &bytes)?;
        Ok((Self { path: path.to_owned(), identity, _lock: lock }, shard_count))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn wal(&self) -> PathBuf {
        self.path.join("wal")
    }

    pub(crate) fn checkpoint(&self, group: u32) -> PathBuf {
        self.path.join("checkpoint").join(group.to_string())
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(crate) fn clock(&self) -> PathBuf {
        self.path.join("clock")
    }
}

/// A partition's directory within `log`.
pub(crate) fn partition_directory(log: &Path, id: PartitionId) -> PathBuf {
    log.join(format!("{}-{}", id.topic.0, id.index.0))
}

pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes a small file as a whole: the old one or the new one is there, whatever happens.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

fn make_directory(path: &Path) -> Result<(), DataDirError> {
    match fs::create_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory) => {
            Err(DataDirError::NotADirectory(path.to_owned()))
        }
        Err(source) => Err(not_writable(path, source)),
    }
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let file = path.join("lock");
    let lock = File::options().create(true).truncate(false).write(true).open(&file);
    let lock = lock.map_err(|source| not_writable(path, source))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DataDirError::InUse(path.to_owned())),
        Err(source) => Err(DataDirError::Io { path: file, source: source.into() }),
    }
}

fn not_writable(path: &Path, source: io::Error) -> DataDirError {
    DataDirError::NotWritable { path: path.to_owned(), source }
}

/// A directory without an identity must be empty: ours writes its identity before anything else.
fn first_use(path: &Path, config: &Config) -> Result<Identity, DataDirError> {
    let entries = fs::read_dir(path).map_err(|source| not_writable(path, source))?;
    for entry in entries {
        let name = entry.map_err(|source| not_writable(path, source))?.file_name();
        if !["lock", "lost+found", "headwater.new"].iter().any(|known| name == *known) {
            return Err(DataDirError::Foreign(path.to_owned()));
        }
    }
    let identity = Identity { node: config.node, incarnation: Uuid::new_v4() };
    let file = path.join(IDENTITY_FILE);
    replace_file(&file, identity_text(&identity, config.shard_count).as_bytes())
        .map_err(|source| not_writable(path, source))?;
    Ok(identity)
}

fn identity_text(identity: &Identity, shard_count: u16) -> String {
    let Identity { node, incarnation } = identity;
    let body = format!("{TITLE}{FORMAT}\nnode {node}\nincarnation {incarnation}\nshards {shard_count}\n");
    let crc = crc32c::crc32c(body.as_bytes());
    format!("{body}crc32c {crc:08x}\n")
}

fn read_identity(file: &Path, bytes: &[u8], config: &Config) -> Result<Identity, DataDirError> {
    let (identity, shard_count) = parse_identity(file, bytes)?;
    if identity.node != config.node {
        let (found, configured) = (identity.node.0, config.node.0);
        return Err(DataDirError::OtherNode { path: file.to_owned(), found, configured });
    }
    if shard_count != config.shard_count {
        let (found, configured) = (shard_count, config.shard_count);
        return Err(DataDirError::OtherShardCount { path: file.to_owned(), found, configured });
    }
    Ok(identity)
}

/// Whose directory it is, and its number of shards.
fn parse_identity(file: &Path, bytes: &[u8]) -> Result<(Identity, u16), DataDirError> {
    let damaged = |what| DataDirError::Damaged { path: file.to_owned(), what };
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("not text"))?;
    let version = text.lines().next().and_then(|line| line.strip_prefix(TITLE)?.parse::<u32>().ok());
    let found = version.ok_or_else(|| damaged("the first line is not a headwater data directory's"))?;
    if found != FORMAT {
        return Err(DataDirError::Version { path: file.to_owned(), found, supported: FORMAT });
    }
    let (node, incarnation, shard_count) = fields(text).ok_or_else(|| damaged("a line is missing"))?;
    if identity_text(&Identity { node, incarnation }, shard_count) != text {
        return Err(damaged("the checksum is wrong"));
    }
    Ok((Identity { node, incarnation }, shard_count))
}

fn fields(text: &str) -> Option<(NodeId, Uuid, u16)> {
    let mut lines = text.lines().skip(1);
    let node = lines.next()?.strip_prefix("node ")?.parse().ok()?;
    let incarnation = lines.next()?.strip_prefix("incarnation ")?.parse().ok()?;
    let shard_count = lines.next()?.strip_prefix("shards ")?.parse().ok()?;
    Some((NodeId(node), incarnation, shard_count))
}

#[cfg(test)]
mod tests;
