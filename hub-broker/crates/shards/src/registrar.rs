//! Writes down which replicas this hub has. A thread of its own, because each record is synced to the disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use wal::{GroupId, Lsn, Wal};

use crate::inbox::Inbox;
use crate::message::{Message, Place};
use crate::order::Order;
use crate::replicas::Replicas;

/// What is to be written down.
pub(crate) enum Record {
    Begin { group: GroupId, number: u32 },
    GiveUp { group: GroupId, number: u32, void: Lsn, directories: Vec<PathBuf> },
}

pub(crate) struct Registrar {
    pub records: Receiver<Record>,
    pub replicas: Arc<Replicas>,
    pub orders: Sender<Order>,
    pub wal: Wal,
    pub executors: Vec<Inbox<Message>>,
}

impl Registrar {
    /// Until nobody has anything to record any more.
    pub(crate) fn run(self) {
        while let Ok(record) = self.records.recv() {
            match record {
                Record::Begin { group, number } => self.begin(group, number),
                Record::GiveUp { group, number, void, directories } => {
                    self.give_up(group, number, void, directories);
                }
            }
        }
    }

    fn begin(&self, group: GroupId, number: u32) {
        let done = self.replicas.begin(group.0, number);
        if let Err(error) = &done {
            tracing::error!(%group, number, %error, "a replica cannot begin: it could not be written down");
        }
        let (inbox, slot) = self.place(group);
        inbox.push(Message::Begun { slot, number, done: done.is_ok() });
    }

    /// First that the replica is no more; what it has left is removed after that.
    fn give_up(&self, group: GroupId, number: u32, void: Lsn, directories: Vec<PathBuf>) {
        let (inbox, slot) = self.place(group);
        if let Err(error) = self.replicas.give_up(group.0, number, void) {
            tracing::error!(%group, number, %error, "a replica's end could not be written down; it is tried again");
            return inbox.push(Message::GivenUp { slot, number, done: false });
        }
        self.wal.forget(group);
        let inbox = inbox.clone();
        let reply = Box::new(move |()| inbox.push(Message::GivenUp { slot, number, done: true }));
        // The checkpointer is gone only when the hub stops; what is left is removed with the next start.
        let _ = self.orders.send(Order::Destroy { group: group.0, directories, reply });
    }

    fn place(&self, group: GroupId) -> (&Inbox<Message>, usize) {
        let place = Place::of(group.0, self.executors.len());
        (&self.executors[place.executor], place.slot)
    }
}
