//! How a group stands on this hub.

use consensus::{Membership, Progress, ReplicaId, Role};
use schemas::Term;

use crate::group::Standing;

/// One group as its replica here sees it; of a group without one only the number says anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    pub group: u32,
    /// This hub's replica, if it has one.
    pub own: Option<ReplicaId>,
    pub role: Role,
    pub term: Term,
    pub leader: Option<ReplicaId>,
    pub membership: Membership,
    pub applied: u64,
    pub commit: u64,
    pub last: u64,
    /// How far everyone has come; only the leader knows.
    pub progress: Vec<Progress>,
    pub standing: Standing,
    /// Something of the replica is known to be damaged, or a majority has something else.
    pub is_damaged: bool,
}

impl GroupStatus {
    /// A group without a replica here.
    pub(crate) fn absent(group: u32) -> Self {
        Self {
            group,
            own: None,
            role: Role::Follower,
            term: Term(0),
            leader: None,
            membership: Membership::default(),
            applied: 0,
            commit: 0,
            last: 0,
            progress: Vec::new(),
            standing: Standing::Running,
            is_damaged: false,
        }
    }
}
