//! One thread that owns some of the groups: it gives their [`Core`] what has arrived, and does at once what that says.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Instant;

use wal::{GroupId, Wal};

use crate::core::Core;
use crate::exchange::{Asked, Exchange};
use crate::group::Standing;
use crate::inbox::Inbox;
use crate::limits::ELECTION_TICKS;
use crate::log_reads::LogReads;
use crate::mend::Damaged;
use crate::order::{Install, Order};
use crate::outbox::{Outbox, Wish};
use crate::registrar::Record;
use crate::shared::Shared;
use crate::snapshot::Snapshots;
use crate::watch::Steps;

pub(crate) use crate::message::{Message, Place};

pub(crate) struct Executor {
    pub inbox: Inbox<Message>,
    pub core: Core,
    /// Executors in all, to find a group's slot.
    pub executors: usize,
    /// Whether this one looks around for all of them.
    pub is_first: bool,
    pub shared: Arc<Shared>,
    pub wal: Wal,
    pub snapshots: Snapshots,
    pub log_reads: LogReads,
    pub exchange: Exchange,
    pub records: Sender<Record>,
    pub damaged: Sender<Damaged>,
    /// Called once all groups lead themselves or have others to wait for, with the last stamp of any.
    pub started: Option<Box<dyn FnOnce(i64) + Send>>,
    pub paused: usize,
    /// For those who watch whether it goes on.
    pub steps: Arc<Steps>,
}

impl Executor {
    pub(crate) fn run(mut self) {
        self.core.begin();
        let mut messages = Vec::new();
        let mut next_tick = Instant::now() + self.shared.tick;
        loop {
            self.steps.count();
            let outbox = self.core.finish_turn();
            self.perform(outbox);
            self.report();
            self.inbox.take(&mut messages, next_tick);
            for message in messages.drain(..) {
                if matches!(message, Message::Stop) {
                    self.steps.end();
                    return self.inbox.close();
                }
                self.steps.count();
                self.core.handle(message);
            }
            if Instant::now() >= next_tick {
                self.tick();
                next_tick = Instant::now() + self.shared.tick;
            }
        }
    }

    fn tick(&mut self) {
        if self.is_first {
            self.shared.look_around();
        }
        let stall = self.wal.write_stall().max(self.shared.space.look_stall());
        self.core.suspend(stall > self.shared.tick * ELECTION_TICKS);
        self.core.lack_room(self.shared.space.is_short());
        self.core.tick();
    }

    /// Messages first: none of them promises anything that is still to be written.
    fn perform(&mut self, outbox: Outbox) {
        if outbox.is_empty() {
            return;
        }
        let Outbox { frames, readies, bytes, parcels, wishes, views } = outbox;
        for (node, parcels) in parcels {
            // What is dropped is said again.
            self.shared.peers.send(node, parcels);
        }
        if !readies.is_empty() {
            let inbox = self.inbox.clone();
            self.wal.write(frames, Box::new(move |_| inbox.push(Message::Persisted(readies))));
            self.shared.count_wal_bytes(bytes);
        }
        for (group, view) in views {
            self.shared.leaders.update(group, view.as_ref());
        }
        wishes.into_iter().for_each(|wish| self.fulfil(wish));
    }

    fn fulfil(&self, wish: Wish) {
        match wish {
            Wish::Barrier { group, hard_state } => {
                let (inbox, slot) = self.reply_to(group);
                let done = Box::new(move |lsn| inbox.push(Message::Barrier { slot, lsn }));
                self.wal.write_barrier(group, hard_state, done);
            }
            Wish::Begin { group, number } => self.record(Record::Begin { group, number }),
            Wish::GiveUp { group, number, void, directories } => {
                self.record(Record::GiveUp { group, number, void, directories });
            }
            Wish::Checkpoint { group } => {
                let (inbox, slot) = self.reply_to(group);
                let reply = Box::new(move |made| inbox.push(Message::Checkpointed { slot, made }));
                self.order(Order::Checkpoint { group: group.0, reply });
            }
            Wish::CheckpointSoon { group } => self.order(Order::Soon { group: group.0 }),
            Wish::ReadLog(wanted) => {
                let (inbox, slot) = self.reply_to(wanted.group);
                let from = wanted.from;
                let found = Box::new(move |found| inbox.push(Message::LogRead { slot, from, found }));
                self.log_reads.read(wanted, found);
            }
            Wish::KeepLog { group, from } => self.wal.keep(group, from),
            Wish::Compare(question) => self.exchange.ask(Asked::Compare(*question)),
            Wish::Plead(plea) => self.exchange.ask(Asked::Leave(plea)),
            Wish::NoteDamage { group, generation, damage } => {
                self.order(Order::NoteDamage { group: group.0, generation, damage });
            }
            Wish::Mend(damaged) => {
                // So is the mender.
                let _ = self.damaged.send(*damaged);
            }
            Wish::Offered { group, index, to } => self.snapshots.sent(group.0, index, to),
            Wish::Fetch(wanted) => {
                let (inbox, slot) = self.reply_to(GroupId(wanted.group));
                let copied = wanted.clone();
                let done = Box::new(move |outcome| {
                    let outcome = Box::new(outcome);
                    inbox.push(Message::SnapshotArrived { slot, wanted: copied, outcome });
                });
                self.snapshots.fetch(wanted, done);
            }
            Wish::CancelFetch { group } => self.snapshots.cancel(group.0),
            Wish::Install(switch) => {
                let (inbox, slot) = self.reply_to(GroupId(switch.group));
                let reply = Box::new(move |arrived| {
                    inbox.push(Message::SnapshotInstalled { slot, arrived: Box::new(arrived) });
                });
                self.order(Order::Install(Box::new(Install {
                    group: switch.group,
                    replica_number: switch.replica_number,
                    membership: switch.mark.membership,
                    void_entries_through: switch.void_entries_through,
                    arrived: switch.arrived,
                    reply,
                })));
            }
        }
    }

    fn reply_to(&self, group: GroupId) -> (Inbox<Message>, usize) {
        (self.inbox.clone(), Place::of(group.0, self.executors).slot)
    }

    fn order(&self, order: Order) {
        // The checkpointer is gone only when the hub stops.
        let _ = self.shared.orders.send(order);
    }

    fn record(&self, record: Record) {
        // So is the registrar.
        let _ = self.records.send(record);
    }

    fn report(&mut self) {
        let paused = self.core.groups().filter(|group| group.standing == Standing::Paused).count();
        if paused != self.paused {
            self.shared.paused_shards.fetch_add(paused, Ordering::Relaxed);
            self.shared.paused_shards.fetch_sub(self.paused, Ordering::Relaxed);
            self.paused = paused;
        }
        if self.started.is_some() && self.core.is_up() {
            let last_stamp_ms = self.core.groups().map(|group| group.last_stamp_ms).max();
            if let Some(started) = self.started.take() {
                started(last_stamp_ms.unwrap_or(i64::MIN));
            }
        }
        self.core.report_drained();
    }
}
