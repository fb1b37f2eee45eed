//! What an executor is told, and where a group lives.

use std::path::PathBuf;
use std::sync::mpsc::SyncSender;

use consensus::{MembershipChange, PeerMessage, ReplicaId, SnapshotMark};
use partition_log::{CompactOptions, Compacted, Compaction};
use schemas::{NodeId, PartitionId};
use tokio::sync::oneshot;
use wal::{GroupId, Lsn};

use crate::answer::{Permit, RetainDone};
use crate::capture::Captured;
use crate::compare::{Question, Verdict, VerdictDone};
use crate::group::Request;
use crate::leave::{Answer, LeaveDone, Plea};
use crate::log_reads::OldEntries;
use crate::mend::Mended;
use crate::snapshot::{Arrived, FetchError, Wanted};
use crate::waiting::{ChangeReply, ReadReply};
use crate::{CommandError, GroupStatus, Retention};

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
    /// The readies' frames are durable.
    Persisted(Vec<(GroupId, u64)>),
    /// A replica of another hub said something to the one here.
    Peer {
        slot: usize,
        message: PeerMessage,
        /// Room among the messages that wait, until this one is handled.
        permit: Permit,
    },
    /// The process of that hub is gone: whoever was led by it need not wait for a lease to end.
    LeaderGone {
        node: NodeId,
    },
    /// How all groups of this executor stand.
    Status {
        reply: oneshot::Sender<Vec<GroupStatus>>,
    },
    ChangeMembership {
        slot: usize,
        change: MembershipChange,
        reply: ChangeReply,
    },
    Transfer {
        slot: usize,
        to: ReplicaId,
        reply: ChangeReply,
    },
    /// Answered with the term in which this replica leads, once a majority has confirmed that and everything
    /// committed until now is applied.
    ReadIndex {
        slot: usize,
        reply: ReadReply,
    },
    /// The replica of this number is no more in the group, and is to be given up; answered when it is gone.
    Destroy {
        slot: usize,
        number: u32,
        reply: oneshot::Sender<()>,
    },
    /// Damage was found in what the replica of this number has stored: in this file, or nobody knows where.
    Damaged {
        slot: usize,
        number: u32,
        file: Option<PathBuf>,
    },
    /// A damaged file was to be made again.
    Mended {
        slot: usize,
        file: PathBuf,
        outcome: Mended,
    },
    /// It is written down that this hub has the replica.
    Begun {
        slot: usize,
        number: u32,
        done: bool,
    },
    /// It is written down that the replica is no more, and nothing of it is left.
    GivenUp {
        slot: usize,
        number: u32,
        done: bool,
    },
    /// The group's barrier is durable.
    Barrier {
        slot: usize,
        lsn: Lsn,
    },
    /// The checkpoint for followers was made, or could not be.
    Checkpointed {
        slot: usize,
        made: Option<SnapshotMark>,
    },
    /// A follower has copied the snapshot, or will not.
    SnapshotSent {
        slot: usize,
        to: ReplicaId,
        ok: bool,
    },
    /// Old entries from `from` on, or none.
    LogRead {
        slot: usize,
        from: u64,
        found: Option<OldEntries>,
    },
    SnapshotArrived {
        slot: usize,
        wanted: Wanted,
        outcome: Box<Result<Arrived, FetchError>>,
    },
    /// The switch to the snapshot is durable.
    SnapshotInstalled {
        slot: usize,
        arrived: Box<Arrived>,
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
    /// Another replica asks whether this one has the same.
    Compare {
        slot: usize,
        question: Box<Question>,
        done: VerdictDone,
    },
    /// The replica `from` has compared itself with this one at the mark `index`.
    Compared {
        slot: usize,
        from: ReplicaId,
        index: u64,
        verdict: Verdict,
    },
    /// A damaged replica of another hub asks the one here for leave to give itself up.
    Plead {
        slot: usize,
        plea: Plea,
        done: LeaveDone,
    },
    /// The leader has said whether the replica here may give itself up.
    PleaAnswered {
        slot: usize,
        plea: Plea,
        answer: Answer,
    },
    /// That hub is short of room, or is not.
    NoRoom {
        node: NodeId,
        waits: bool,
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
