//! One thread that owns some of the groups: takes messages, steps replicas, hands everything that is to be written
//! to the WAL at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use consensus::Event;
use partition_log::{CompactOptions, Compaction};
use schemas::{Offset, PartitionId};
use wal::{GroupId, Wal};

use crate::answer::{Answer, CommandDone, Permit, Refusal, RetainDone};
use crate::entry::Command;
use crate::group::{Group, Machine, Request, Standing};
use crate::inbox::Inbox;
pub(crate) use crate::message::{Message, Place};
use crate::outbox::Outbox;
use crate::shared::Shared;
use crate::{CommandError, PartitionCommand, Retention};

pub(crate) struct Executor {
    inbox: Inbox<Message>,
    groups: Vec<Group>,
    /// Executors in all, to find a group's slot.
    executors: usize,
    shared: Arc<Shared>,
    wal: Wal,
    outbox: Outbox,
    /// Slots of groups that may have something to propose, each once.
    touched: Vec<usize>,
    is_touched: Vec<bool>,
    /// Called once all groups lead themselves, with the last stamp of any.
    started: Option<Box<dyn FnOnce(i64) + Send>>,
    drained: Option<SyncSender<()>>,
    paused: usize,
}

impl Executor {
    pub(crate) fn new(
        inbox: Inbox<Message>,
        groups: Vec<Group>,
        executors: usize,
        shared: Arc<Shared>,
        wal: Wal,
        started: Box<dyn FnOnce(i64) + Send>,
    ) -> Self {
        Self {
            is_touched: vec![false; groups.len()],
            inbox,
            groups,
            executors,
            shared,
            wal,
            outbox: Outbox::default(),
            touched: Vec::new(),
            started: Some(started),
            drained: None,
            paused: 0,
        }
    }

    pub(crate) fn run(mut self) {
        for group in &mut self.groups {
            group.step(Event::Campaign, &mut self.outbox);
        }
        let mut messages = Vec::new();
        let mut next_tick = Instant::now() + self.shared.tick;
        loop {
            self.propose();
            self.write();
            self.report();
            self.inbox.take(&mut messages, next_tick);
            for message in messages.drain(..) {
                if matches!(message, Message::Stop) {
                    return self.inbox.close();
                }
                self.handle(message);
            }
            if Instant::now() >= next_tick {
                self.tick();
                next_tick = Instant::now() + self.shared.tick;
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Request { slot, request } => self.request(slot, request),
            Message::Persisted { readies, .. } => self.persisted(readies),
            Message::Capture { slot, force, reply } => {
                // The checkpointer waits for each reply, so there is room; it is gone only when the hub stops.
                let _ = reply.send(crate::capture::capture(&mut self.groups[slot], force));
            }
            Message::Retain { slot, partition, retention, done, permit } => {
                self.retain(slot, partition, retention, done, permit);
            }
            Message::Compaction { slot, partition, options, reply } => {
                let _ = reply.send(self.compaction(slot, partition, options));
            }
            Message::Install { slot, partition, compacted, reply } => {
                if let Machine::Partitions(partitions) = &mut self.groups[slot].machine {
                    partitions.install(partition, compacted);
                    self.groups[slot].changed = true;
                }
                let _ = reply.send(());
            }
            Message::Drain(reply) => {
                self.groups.iter_mut().for_each(|group| group.refuse_queue(Refusal::Stopping));
                self.drained = Some(reply);
            }
            Message::Status { reply } => drop(reply.send(Vec::new())),
            Message::HandOver(reply) => drop(reply.try_send(())),
            // There are no other replicas yet.
            Message::Peer { .. }
            | Message::LeaderGone { .. }
            | Message::Transfer { .. }
            | Message::ReadIndex { .. }
            | Message::Destroy { .. }
            | Message::Stop => {}
        }
    }

    fn request(&mut self, slot: usize, request: Request) {
        if self.drained.is_some() || self.shared.stopping.load(Ordering::Relaxed) {
            return request.answer.refuse(Refusal::Stopping);
        }
        self.groups[slot].enqueue(request);
        self.touch(slot);
    }

    fn persisted(&mut self, readies: Vec<(GroupId, u64)>) {
        for (group, ready) in readies {
            let slot = Place::of(group.0, self.executors).slot;
            self.groups[slot].step(Event::Persisted { ready }, &mut self.outbox);
            self.touch(slot);
        }
    }

    /// Finds out where the partition should start, and proposes that.
    fn retain(
        &mut self,
        slot: usize,
        partition: PartitionId,
        retention: Retention,
        done: RetainDone,
        permit: Permit,
    ) {
        let held = self.shared.clock.is_held();
        let retention = Retention { ms: retention.ms.filter(|_| !held), ..retention };
        let now_ms = self.shared.clock.now_ms().max(self.groups[slot].last_stamp_ms);
        let target = match &self.groups[slot].machine {
            Machine::Partitions(partitions) => partitions.retention_target(partition, now_ms, retention),
            Machine::Metadata(_) => None,
        };
        match target {
            None => done(Err(CommandError::UnknownPartition)),
            Some(None) => done(Ok(None)),
            Some(Some(to)) => {
                let command = Command::Partition(PartitionCommand::AdvanceStart { partition, to });
                let answer = Answer::command(moved(to, done), permit);
                self.request(slot, Request { command, answer });
            }
        }
    }

    fn compaction(
        &mut self,
        slot: usize,
        partition: PartitionId,
        options: CompactOptions,
    ) -> Result<Option<Compaction>, CommandError> {
        match &mut self.groups[slot].machine {
            Machine::Partitions(partitions) => {
                partitions.compaction(partition, options).ok_or(CommandError::UnknownPartition)
            }
            Machine::Metadata(_) => Err(CommandError::UnknownPartition),
        }
    }

    fn tick(&mut self) {
        if self.groups.first().is_some_and(|group| group.id == GroupId(0)) {
            self.shared.look_around(&self.wal);
        }
        for slot in 0..self.groups.len() {
            self.groups[slot].resume(&mut self.outbox);
            self.groups[slot].step(Event::Tick, &mut self.outbox);
            self.touch(slot);
        }
    }

    fn touch(&mut self, slot: usize) {
        if !std::mem::replace(&mut self.is_touched[slot], true) {
            self.touched.push(slot);
        }
    }

    fn propose(&mut self) {
        while let Some(slot) = self.touched.pop() {
            self.is_touched[slot] = false;
            self.groups[slot].propose_waiting(&self.shared.clock, &mut self.outbox);
        }
    }

    /// One write for all groups; what comes back is one message for all of them too.
    fn write(&mut self) {
        if self.outbox.readies.is_empty() {
            return;
        }
        let Outbox { frames, readies, bytes } = std::mem::take(&mut self.outbox);
        let inbox = self.inbox.clone();
        self.wal.write(frames, Box::new(move |lsn| inbox.push(Message::Persisted { readies, lsn })));
        self.shared.count_wal_bytes(bytes);
    }

    fn report(&mut self) {
        let paused = self.groups.iter().filter(|group| group.standing == Standing::Paused).count();
        if paused != self.paused {
            self.shared.paused_shards.fetch_add(paused, Ordering::Relaxed);
            self.shared.paused_shards.fetch_sub(self.paused, Ordering::Relaxed);
            self.paused = paused;
        }
        let is_up = |group: &Group| group.is_serving() || group.standing == Standing::Stopped;
        if self.started.is_some() && self.groups.iter().all(is_up) {
            let last_stamp_ms = self.groups.iter().map(|group| group.last_stamp_ms).max();
            if let Some(started) = self.started.take() {
                started(last_stamp_ms.unwrap_or(i64::MIN));
            }
        }
        let in_flight = |group: &Group| group.has_proposals() && group.standing == Standing::Running;
        if self.drained.is_some() && !self.groups.iter().any(in_flight) {
            // Told once; requests are still refused afterwards.
            if let Some(drained) = &self.drained {
                let _ = drained.try_send(());
            }
        }
    }
}

/// Answers with the new first offset.
fn moved(to: Offset, done: RetainDone) -> CommandDone {
    Box::new(move |result| done(result.map(|()| Some(to))))
}
