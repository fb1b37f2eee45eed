//! What an executor does, without its thread, its inbox, the WAL and the clock: messages in, and for each turn what is
//! to be written, sent and done for the groups out.
//!
//! It is driven by an [`Executor`](crate::executor::Executor), or by a simulation. What it does follows from what it is
//! told, in its order, and from its seed; nothing else.

mod damage;
mod lives;
mod work;

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use consensus::{Event, PeerMessage, ReplicaId};
use schemas::NodeId;
use wal::{GroupId, Lsn};

use crate::GroupStatus;
use crate::answer::Refusal;
use crate::clock::Clock;
use crate::faults::Faults;
use crate::group::{Group, Request, Standing};
use crate::limits::{COMPARE_TICKS, DRAIN_TICKS_MAX, IN_SYNC_TICKS, KEEP_LOG_TICKS};
use crate::message::{Message, Place};
use crate::outbox::Outbox;
use crate::recovery::{Ground, Recovered};
use crate::replicas::Replicas;
use crate::space::Room;

pub(crate) use lives::Slot;

pub(crate) struct Core {
    node: NodeId,
    /// Executors in all, to find a group's slot.
    executors: usize,
    slots: Vec<Slot>,
    clock: Arc<Clock>,
    replicas: Arc<Replicas>,
    ground: Ground,
    faults: Faults,
    outbox: Outbox,
    /// Slots of groups that may have something to propose or to report, each once.
    touched: Vec<usize>,
    is_touched: Vec<bool>,
    ticks: u64,
    suspended: bool,
    draining: Option<Drain>,
    handing_over: Option<SyncSender<()>>,
    /// What is led here goes to other hubs, and what comes back goes again.
    resigned: bool,
    room: Room,
}

struct Drain {
    reply: SyncSender<()>,
    /// Ticks after which those who still wait are told that nobody knows.
    ticks_left: u32,
}

/// What a core needs besides its groups.
pub(crate) struct Surroundings {
    pub node: NodeId,
    pub executors: usize,
    pub clock: Arc<Clock>,
    pub replicas: Arc<Replicas>,
    pub ground: Ground,
    pub faults: Faults,
}

impl Core {
    pub(crate) fn new(around: Surroundings, recovered: Vec<Recovered>) -> Self {
        let Surroundings { node, executors, clock, replicas, ground, faults } = around;
        let mut core = Self {
            node,
            executors,
            slots: Vec::new(),
            clock,
            replicas,
            ground,
            faults,
            outbox: Outbox::default(),
            touched: Vec::new(),
            is_touched: vec![false; recovered.len()],
            ticks: 0,
            suspended: false,
            draining: None,
            handing_over: None,
            resigned: false,
            room: Room::default(),
        };
        for recovered in recovered {
            core.take_in(recovered);
        }
        core
    }

    /// Groups that are this replica alone need not wait for anyone.
    pub(crate) fn begin(&mut self) {
        for slot in 0..self.slots.len() {
            self.with(slot, |group, outbox| {
                if group.is_alone() {
                    group.step(Event::Campaign, outbox);
                }
            });
            self.touch(slot);
        }
    }

    pub(crate) fn handle(&mut self, message: Message) {
        match message {
            Message::Request { slot, request } => self.request(slot, request),
            Message::Persisted(readies) => self.persisted(readies),
            Message::Peer { slot, message, permit } => {
                self.peer(slot, message);
                drop(permit);
            }
            Message::LeaderGone { node } => self.for_all(|group, outbox| group.hub_gone(node, outbox)),
            Message::Status { reply } => drop(reply.send(self.status())),
            Message::ChangeMembership { slot, change, reply } => {
                self.change_membership(slot, change, reply);
            }
            Message::Transfer { slot, to, reply } => self.transfer(slot, to, reply),
            Message::ReadIndex { slot, reply } => self.read_index(slot, reply),
            Message::HandOver(reply) => {
                self.handing_over = Some(reply);
                self.resigned = true;
            }
            Message::Drain(reply) => {
                self.for_all(|group, _| group.refuse_queue(Refusal::Stopping));
                self.draining = Some(Drain { reply, ticks_left: DRAIN_TICKS_MAX });
            }
            Message::Destroy { slot, number, reply } => self.destroy(slot, number, reply),
            Message::Damaged { slot, number, file } => self.damage_found(slot, number, file.as_deref()),
            Message::Mended { slot, file, outcome } => {
                self.with(slot, |group, _| group.mended(&file, outcome));
            }
            Message::Begun { slot, number, done } => self.begun(slot, number, done),
            Message::GivenUp { slot, number, done } => self.given_up(slot, number, done),
            Message::Barrier { slot, lsn } => self.barrier(slot, lsn),
            Message::Checkpointed { slot, made } => {
                let made = made.map(|mark| (mark.index, mark.term, mark.membership));
                self.with(slot, |group, outbox| group.checkpointed(made, outbox));
            }
            Message::SnapshotSent { slot, to, ok } => {
                self.with(slot, |group, outbox| group.step(Event::SnapshotSent { to, ok }, outbox));
            }
            Message::LogRead { slot, from, found } => {
                self.with(slot, |group, outbox| group.log_read(from, found, outbox));
            }
            Message::SnapshotArrived { slot, wanted, outcome } => {
                self.with(slot, |group, outbox| group.snapshot_arrived(&wanted, *outcome, outbox));
            }
            Message::SnapshotInstalled { slot, arrived } => self.snapshot_installed(slot, *arrived),
            Message::Compare { slot, question, done } => self.compare(slot, &question, done),
            Message::Compared { slot, from, index, verdict } => {
                self.with(slot, |group, _| group.compared(from, index, verdict));
            }
            Message::Plead { slot, plea, done } => self.give_leave(slot, &plea, done),
            Message::PleaAnswered { slot, plea, answer } => self.plea_answered(slot, &plea, answer),
            Message::NoRoom { node, waits } => self.room.hear(node, waits),
            Message::Capture { .. }
            | Message::Retain { .. }
            | Message::Compaction { .. }
            | Message::Install { .. } => self.work(message),
            Message::Stop => {}
        }
    }

    /// One tick of time.
    pub(crate) fn tick(&mut self) {
        self.ticks += 1;
        let local_ms = self.faults.expire_by_local_clock.then(|| self.clock.now_ms());
        let count_in_sync = self.ticks.is_multiple_of(IN_SYNC_TICKS);
        let keep_log = self.ticks.is_multiple_of(KEEP_LOG_TICKS);
        let compare = self.ticks.is_multiple_of(COMPARE_TICKS);
        let room = std::mem::take(&mut self.room);
        self.for_all(|group, outbox| {
            group.local_ms = local_ms;
            group.tick(outbox);
            group.make_way(&room, outbox);
            if count_in_sync {
                group.look_at_replicas();
            }
            if keep_log {
                group.keep_log(outbox);
            }
            if compare {
                group.compare(outbox);
            }
        });
        self.room = room;
        self.remind();
        if let Some(drain) = &mut self.draining {
            drain.ticks_left = drain.ticks_left.saturating_sub(1);
            if drain.ticks_left == 0 {
                self.for_all(|group, _| group.refuse_all(Refusal::Stopping));
            }
        }
    }

    /// The disk does not answer, or does again.
    pub(crate) fn suspend(&mut self, suspend: bool) {
        if std::mem::replace(&mut self.suspended, suspend) != suspend {
            if suspend {
                tracing::warn!("the disk does not answer: this hub leads nothing until it does");
            }
            self.for_all(|group, outbox| group.suspend(suspend, outbox));
        }
    }

    /// Appends are refused here for want of room, or there is enough again.
    pub(crate) fn lack_room(&mut self, is_short: bool) {
        self.room.is_short = is_short;
    }

    /// Everything that came of the messages since the last turn.
    pub(crate) fn finish_turn(&mut self) -> Outbox {
        self.hand_over();
        self.settle();
        if self.faults.ack_before_fsync {
            let mut early = 0;
            while early < self.outbox.readies.len() {
                let readies = self.outbox.readies[early..].to_vec();
                early = self.outbox.readies.len();
                self.persisted(readies);
                self.settle();
            }
            self.outbox.readies.clear();
        }
        std::mem::take(&mut self.outbox)
    }

    /// What is touched proposes what it can, and there is news of it.
    fn settle(&mut self) {
        while let Some(slot) = self.touched.pop() {
            self.is_touched[slot] = false;
            if let Some(group) = self.slots[slot].group_mut() {
                if let Some(stamp_ms) = group.heard_ms.take() {
                    self.clock.hear(stamp_ms);
                }
                group.propose_waiting(&self.clock, &mut self.outbox);
                group.ask_for_checkpoint(&mut self.outbox);
                group.note_damage(&mut self.outbox);
            }
            if let Some(view) = self.slots[slot].news() {
                self.outbox.views.push((self.slots[slot].id.0, view));
            }
        }
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.slots.iter().filter_map(Slot::group)
    }

    /// For simulations, which do what no message can ask for.
    pub(crate) fn group_mut(&mut self, slot: usize) -> Option<&mut Group> {
        self.slots.get_mut(slot).and_then(Slot::group_mut)
    }

    /// The same: nothing can be applied here for want of room.
    pub(crate) fn starve(&mut self, starve: bool) {
        self.faults.no_room = starve;
        self.for_all(|group, _| group.faults.no_room = starve);
    }

    /// Each group leads itself, or has others to wait for.
    pub(crate) fn is_up(&self) -> bool {
        self.groups()
            .all(|group| group.is_serving() || !group.is_alone() || group.standing == Standing::Stopped)
    }

    /// Says so once nothing is in flight any more; what came later was refused.
    pub(crate) fn report_drained(&self) {
        let in_flight = |group: &Group| group.has_proposals() && group.standing == Standing::Running;
        if let Some(drain) = &self.draining
            && !self.groups().any(in_flight)
        {
            // Told once: nobody listens afterwards.
            let _ = drain.reply.try_send(());
        }
    }

    fn request(&mut self, slot: usize, request: Request) {
        if self.draining.is_some() {
            return request.answer.refuse(Refusal::Stopping);
        }
        match self.slots[slot].group_mut() {
            Some(group) => group.enqueue(request),
            None => request.answer.refuse(Refusal::NotLeader { leader: None }),
        }
        self.touch(slot);
    }

    fn persisted(&mut self, readies: Vec<(GroupId, u64)>) {
        for (group, ready) in readies {
            let slot = Place::of(group.0, self.executors).slot;
            self.with(slot, |group, outbox| group.step(Event::Persisted { ready }, outbox));
        }
    }

    fn status(&self) -> Vec<GroupStatus> {
        let status = |slot: &Slot| match slot.group() {
            Some(group) => group.status(),
            None => GroupStatus::absent(slot.id.0),
        };
        self.slots.iter().map(status).collect()
    }

    /// Once no group is led here that could be led elsewhere, that is said. Until the hub is gone, others may leave the
    /// lead to it again.
    fn hand_over(&mut self) {
        if !self.resigned {
            return;
        }
        let mut leads = false;
        for slot in 0..self.slots.len() {
            let Some(group) = self.slots[slot].group_mut() else { continue };
            group.resign(&mut self.outbox);
            let led = group.leads();
            leads |= group.hand_over(&mut self.outbox);
            if led {
                self.touch(slot);
            }
        }
        if !leads && let Some(reply) = self.handing_over.take() {
            // Whoever asked may have given up.
            let _ = reply.try_send(());
        }
    }

    fn with(&mut self, slot: usize, then: impl FnOnce(&mut Group, &mut Outbox)) {
        if let Some(group) = self.slots.get_mut(slot).and_then(Slot::group_mut) {
            then(group, &mut self.outbox);
            self.touch(slot);
        }
    }

    fn for_all(&mut self, mut then: impl FnMut(&mut Group, &mut Outbox)) {
        for slot in 0..self.slots.len() {
            self.with(slot, &mut then);
        }
    }

    fn touch(&mut self, slot: usize) {
        if !std::mem::replace(&mut self.is_touched[slot], true) {
            self.touched.push(slot);
        }
    }
}
