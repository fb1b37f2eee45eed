//! The life of this hub's replicas: begun by a message to one that was not here before, ended for good by damage, by a
//! successor, or because the catalog does not list it any more.
//!
//! Each step is on the disk before the next: that the hub has a replica before its first message is taken, and that it
//! has it no more before another may begin.

use std::path::PathBuf;

use consensus::Event;
use tokio::sync::oneshot;

use super::{Core, Lsn, PeerMessage, ReplicaId};
use crate::StateMachine;
use crate::answer::Refusal;
use crate::group::{Group, Machine, ViewKey};
use crate::leaders::OwnView;
use crate::outbox::Wish;
use crate::recovery::{Recovered, RecoveredState};
use wal::GroupId;

/// A group's fixed place on its executor.
pub(crate) struct Slot {
    pub(crate) id: GroupId,
    state: State,
    /// The metadata's machine while no replica has it.
    machine: Option<Box<dyn StateMachine>>,
    /// What was last reported of the group; `None`: that there is no replica here.
    reported: Option<ViewKey>,
}

enum State {
    /// There is no replica here.
    Absent,
    /// The replica begins, once that is written down; then with this message.
    Beginning {
        number: u32,
        first: PeerMessage,
    },
    Present(Box<Group>),
    Leaving(Leaving),
}

/// A replica on its way out.
struct Leaving {
    number: u32,
    directories: Vec<PathBuf>,
    /// Barriers on their way into the WAL: its own is the last, a snapshot's may be before it.
    barriers: u32,
    /// Everything of the group in the WAL up to here is its; known once its own barrier is written.
    void: Option<Lsn>,
    /// It could not be written down: to be tried again.
    again: bool,
    replies: Vec<oneshot::Sender<()>>,
}

impl Slot {
    pub(crate) fn group(&self) -> Option<&Group> {
        match &self.state {
            State::Present(group) => Some(group),
            State::Absent | State::Beginning { .. } | State::Leaving(_) => None,
        }
    }

    pub(crate) fn group_mut(&mut self) -> Option<&mut Group> {
        match &mut self.state {
            State::Present(group) => Some(group),
            State::Absent | State::Beginning { .. } | State::Leaving(_) => None,
        }
    }

    /// What is new of the group since the last call.
    pub(super) fn news(&mut self) -> Option<Option<OwnView>> {
        let now = self.group().map(Group::view_key);
        if now == self.reported {
            return None;
        }
        self.reported = now;
        Some(self.group().map(Group::view))
    }
}

impl Core {
    pub(super) fn take_in(&mut self, recovered: Recovered) {
        let Recovered { id, state, machine } = recovered;
        let mut slot = Slot { id, state: State::Absent, machine, reported: None };
        let (mut damaged, mut is_doubted) = (Vec::new(), false);
        match state {
            RecoveredState::Absent => {}
            RecoveredState::Present(mut group) => {
                group.faults = self.faults;
                damaged = std::mem::take(&mut group.found_damaged);
                is_doubted = std::mem::take(&mut group.found_doubted);
                slot.state = State::Present(group);
            }
            RecoveredState::Damaged { number, directories, hard_state } => {
                slot.state = State::Leaving(Leaving::new(number, directories));
                // Until it is written down that the replica is no more, what it has promised holds.
                self.outbox.wishes.push(Wish::Barrier { group: id, hard_state });
            }
        }
        self.slots.push(slot);
        let at = self.slots.len() - 1;
        damaged.iter().for_each(|file| self.damaged(at, Some(file)));
        if is_doubted {
            self.damaged(at, None);
        }
    }

    pub(super) fn peer(&mut self, slot: usize, message: PeerMessage) {
        let to = message.to();
        let Some(place) = self.slots.get(slot).filter(|_| to.node() == self.node.0) else { return };
        match &place.state {
            State::Present(group) if group.own == to => {
                self.with(slot, |group, outbox| group.receive(message, outbox));
            }
            State::Present(group) if to.number() > group.own.number() => self.succeed(slot, to),
            State::Absent => self.begin_replica(slot, to, message),
            // A message to a replica that is no more, or to one that is not ready yet: it will be said again.
            State::Present(_) | State::Beginning { .. } | State::Leaving(_) => {}
        }
    }

    /// A message to a later replica: the one here was replaced, and the later one begins with a later message.
    fn succeed(&mut self, slot: usize, to: ReplicaId) {
        if self.replicas.may_begin(self.slots[slot].id.0, to.number()) {
            tracing::debug!(group = %self.slots[slot].id, successor = %to, "the group has a later replica for this hub");
            self.end(slot, None);
        }
    }

    fn begin_replica(&mut self, slot: usize, to: ReplicaId, first: PeerMessage) {
        let group = self.slots[slot].id;
        let number = to.number();
        if self.replicas.may_begin(group.0, number) {
            self.slots[slot].state = State::Beginning { number, first };
            self.outbox.wishes.push(Wish::Begin { group, number });
        }
    }

    /// That the replica is here has been written down, or could not be.
    pub(super) fn begun(&mut self, slot: usize, number: u32, done: bool) {
        let place = &mut self.slots[slot];
        if !matches!(&place.state, State::Beginning { number: begins, .. } if *begins == number) {
            return;
        }
        let State::Beginning { first, .. } = std::mem::replace(&mut place.state, State::Absent) else {
            return;
        };
        if !done {
            return;
        }
        let own = ReplicaId::new(self.node.0, number);
        let mut group = self.ground.begin(place.id, own, place.machine.take());
        tracing::debug!(group = %place.id, %own, "a replica begins");
        group.faults = self.faults;
        place.state = State::Present(Box::new(group));
        self.with(slot, |group, outbox| group.receive(first, outbox));
        if self.suspended {
            self.with(slot, |group, outbox| group.suspend(true, outbox));
        }
    }

    pub(super) fn destroy(&mut self, slot: usize, number: u32, reply: oneshot::Sender<()>) {
        match &mut self.slots[slot].state {
            State::Present(group) if group.own.number() == number => self.end(slot, Some(reply)),
            State::Leaving(leaving) if leaving.number == number => leaving.replies.push(reply),
            // It is not here.
            _ => {
                let _ = reply.send(());
            }
        }
    }

    /// The replica leads nothing, votes for nobody and answers nobody from here on.
    pub(super) fn end(&mut self, slot: usize, reply: Option<oneshot::Sender<()>>) {
        let place = &mut self.slots[slot];
        let State::Present(mut group) = std::mem::replace(&mut place.state, State::Absent) else { return };
        tracing::debug!(group = %group.id, own = %group.own, "the replica is given up");
        group.refuse_all(Refusal::NotLeader { leader: group.leader_node() });
        let hard_state = group.hard_state();
        let mut leaving = Leaving::new(group.own.number(), Vec::new());
        leaving.barriers += u32::from(group.awaits_barrier());
        leaving.replies.extend(reply);
        match group.machine {
            Machine::Partitions(mut partitions) => {
                leaving.directories = partitions.directories();
                for partition in partitions.iter_mut() {
                    self.ground.readers.remove(partition.log.id());
                }
            }
            Machine::Metadata(machine) => place.machine = Some(machine),
        }
        place.state = State::Leaving(leaving);
        self.outbox.wishes.push(Wish::CancelFetch { group: group.id });
        self.outbox.wishes.push(Wish::KeepLog { group: group.id, from: None });
        self.outbox.wishes.push(Wish::Barrier { group: group.id, hard_state });
        self.touch(slot);
    }

    pub(super) fn barrier(&mut self, slot: usize, lsn: Lsn) {
        let group = self.slots[slot].id;
        match &mut self.slots[slot].state {
            State::Leaving(leaving) if leaving.barriers > 0 => {
                leaving.barriers -= 1;
                leaving.void = Some(lsn).filter(|_| leaving.barriers == 0);
                let wish = leaving.wish(group);
                self.outbox.wishes.extend(wish);
            }
            _ => self.with(slot, |group, outbox| group.barrier_written(lsn, outbox)),
        }
    }

    pub(super) fn given_up(&mut self, slot: usize, number: u32, done: bool) {
        let State::Leaving(leaving) = &mut self.slots[slot].state else { return };
        if leaving.number != number {
            return;
        }
        if !done {
            leaving.again = true;
            return;
        }
        let replies = std::mem::take(&mut leaving.replies);
        for reply in replies {
            // Whoever no longer listens does not need to know.
            let _ = reply.send(());
        }
        self.slots[slot].state = State::Absent;
    }

    /// Asks again for what could not be written down.
    pub(super) fn remind(&mut self) {
        for slot in &mut self.slots {
            if let State::Leaving(leaving) = &mut slot.state
                && std::mem::take(&mut leaving.again)
            {
                let wish = leaving.wish(slot.id);
                self.outbox.wishes.extend(wish);
            }
        }
    }
}

impl Leaving {
    fn new(number: u32, directories: Vec<PathBuf>) -> Self {
        Self { number, directories, barriers: 1, void: None, again: false, replies: Vec::new() }
    }

    fn wish(&self, group: GroupId) -> Option<Wish> {
        let (number, directories) = (self.number, self.directories.clone());
        self.void.map(|void| Wish::GiveUp { group, number, void, directories })
    }
}

impl Group {
    fn receive(&mut self, message: PeerMessage, outbox: &mut crate::outbox::Outbox) {
        if !self.is_deaf() {
            self.step(Event::Message(message), outbox);
        }
    }
}
