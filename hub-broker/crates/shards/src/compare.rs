//! Replicas of a shard compare what they have: a running hash of (offset, CRC) for each partition.
//!
//! ```text
//!   leader, after a checkpoint with news     mark ──> the shard's log: applying it, every replica remembers its hashes
//!   leader, until everyone has said          question(mark's index, the leader's hashes) ──> each other replica
//!   replica, once it has applied the mark    verdict: same, or differs (an error in its log, and a metric)
//!   leader, if most voters have the same     question, decided ──> who differs: it gives itself up and is fetched again
//! ```
//!
//! The mark makes it exact: all hashes are of the state at one entry. They are no part of that state, and nothing that
//! is applied depends on them; who has begun anew since the mark has nothing to compare, and is compared with the next.
//! A leader never gives itself up. One that most of its voters differ from leaves the lead to one of them, and that
//! finds out who is wrong.

pub(crate) mod wire;

use std::sync::Arc;

use consensus::ReplicaId;
use schemas::{Offset, PartitionId};

use crate::limits::COMPARED_PARTITIONS_MAX;

/// What has been appended to a partition, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartitionHash {
    pub partition: PartitionId,
    pub end: Offset,
    pub hash: u32,
}

/// The hashes of a replica's partitions, rising, as of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub index: u64,
    pub hashes: Arc<[PartitionHash]>,
}

/// What a leader's replica asks another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub group: u32,
    pub from: ReplicaId,
    pub to: ReplicaId,
    pub mark: Mark,
    /// Most voters have the same: a replica that differs is to be given up.
    pub decided: bool,
}

/// What a replica says of another's hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Same,
    Differs,
    /// It has not come to that entry yet.
    Later,
    /// It does not remember that entry, or is not here.
    Unknown,
}

/// Hears a replica's verdict; must not block.
pub(crate) type VerdictDone = Box<dyn FnOnce(Verdict) + Send>;

/// The first partition that two replicas do not have alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Difference {
    pub partition: PartitionId,
    pub own: Option<(Offset, u32)>,
    pub other: Option<(Offset, u32)>,
}

impl Mark {
    pub(crate) fn take(index: u64, hashes: impl Iterator<Item = PartitionHash>) -> Self {
        let mut hashes: Vec<_> = hashes.collect();
        hashes.sort_unstable_by_key(|hash| hash.partition);
        hashes.truncate(COMPARED_PARTITIONS_MAX);
        Self { index, hashes: hashes.into() }
    }

    pub(crate) fn difference(&self, other: &Self) -> Option<Difference> {
        let at = self.hashes.iter().zip(other.hashes.iter()).take_while(|(own, other)| own == other).count();
        let (own, other) = (self.hashes.get(at), other.hashes.get(at));
        let partition = own.into_iter().chain(other).map(|hash| hash.partition).min()?;
        let of = |hash: Option<&PartitionHash>| {
            hash.filter(|hash| hash.partition == partition).map(|hash| (hash.end, hash.hash))
        };
        Some(Difference { partition, own: of(own), other: of(other) })
    }
}

#[cfg(test)]
mod tests;
