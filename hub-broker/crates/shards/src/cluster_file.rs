//! What a hub knows of its cluster before its metadata runs: the file `cluster` of the data directory.
//!
//! ```text
//! headwater cluster, format 1
//! id UUID|none            the cluster's id; none until a founder has formed it
//! founder yes|no          whether the cluster began with this hub alone
//! replica-floor N         replica numbers up to this belonged to others, or to this node's earlier directories
//! crc32c HEX
//! ```
//!
//! A directory that was used before there was such a file is a founder's: it held a whole cluster of one hub.

use std::path::Path;

use uuid::Uuid;

use crate::DataDirError;
use crate::text_file::Kind;

const KIND: Kind = Kind { title: "headwater cluster", format: 1 };

/// The number of the replicas that a founder begins with, in every group.
pub(crate) const FOUNDERS_REPLICA: u32 = 1;

/// A hub's part in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterFile {
    /// `None` until a founder has formed its cluster.
    pub id: Option<Uuid>,
    /// The cluster began with this hub alone: it has the first replica of every group.
    pub founder: bool,
    /// The hub brings no replica to life with a number up to this.
    pub replica_floor: u32,
}

impl ClusterFile {
    pub(crate) fn founder() -> Self {
        Self { id: None, founder: true, replica_floor: FOUNDERS_REPLICA }
    }

    pub(crate) fn encode(&self) -> String {
        let id = self.id.map_or_else(|| "none".to_owned(), |id| id.to_string());
        let founder = if self.founder { "yes" } else { "no" };
        KIND.seal(&format!("id {id}\nfounder {founder}\nreplica-floor {}\n", self.replica_floor))
    }

    pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<Self, DataDirError> {
        let lines = KIND.open(path, bytes)?;
        fields(lines)
            .ok_or_else(|| DataDirError::Damaged { path: path.to_owned(), what: "a line is missing" })
    }
}

fn fields(text: &str) -> Option<ClusterFile> {
    let mut lines = text.lines();
    let id = match lines.next()?.strip_prefix("id ")? {
        "none" => None,
        id => Some(id.parse().ok()?),
    };
    let founder = match lines.next()?.strip_prefix("founder ")? {
        "yes" => true,
        "no" => false,
        _ => return None,
    };
    let replica_floor = lines.next()?.strip_prefix("replica-floor ")?.parse().ok()?;
    lines.next().is_none().then_some(ClusterFile { id, founder, replica_floor })
}

#[cfg(test)]
mod tests;
