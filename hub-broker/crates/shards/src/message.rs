//! What an executor is told, and where a group lives.

use std::sync::mpsc::SyncSender;

use consensus::{PeerMessage, ReplicaId};
use partition_log::{CompactOptions, Compacted, Compaction};
use schemas::{NodeId, PartitionId, Term};
use tokio::sync::oneshot;
use wal::{GroupId, Lsn};

use crate::answer::{Permit, RetainDone};
use crate::capture::Captured;
use crate::group::Request;
use crate::{ChangeError, CommandError, GroupStatus, ReadIndexError, Retention};

/// What an executor is told. `slot` is the group's place on it.
pub(crate) enum Message {
    Request {
        slot: usize,
        request: Request,
    },
    Retain {
        slot: usize,
        partition: PartitionId,
        retention: Retention,
        done: RetainDone,
        permit: Permit,
    },
    /// The readies' frames are durable; the last of them is `lsn`.
    Persisted {
        readies: Vec<(GroupId, u64)>,
        lsn: Lsn,
    },
    /// A replica of another hub said something to the one here.
    Peer {
        slot: usize,
        message: PeerMessage,
    },
    /// The process of that hub is gone: whoever was led by it need not wait for a lease to end.
    LeaderGone {
        node: NodeId,
    },
    /// How all groups of this executor stand.
    Status {
        reply: oneshot::Sender<Vec<GroupStatus>>,
    },
    Transfer {
        slot: usize,
        to: ReplicaId,
        reply: oneshot::Sender<Result<(), ChangeError>>,
    },
    /// Answered with the term in which this replica leads, once a majority has confirmed that and everything
    /// committed until now is applied.
    ReadIndex {
        slot: usize,
        reply: oneshot::Sender<Result<Term, ReadIndexError>>,
    },
    /// The replica of this number, if it is the current one or none newer is, is to be given up.
    Destroy {
        slot: usize,
        number: u32,
        reply: oneshot::Sender<()>,
    },
    /// Leave the lead of every group to its most caught-up voter; answered when none is led here that could go.
    HandOver(SyncSender<()>),
    /// Say what a checkpoint of the group consists of, if there is news or `force`.
    Capture {
        slot: usize,
        force: bool,
        reply: SyncSender<Option<Captured>>,
    },
    Compaction {
        slot: usize,
        partition: PartitionId,
        options: CompactOptions,
        reply: oneshot::Sender<Result<Option<Compaction>, CommandError>>,
    },
    Install {
        slot: usize,
        partition: PartitionId,
        compacted: Compacted,
        reply: oneshot::Sender<()>,
    },
    /// Take nothing more, and say when nothing is in flight.
    Drain(SyncSender<()>),
    Stop,
}

/// Where a group lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub executor: usize,
    pub slot: usize,
}

impl Place {
    pub(crate) fn of(group: u32, executors: usize) -> Self {
        let group = group as usize;
        Self { executor: group % executors, slot: group / executors }
    }
}
