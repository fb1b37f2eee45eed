//! The way to the executors for everyone outside: what is let in, and where it goes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use schemas::{BatchHeader, Offset, PartitionId, ShardId};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::answer::{Answer, Permit, Refusal};
use crate::data_dir::Identity;
use crate::entry::Command;
use crate::group::Request;
use crate::inbox::Inbox;
use crate::lanes::Lanes;
use crate::limits::{METADATA_COMMAND_BYTES_MAX, REQUEST_OVERHEAD_BYTES};
use crate::message::{Message, Place};
use crate::shared::Shared;
use crate::{Append, AppendDone, AppendError, CommandError, PartitionCommand, ProposeError, Retention};

/// The metadata's group; shard n is group n + 1.
pub(crate) const METADATA_GROUP: u32 = 0;

pub(crate) fn group_of(shard: ShardId) -> u32 {
    u32::from(shard.0) + 1
}

/// Reaches the executors but does not keep them running: tasks and the peers' handlers hold it.
pub(crate) struct Doors {
    pub shared: Arc<Shared>,
    pub inboxes: Arc<[Inbox<Message>]>,
    pub shard_count: u16,
    pub identity: Identity,
    /// Appends on their way to other hubs.
    pub lanes: Lanes,
    /// None for a hub without others: everything happens on the executors and the callers.
    pub runtime: Option<Handle>,
}

impl Doors {
    /// Runs a task of what there is between hubs.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task);
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn append_all(&self, requests: impl IntoIterator<Item = (ShardId, Append, AppendDone)>) {
        let mut ways = self.ways();
        for (shard, append, done) in requests {
            match self.admit(shard, &append, true) {
                Ok((place, permit)) => ways.add(place, append, Answer::append(done, permit)),
                Err(error) => done(Err(error)),
            }
        }
        ways.go();
    }

    /// Where a batch goes, and the room for it: in memory, and for one that is stored `here` on the disk.
    pub(crate) fn admit(
        &self,
        shard: ShardId,
        append: &Append,
        here: bool,
    ) -> Result<(Place, Permit), AppendError> {
        let bytes = append.batch.len();
        let max = self.shared.batch_bytes_max;
        if bytes > max {
            return Err(AppendError::TooLarge { bytes, max });
        }
        if !BatchHeader::parse(&append.batch).is_ok_and(|header| header.total_bytes() == bytes) {
            return Err(AppendError::Malformed);
        }
        let place = self.place(shard).ok_or(AppendError::UnknownPartition)?;
        Ok((place, self.permit(bytes as u64, here)?))
    }

    /// What is gathered goes into each inbox at once.
    pub(crate) fn ways(&self) -> Ways<'_> {
        Ways { inboxes: &self.inboxes, messages: self.inboxes.iter().map(|_| Vec::new()).collect() }
    }

    /// Has this hub's replica carry out a command; answered when it is applied.
    pub(crate) async fn command(
        &self,
        shard: ShardId,
        command: PartitionCommand,
    ) -> Result<(), CommandError> {
        let place = self.place(shard).ok_or(CommandError::UnknownPartition)?;
        let needs_room = matches!(command, PartitionCommand::Open { .. });
        let permit = self.permit(0, needs_room)?;
        let (tell, told) = oneshot::channel();
        let answer = Answer::command(Box::new(move |result| drop(tell.send(result))), permit);
        let request = Request { command: Command::Partition(command), answer };
        self.send(place, Message::Request { slot: place.slot, request });
        told.await.unwrap_or(Err(CommandError::Stopping))
    }

    /// Has this hub's replica find out where the partition should start, and propose that.
    pub(crate) async fn enforce_retention(
        &self,
        shard: ShardId,
        partition: PartitionId,
        retention: Retention,
    ) -> Result<Option<Offset>, CommandError> {
        let place = self.place(shard).ok_or(CommandError::UnknownPartition)?;
        let permit = self.permit(0, false)?;
        let (tell, told) = oneshot::channel();
        let done = Box::new(move |result| drop(tell.send(result)));
        self.send(place, Message::Retain { slot: place.slot, partition, retention, done, permit });
        told.await.unwrap_or(Err(CommandError::Stopping))
    }

    /// Has this hub's replica propose a command of the metadata machine.
    pub(crate) async fn propose_metadata(&self, command: Bytes) -> Result<Bytes, ProposeError> {
        self.check_metadata(&command)?;
        let permit = self.permit(command.len() as u64, false)?;
        let (tell, told) = oneshot::channel();
        let answer = Answer::propose(Box::new(move |result| drop(tell.send(result))), permit);
        let place = self.place_of(METADATA_GROUP);
        let request = Request { command: Command::Metadata(command), answer };
        self.send(place, Message::Request { slot: place.slot, request });
        told.await.unwrap_or(Err(ProposeError::Stopping))
    }

    pub(crate) fn check_metadata(&self, command: &Bytes) -> Result<(), ProposeError> {
        let bytes = command.len();
        let max = METADATA_COMMAND_BYTES_MAX.min(self.shared.batch_bytes_max);
        if bytes > max { Err(ProposeError::TooLarge { bytes, max }) } else { Ok(()) }
    }

    /// Where a shard's group lives, if there is such a shard.
    pub(crate) fn place(&self, shard: ShardId) -> Option<Place> {
        (shard.0 < self.shard_count).then(|| self.place_of(group_of(shard)))
    }

    /// Where a group lives, if there is such a group.
    pub(crate) fn place_of_group(&self, group: u32) -> Option<Place> {
        (group <= u32::from(self.shard_count)).then(|| self.place_of(group))
    }

    fn place_of(&self, group: u32) -> Place {
        Place::of(group, self.inboxes.len())
    }

    pub(crate) fn permit(&self, bytes: u64, needs_room: bool) -> Result<Permit, Refusal> {
        if self.is_stopping() {
            return Err(Refusal::Stopping);
        }
        if needs_room && !self.shared.space.admit(bytes) {
            return Err(Refusal::NoSpace);
        }
        let bytes = bytes + REQUEST_OVERHEAD_BYTES;
        Permit::take(&self.shared.queued_bytes, bytes, self.shared.queued_bytes_max)
            .ok_or(Refusal::Overloaded)
    }

    pub(crate) fn send(&self, place: Place, message: Message) {
        self.inboxes[place.executor].push(message);
    }
}

/// Messages for the executors, gathered so that those of one executor arrive together.
pub(crate) struct Ways<'a> {
    inboxes: &'a [Inbox<Message>],
    messages: Vec<Vec<Message>>,
}

impl Ways<'_> {
    pub(crate) fn add(&mut self, place: Place, append: Append, answer: Answer) {
        let request = Request { command: Command::Append(append), answer };
        self.push(place, Message::Request { slot: place.slot, request });
    }

    pub(crate) fn push(&mut self, place: Place, message: Message) {
        self.messages[place.executor].push(message);
    }

    pub(crate) fn go(self) {
        for (inbox, messages) in self.inboxes.iter().zip(self.messages) {
            if !messages.is_empty() {
                inbox.push_all(messages.into_iter());
            }
        }
    }
}
