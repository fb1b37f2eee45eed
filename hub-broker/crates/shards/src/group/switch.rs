//! A snapshot takes the place of the group's state.
//!
//! The order is what makes it safe: its files are here and durable before the protocol is told of it; a barrier in the
//! WAL then says which of the group's frames belong to the old state; one manifest switches the new state in and names
//! the barrier; only then does the protocol hear that the snapshot is in place. Meanwhile the replica is deaf: what it
//! is sent in these moments is lost, as messages may be.

use consensus::{Event, HardState, LogEntry, Membership, PeerMessage, ReplicaId, SnapshotMark};
use wal::Lsn;

use super::{Group, Machine};
use crate::fail;
use crate::incoming::{After, Held, Incoming, Switch};
use crate::outbox::{Outbox, Wish};
use crate::snapshot::{Arrived, ArrivedMachine, FetchError, Wanted};

impl Group {
    /// A checkpoint for followers was made, or could not be.
    pub(crate) fn checkpointed(&mut self, made: Option<(u64, u64, Membership)>, outbox: &mut Outbox) {
        self.making_snapshot = false;
        if let Some((index, term, membership)) = made {
            self.step(Event::SnapshotReady { index, term, membership }, outbox);
        }
    }

    pub(super) fn want_snapshot(
        &mut self,
        from: ReplicaId,
        (index, term): (u64, u64),
        message: PeerMessage,
        outbox: &mut Outbox,
    ) {
        let generation = self.origin.generation + 1;
        let damaged = self.mending.listed();
        let wanted = Wanted { group: self.id.0, index, term, from, to: self.own, generation, damaged };
        if self.incoming.is_switching() {
            return;
        }
        // The newest offer counts: it carries the term in which the answer is due.
        if !self.incoming.is_fetching(&wanted) {
            outbox.wishes.push(Wish::Fetch(wanted.clone()));
        }
        self.incoming = Incoming::Fetching { wanted, message };
    }

    /// What was wanted is here, or cannot be had.
    pub(crate) fn snapshot_arrived(
        &mut self,
        copied: &Wanted,
        outcome: Result<Arrived, FetchError>,
        outbox: &mut Outbox,
    ) {
        if !self.incoming.is_fetching(copied) {
            return;
        }
        let Incoming::Fetching { message, .. } = self.incoming.take() else { return };
        match outcome {
            Ok(arrived) => {
                self.incoming = Incoming::Offered(Box::new(arrived));
                self.step(Event::Snapshot(message), outbox);
                if let Incoming::Offered(_) = self.incoming {
                    self.incoming = Incoming::Nothing;
                }
            }
            // The leader offers it again.
            Err(error) => tracing::debug!(group = %self.id, %error, "a snapshot was not copied"),
        }
    }

    pub(super) fn begin_switch(
        &mut self,
        ready: u64,
        mark: SnapshotMark,
        entries: Vec<LogEntry>,
        outbox: &mut Outbox,
    ) {
        let Incoming::Offered(arrived) = self.incoming.take() else {
            fail::stop("a snapshot is to be installed", &"it was never copied");
        };
        // Until the switch, what recovery finds is the old log, and that reaches no further than this.
        let HardState { term, vote, .. } = self.replica.hard_state();
        let hard_state = wal::HardState { term, vote, commit: self.applied.0 };
        outbox.wishes.push(Wish::Barrier { group: self.id, hard_state });
        let after = After { ready, mark, entries, held: Vec::new() };
        self.incoming = Incoming::Switching { after, arrived: Some(arrived) };
    }

    /// Everything of the group in the WAL up to `lsn` belongs to the old state.
    pub(crate) fn barrier_written(&mut self, lsn: Lsn, outbox: &mut Outbox) {
        let Incoming::Switching { after, arrived } = &mut self.incoming else { return };
        let Some(arrived) = arrived.take() else { return };
        self.origin.void_entries_through = lsn;
        outbox.wishes.push(Wish::Install(Box::new(Switch {
            group: self.id.0,
            replica_number: self.own.number(),
            mark: after.mark.clone(),
            void_entries_through: lsn,
            arrived: *arrived,
        })));
    }

    /// The switch is durable.
    pub(crate) fn snapshot_installed(&mut self, arrived: Arrived, outbox: &mut Outbox) {
        let Incoming::Switching { after, .. } = self.incoming.take() else { return };
        let After { ready, mark, entries, held } = after;
        tracing::debug!(group = %self.id, own = %self.own, index = mark.index, "a snapshot has taken the state's place");
        self.origin.generation = arrived.generation;
        self.hear(arrived.last_stamp_ms);
        self.last_stamp_ms = self.last_stamp_ms.max(arrived.last_stamp_ms);
        self.applied = (mark.index, mark.term);
        self.membership = mark.membership;
        self.changed = true;
        self.news += 1;
        self.forget_committed(mark.index);
        self.replace_machine(arrived);
        self.replace_mending(outbox);
        let (term, done) = (self.replica.term(), entries.is_empty());
        if !done {
            outbox.persist(self.id, ready, term, None, None, entries);
        }
        for Held { ready, hard_state, truncate_from, entries } in held {
            outbox.persist(self.id, ready, term, hard_state, truncate_from, entries);
        }
        if done {
            self.step(Event::Persisted { ready }, outbox);
        }
        self.step(Event::Applied { index: mark.index }, outbox);
    }

    fn replace_machine(&mut self, arrived: Arrived) {
        self.compacting.clear();
        match (&mut self.machine, arrived.machine) {
            (Machine::Partitions(partitions), ArrivedMachine::Partitions(logs)) => {
                partitions.replace(arrived.generation, logs);
            }
            (Machine::Metadata(machine), ArrivedMachine::Metadata(snapshot)) => {
                if let Err(error) = machine.restore(&snapshot) {
                    // It is in the manifest: every start would meet it again.
                    fail::stop("the metadata's snapshot cannot be read", &error);
                }
            }
            (Machine::Partitions(_) | Machine::Metadata(_), _) => {
                fail::stop("a snapshot is of another kind than its group", &self.id);
            }
        }
    }
}
