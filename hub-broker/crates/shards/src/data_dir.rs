//! The hub's data directory: who may use it, and whose it is.
//!
//! ```text
//! lock               held (flock) while a hub runs
//! headwater          format version and identity, see below
//! cluster            this hub's part in its cluster, see `cluster_file`
//! replicas           which replicas this hub has, see `replicas`
//! clock              see `clock::Anchor`
//! wal/               the write-ahead log
//! wal-damaged-N/     a damaged write-ahead log that was set aside; nothing reads it
//! given-up/          what replicas have left that were given up at a start, see `aside`
//! checkpoint/G/      the checkpoints of group G; group 0 is the metadata's
//! checkpoint/G.damaged  what of the group's replica is known to be damaged, see `known_damage`
//! log/TOPIC-INDEX/   a partition's segments; TOPIC is the topic's UUID
//! ```
//!
//! `headwater` is text, written once: first line `headwater data directory, format 1`, then `node N`,
//! `incarnation UUID`, `shards N`, and last `crc32c HEX` over all lines before it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use schemas::{NodeId, PartitionId};
use uuid::Uuid;

use crate::cluster_file::ClusterFile;
use crate::replicas::Replicas;
pub(crate) use crate::text_file::sync_directory;
use crate::text_file::{self, Kind, replace_file};
use crate::{Config, DataDirError};

const IDENTITY_FILE: &str = "headwater";
const CLUSTER_FILE: &str = "cluster";
pub(crate) const CHECKPOINTS: &str = "checkpoint";
const IDENTITY: Kind = Kind { title: "headwater data directory", format: 1 };

/// Whose data it is. The incarnation changes when a hub starts over with an empty directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub node: NodeId,
    pub incarnation: Uuid,
}

/// An open data directory. It is locked for as long as this lives.
///
/// A new one belongs to no cluster: it is made a founder's ([`DataDir::found`]) or joins one ([`DataDir::join`])
/// before the shards start in it.
pub struct DataDir {
    path: PathBuf,
    identity: Identity,
    cluster: Option<ClusterFile>,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is missing.
    pub fn open(config: &Config) -> Result<Self, DataDirError> {
        let path = config.data_dir.clone();
        make_directory(&path)?;
        let lock = lock(&path)?;
        let file = path.join(IDENTITY_FILE);
        let identity = match fs::read(&file) {
            Ok(bytes) => read_identity(&file, &bytes, config)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => first_use(&path, config)?,
            Err(source) => return Err(DataDirError::Io { path: file, source }),
        };
        for directory in [path.join(CHECKPOINTS), path.join("log")] {
            fs::create_dir_all(&directory).map_err(|source| not_writable(&directory, source))?;
        }
        sync_directory(&path).map_err(|source| not_writable(&path, source))?;
        let cluster = read_cluster(&path)?;
        Ok(Self { path, identity, cluster, _lock: lock })
    }

    /// Whose directory it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// This hub's part in its cluster; none if it has not been part of one.
    pub fn cluster(&self) -> Option<ClusterFile> {
        self.cluster
    }

    /// A cluster begins with this hub alone. Nothing changes for one that has a cluster.
    pub fn found(&mut self) -> Result<(), DataDirError> {
        match self.cluster {
            Some(_) => Ok(()),
            None => self.set_cluster(ClusterFile::founder()),
        }
    }

    /// The hub is registered in `cluster`: replica numbers up to `replica_floor` are not its own. A hub that has a
    /// part in this cluster keeps it.
    pub fn join(&mut self, cluster: Uuid, replica_floor: u32) -> Result<(), DataDirError> {
        match self.cluster {
            Some(ClusterFile { id: None, founder: true, .. }) => {
                Err(DataDirError::OtherCluster { path: self.cluster_file(), found: None, joining: cluster })
            }
            Some(ClusterFile { id: Some(found), .. }) if found != cluster => {
                Err(DataDirError::OtherCluster {
                    path: self.cluster_file(),
                    found: Some(found),
                    joining: cluster,
                })
            }
            Some(_) => Ok(()),
            None => self.set_cluster(ClusterFile { id: Some(cluster), founder: false, replica_floor }),
        }
    }

    /// A founder's cluster has got its id. Durable when this returns.
    pub(crate) fn name_cluster(&mut self, id: Uuid) -> Result<(), DataDirError> {
        match self.cluster {
            Some(ClusterFile { id: Some(found), .. }) if found != id => {
                Err(DataDirError::OtherCluster { path: self.cluster_file(), found: Some(found), joining: id })
            }
            Some(file @ ClusterFile { id: None, .. }) => {
                self.set_cluster(ClusterFile { id: Some(id), ..file })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn set_cluster(&mut self, cluster: ClusterFile) -> Result<(), DataDirError> {
        let path = self.cluster_file();
        replace_file(&path, cluster.encode().as_bytes()).map_err(|source| not_writable(&path, source))?;
        self.cluster = Some(cluster);
        Ok(())
    }

    /// The records of this hub's replicas, as a member of `cluster`.
    pub(crate) fn replicas(&self, cluster: &ClusterFile) -> Result<Replicas, DataDirError> {
        Replicas::load(self.path.join("replicas"), self.identity.node, cluster)
    }

    fn cluster_file(&self) -> PathBuf {
        self.path.join(CLUSTER_FILE)
    }

    /// Opens a directory that a hub has used, whichever hub it was; with its number of shards.
    pub(crate) fn open_existing(path: &Path) -> Result<(Self, u16), DataDirError> {
        let file = path.join(IDENTITY_FILE);
        let bytes = fs::read(&file).map_err(|source| DataDirError::Io { path: file.clone(), source })?;
        let lock = lock(path)?;
        let (identity, shard_count) = parse_identity(&file, &bytes)?;
        let cluster = read_cluster(path)?;
        Ok((Self { path: path.to_owned(), identity, cluster, _lock: lock }, shard_count))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn wal(&self) -> PathBuf {
        self.path.join("wal")
    }

    pub(crate) fn checkpoint(&self, group: u32) -> PathBuf {
        self.checkpoints().join(group.to_string())
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(crate) fn clock(&self) -> PathBuf {
        self.path.join("clock")
    }
}

/// A directory without the file that has a log was used before there was such a file: by a hub that was a whole
/// cluster.
fn read_cluster(path: &Path) -> Result<Option<ClusterFile>, DataDirError> {
    let file = path.join(CLUSTER_FILE);
    match text_file::read(&file)? {
        Some(bytes) => ClusterFile::decode(&file, &bytes).map(Some),
        None => {
            let used = ["wal", "checkpoint/0"].iter().any(|trace| path.join(trace).exists());
            Ok(used.then(ClusterFile::founder))
        }
    }
}

/// A partition's directory within `log`.
pub(crate) fn partition_directory(log: &Path, id: PartitionId) -> PathBuf {
    log.join(format!("{}-{}", id.topic.0, id.index.0))
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
    IDENTITY.seal(&format!("node {node}\nincarnation {incarnation}\nshards {shard_count}\n"))
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
    let lines = IDENTITY.open(file, bytes)?;
    let damaged = || DataDirError::Damaged { path: file.to_owned(), what: "a line is missing" };
    let (node, incarnation, shard_count) = fields(lines).ok_or_else(damaged)?;
    Ok((Identity { node, incarnation }, shard_count))
}

fn fields(text: &str) -> Option<(NodeId, Uuid, u16)> {
    let mut lines = text.lines();
    let node = lines.next()?.strip_prefix("node ")?.parse().ok()?;
    let incarnation = lines.next()?.strip_prefix("incarnation ")?.parse().ok()?;
    let shard_count = lines.next()?.strip_prefix("shards ")?.parse().ok()?;
    lines.next().is_none().then_some((NodeId(node), incarnation, shard_count))
}

#[cfg(test)]
mod tests;
