//! What a replica is called.

use std::fmt;

/// A replica of a group: the node that has it in the upper half, a number in the lower one. Handed out once and
/// never used again; 0 is no replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub u64);

impl ReplicaId {
    pub const fn new(node: u32, number: u32) -> Self {
        Self(((node as u64) << 32) | number as u64)
    }

    /// Where it lives; messages find their way by this alone.
    pub const fn node(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub const fn number(self) -> u32 {
        self.0 as u32
    }

    /// raft-rs says "nobody" with 0.
    pub(crate) fn known(id: u64) -> Option<Self> {
        (id != raft::INVALID_ID).then_some(Self(id))
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node(), self.number())
    }
}
