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
use crate::limits::{GROUP_INBOX, GROUP_WRITES_MAX};
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
    /// Waits for every write to end, and the inbox with it.
    deleting: Option<Reply<Result<(), DeleteGroupError>>>,
    /// Done when no write is under way.
    sweep_is_due: bool,
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
            deleting: None,
            sweep_is_due: false,
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
            let takes_requests = self.takes_requests();
            let deadline = self.deadline().filter(|_| takes_requests);
            tokio::select! {
                Some(written) = self.writes.next() => self.written(written),
                message = self.inbox.recv(), if takes_requests => match message {
                    Some(message) => self.receive(message),
                    None => return,
                },
                () = tokio::time::sleep(deadline.unwrap_or_default()), if deadline.is_some() => {}
            }
        }
    }

    fn takes_requests(&self) -> bool {
        !self.is_ending && self.deleting.is_none() && self.writes.len() < GROUP_WRITES_MAX
    }

    /// What follows from an event: requests that have come meanwhile, timers that are due, answers and writes, and
    /// what waits for all writes to end.
    fn settle(&mut self) {
        self.perform();
        for _ in 0..GROUP_INBOX {
            let message = if self.takes_requests() { self.inbox.try_recv().ok() } else { None };
            let Some(message) = message else { break };
            self.receive(message);
            self.perform();
        }
        // Only now: nobody's session ends while its heartbeat lies unread in the inbox.
        if self.takes_requests() {
            self.group.timers(self.context.now());
            self.perform();
        }
        if self.writes.is_empty() {
            if let Some(reply) = self.deleting.take() {
                self.delete(reply);
            } else if std::mem::take(&mut self.sweep_is_due) {
                self.sweep();
            }
            self.perform();
        }
        self.tell_summary();
    }

    fn tell_summary(&self) {
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
                let left = self.group.leave(now, &members);
                // Whoever lists the groups once it has the answer finds this one without its members.
                self.tell_summary();
                let _ = reply.send(left);
            }
            Message::Commit { member, offsets, reply } => self.commit(now, &member, offsets, reply),
            Message::Committed { partitions, reply } => {
                let _ = reply.send(self.committed(partitions));
            }
            Message::Describe { reply } => {
                let _ = reply.send(self.group.describe());
            }
            Message::Delete { reply } if self.group.state() == GroupState::Empty => {
                self.deleting = Some(reply);
            }
            Message::Delete { reply } => {
                let _ = reply.send(Err(DeleteGroupError::NotEmpty));
            }
            Message::Sweep => self.sweep_is_due = true,
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
        let record = Record { key, value: Some(metadata.encode()), topic: None };
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
        WriteError::NotCoordinator => CoordinatorError::NotCoordinator.into(),
        WriteError::Append(_) => CoordinatorError::NotAvailable.into(),
    }
}
