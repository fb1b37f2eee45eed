//! The task that owns one group: requests come through its inbox, timers run on its clock, writes are durable
//! before anyone hears of them.

mod commits;
mod sweep;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};

use crate::api::{
    CommitResult, DescribedGroup, FetchedOffset, Join, Joined, Leaving, Membership, OffsetToCommit, Sync,
    Synced,
};
use crate::context::Context;
use crate::error::{CoordinatorError, DeleteGroupError, MemberError};
use crate::group::{Action, Group, Ticket, Token};
use crate::limits::GROUP_WRITES_MAX;
use crate::offsets::{NamedPartition, Offsets};
use crate::offsets_log::{OffsetsLog, Record, WriteError};
use crate::records::{GroupMetadata, Key};
use crate::state::GroupState;
use commits::Commit;
use sweep::Tombstones;

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<T>;

pub(crate) enum Message {
    Join {
        request: Join,
        fresh_id: String,
        reply: Reply<Result<Joined, MemberError>>,
    },
    Sync {
        request: Sync,
        reply: Reply<Result<Synced, MemberError>>,
    },
    Heartbeat {
        member: Membership,
        reply: Reply<Result<(), MemberError>>,
    },
    Leave {
        members: Vec<Leaving>,
        reply: Reply<Result<Vec<Result<(), MemberError>>, MemberError>>,
    },
    Commit {
        member: Membership,
        offsets: Vec<OffsetToCommit>,
        reply: Reply<Result<Vec<CommitResult>, MemberError>>,
    },
    Committed {
        partitions: Option<Vec<NamedPartition>>,
        reply: Reply<Vec<FetchedOffset>>,
    },
    Describe {
        reply: Reply<DescribedGroup>,
    },
    Delete {
        reply: Reply<Result<(), DeleteGroupError>>,
    },
    /// Remove what has expired or lost its topic.
    Sweep,
}

/// What a list tells of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) state: GroupState,
    pub(crate) protocol_type: String,
}

/// A write that has ended.
enum Written {
    Metadata { ticket: Ticket, result: Result<(), MemberError> },
    Commit { commit: Commit, result: Result<Vec<schemas::Offset>, WriteError> },
    Tombstones { tombstones: Tombstones, result: Result<Vec<schemas::Offset>, WriteError> },
}

type Write = Pin<Box<dyn Future<Output = Written> + Send>>;

/// What needs every write to have ended first. Until it is done, the inbox waits.
enum Deferred {
    Sweep,
    Delete(Reply<Result<(), DeleteGroupError>>),
}

pub(crate) struct GroupTask {
    id: String,
    group: Group,
    offsets: Offsets,
    log: OffsetsLog,
    context: Arc<Context>,
    inbox: mpsc::Receiver<Message>,
    summary: watch::Sender<Summary>,
    joins: HashMap<Token, Reply<Result<Joined, MemberError>>>,
    syncs: HashMap<Token, Reply<Result<Synced, MemberError>>>,
    last_token: u64,
    writes: FuturesUnordered<Write>,
    deferred: Option<Deferred>,
    /// The log may hold metadata of the group, so that it needs a tombstone.
    is_stored: bool,
    /// The group's last tombstones are being written: nothing may begin in it any more.
    is_ending: bool,
}

/// What a group's task is made of.
pub(crate) struct Parts {
    pub(crate) id: String,
    pub(crate) group: Group,
    pub(crate) offsets: Offsets,
    pub(crate) log: OffsetsLog,
    pub(crate) inbox: mpsc::Receiver<Message>,
    pub(crate) summary: watch::Sender<Summary>,
    pub(crate) is_stored: bool,
}

impl GroupTask {
    pub(crate) fn new(context: Arc<Context>, parts: Parts) -> Self {
        Self {
            id: parts.id,
            group: parts.group,
            offsets: parts.offsets,
            log: parts.log,
            context,
            inbox: parts.inbox,
            summary: parts.summary,
            joins: HashMap::new(),
            syncs: HashMap::new(),
            last_token: 0,
            writes: FuturesUnordered::new(),
            deferred: None,
            is_stored: parts.is_stored,
            is_ending: false,
        }
    }

    /// Runs until the group is dead or the hub stops.
    pub(crate) async fn run(mut self) {
        loop {
            self.settle();
            if self.group.state() == GroupState::Dead {
                return;
            }
            let is_closed = self.is_ending || self.deferred.is_some();
            let takes_requests = !is_closed && self.writes.len() < GROUP_WRITES_MAX;
            let deadline = self.deadline();
            tokio::select! {
                Some(written) = self.writes.next() => self.written(written),
                () = tokio::time::sleep(deadline.unwrap_or_default()), if deadline.is_some() => {}
                message = self.inbox.recv(), if takes_requests => match message {
                    Some(message) => self.receive(message),
                    None => return,
                },
            }
        }
    }

    /// What follows from an event: timers that are due, answers and writes, a deferred step.
    fn settle(&mut self) {
        self.group.timers(self.context.now());
        self.perform();
        if self.writes.is_empty() {
            match self.deferred.take() {
                Some(Deferred::Sweep) => self.sweep(),
                Some(Deferred::Delete(reply)) => self.delete(reply),
                None => {}
            }
        }
        let summary = self.summarise();
        self.summary.send_if_modified(|known| {
            let is_news = *known != summary;
            *known = summary;
            is_news
        });
    }

    fn deadline(&self) -> Option<Duration> {
        let at_ms = self.group.next_deadline_ms()?;
        Some(Duration::from_millis(at_ms.saturating_sub(self.context.now().ms)))
    }

    fn summarise(&self) -> Summary {
        let protocol_type = self.group.protocol_type().unwrap_or_default().to_owned();
        Summary { state: self.group.state(), protocol_type }
    }

    /// Whoever no longer waits for an answer does not get one.
    fn receive(&mut self, message: Message) {
        let now = self.context.now();
        match message {
            Message::Join { request, fresh_id, reply } => {
                let token = self.next_token();
                self.joins.insert(token, reply);
                self.group.join(now, &request, fresh_id, token);
            }
            Message::Sync { request, reply } => {
                let token = self.next_token();
                self.syncs.insert(token, reply);
                self.group.sync(now, request, token);
            }
            Message::Heartbeat { member, reply } => {
                let _ = reply.send(self.group.heartbeat(now, &member));
            }
            Message::Leave { members, reply } => {
                let _ = reply.send(self.group.leave(now, &members));
            }
            Message::Commit { member, offsets, reply } => self.commit(now, &member, offsets, reply),
            Message::Committed { partitions, reply } => {
                let _ = reply.send(self.committed(partitions));
            }
            Message::Describe { reply } => {
                let _ = reply.send(self.group.describe());
            }
            Message::Delete { reply } => self.deferred = Some(Deferred::Delete(reply)),
            Message::Sweep => self.deferred = Some(Deferred::Sweep),
        }
    }

    fn next_token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }

    fn perform(&mut self) {
        for action in self.group.take_actions() {
            match action {
                Action::Joined { to, result } => {
                    if let Some(reply) = self.joins.remove(&to) {
                        let _ = reply.send(result);
                    }
                }
                Action::Synced { to, result } => {
                    if let Some(reply) = self.syncs.remove(&to) {
                        let _ = reply.send(result);
                    }
                }
                Action::Store { ticket, metadata } => self.store(ticket, &metadata),
            }
        }
    }

    fn store(&mut self, ticket: Ticket, metadata: &GroupMetadata) {
        let key = Key::Group { group: self.id.clone() }.encode();
        let record = Record { key, value: Some(metadata.encode()) };
        let write = self.log.write(&[record], self.context.now().wall_ms);
        self.is_stored = true;
        self.writes.push(Box::pin(async move {
            let result = write.await.map(|_| ()).map_err(|error| refusal(&error));
            Written::Metadata { ticket, result }
        }));
    }

    fn written(&mut self, written: Written) {
        match written {
            Written::Metadata { ticket, result } => {
                if let Err(error) = &result {
                    tracing::warn!(group = %self.id, %error, "the group's metadata was not stored");
                }
                self.group.stored(self.context.now(), ticket, result);
            }
            Written::Commit { commit, result } => self.commit_written(commit, result),
            Written::Tombstones { tombstones, result } => self.tombstones_written(tombstones, result),
        }
    }
}

fn refusal(error: &WriteError) -> MemberError {
    match error {
        WriteError::TooLarge => MemberError::GroupFull,
        WriteError::Append(_) => CoordinatorError::NotAvailable.into(),
    }
}
