//! What a checkpoint keeps about a group as a whole.
//!
//! ```text
//! version u8 = 2 | flags u8: 1 = leaves the joint membership by itself, 2 = an installed snapshot
//! last stamp i64 (ms) | replica number u32 | generation u32 | void entries through u64
//! voters, learners, outgoing, next learners: each   count u16 | replica id u64 × count
//! ```
//!
//! All numbers are big-endian. Version 1 was
//! `version u8 = 1 | last stamp i64 (ms) | voters, learners`: a replica with number 1 that never had a snapshot.

use bytes::{Buf, BufMut, Bytes};
use consensus::{Membership, ReplicaId};
use schemas::NodeId;
use wal::Lsn;

/// The lone replica of every group in directories of before there were several.
pub(crate) const ALONE: ReplicaId = ReplicaId(1);

/// Whose state it is and where it lies; carried from checkpoint to checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StateOrigin {
    /// Of this hub's own replica.
    pub replica_number: u32,
    /// Counts the snapshots installed here; part of the names of the partitions' directories.
    pub generation: u32,
    /// Entries of the group with sequence numbers up to here were replaced by a snapshot: `wal::Config::void_entries`.
    pub void_entries_through: Lsn,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupState {
    pub origin: StateOrigin,
    pub membership: Membership,
    pub last_stamp_ms: i64,
    /// The checkpoint is a snapshot as it was installed: none before it may be used any more.
    pub is_installed: bool,
}

const VERSION: u8 = 2;
const VERSION_1: u8 = 1;
const AUTO_LEAVE: u8 = 1;
const INSTALLED: u8 = 2;

impl StateOrigin {
    /// Of a replica that has never had a snapshot.
    pub(crate) fn first(replica_number: u32) -> Self {
        Self { replica_number, generation: 0, void_entries_through: Lsn(0) }
    }
}

impl GroupState {
    pub(crate) fn encode(&self) -> Bytes {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(self.membership.auto_leave, AUTO_LEAVE) | flag(self.is_installed, INSTALLED);
        let mut bytes = vec![VERSION, flags];
        bytes.put_i64(self.last_stamp_ms);
        bytes.put_u32(self.origin.replica_number);
        bytes.put_u32(self.origin.generation);
        bytes.put_u64(self.origin.void_entries_through.0);
        let Membership { voters, learners, outgoing, learners_next, .. } = &self.membership;
        for replicas in [voters, learners, outgoing, learners_next] {
            bytes.put_u16(u16::try_from(replicas.len()).expect("a group has a handful of replicas"));
            replicas.iter().for_each(|replica| bytes.put_u64(replica.0));
        }
        Bytes::from(bytes)
    }

    /// As [`GroupState::decode`], with the replica of this hub by its own name.
    pub(crate) fn decode_of(node: NodeId, bytes: &[u8]) -> Option<Self> {
        let mut state = Self::decode(bytes)?;
        if state.membership.voters == [ALONE] {
            state.membership.voters = vec![state.own(node)];
        }
        Some(state)
    }

    /// The replica that the state is of.
    pub(crate) fn own(&self, node: NodeId) -> ReplicaId {
        ReplicaId::new(node.0, self.origin.replica_number)
    }

    /// `None` if the bytes are something else.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let state = match bytes.try_get_u8().ok()? {
            VERSION => decode_2(&mut bytes)?,
            VERSION_1 => decode_1(&mut bytes)?,
            _ => return None,
        };
        bytes.is_empty().then_some(state)
    }
}

fn decode_2(bytes: &mut &[u8]) -> Option<GroupState> {
    let flags = bytes.try_get_u8().ok().filter(|flags| flags & !(AUTO_LEAVE | INSTALLED) == 0)?;
    let last_stamp_ms = bytes.try_get_i64().ok()?;
    let origin = StateOrigin {
        replica_number: bytes.try_get_u32().ok()?,
        generation: bytes.try_get_u32().ok()?,
        void_entries_through: Lsn(bytes.try_get_u64().ok()?),
    };
    let membership = Membership {
        voters: replicas(bytes)?,
        learners: replicas(bytes)?,
        outgoing: replicas(bytes)?,
        learners_next: replicas(bytes)?,
        auto_leave: flags & AUTO_LEAVE != 0,
    };
    Some(GroupState { origin, membership, last_stamp_ms, is_installed: flags & INSTALLED != 0 })
}

fn decode_1(bytes: &mut &[u8]) -> Option<GroupState> {
    let last_stamp_ms = bytes.try_get_i64().ok()?;
    let (voters, learners) = (replicas(bytes)?, replicas(bytes)?);
    let membership = Membership { voters, learners, ..Membership::default() };
    Some(GroupState { origin: StateOrigin::first(1), membership, last_stamp_ms, is_installed: false })
}

fn replicas(bytes: &mut &[u8]) -> Option<Vec<ReplicaId>> {
    let count = bytes.try_get_u16().ok()?;
    (0..count).map(|_| bytes.try_get_u64().ok().map(ReplicaId)).collect()
}

#[cfg(test)]
mod tests;
