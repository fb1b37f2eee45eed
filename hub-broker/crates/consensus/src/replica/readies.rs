//! What raft-rs wants written, sent and applied, in the order in which that is allowed.

use std::collections::VecDeque;

use raft::Ready;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::Replica;
use crate::{Action, HardState, LogEntry, PeerMessage, SnapshotMark};

pub(super) struct Readies {
    /// The newest hard state that is not on its way to the disk yet: a commit index alone can wait for company.
    ///
    /// Every entry that is written takes it along, and no change of the membership takes effect before it is durable:
    /// those whom the group has let go are there no more to say so a second time.
    unwritten: Option<HardState>,
    /// Counts what was to be written.
    writes: u64,
    /// What waits to be persisted, oldest first.
    outstanding: VecDeque<Outstanding>,
    /// The newest term that is on the disk for good.
    durable_term: u64,
}

/// What may go on when a write, and all before it, are durable.
#[derive(Default)]
struct Outstanding {
    /// The protocol's number, if it is about one of its readies.
    ready: Option<u64>,
    term: u64,
    /// The last write of its own, if it has any.
    write: Option<u64>,
    /// Whether a part of that is the log or takes its place.
    changes_log: bool,
    snapshot: Option<u64>,
    messages: Vec<Message>,
    /// Committed, and to be handed out.
    committed: Vec<Entry>,
}

impl Readies {
    pub(super) fn new(durable_term: u64) -> Self {
        Self { unwritten: None, writes: 0, outstanding: VecDeque::new(), durable_term }
    }

    pub(super) fn durable_term(&self) -> u64 {
        self.durable_term
    }

    /// Nothing of the log is still on its way to the disk.
    pub(super) fn log_is_durable(&self) -> bool {
        self.outstanding.iter().all(|outstanding| !outstanding.changes_log)
    }

    /// A snapshot is being put in the place of the state.
    pub(super) fn installs_snapshot(&self) -> bool {
        self.outstanding.iter().any(|outstanding| outstanding.snapshot.is_some())
    }
}

impl Replica {
    pub(super) fn ready(&mut self, actions: &mut Vec<Action>) {
        let mut ready = self.node.ready();
        for state in ready.take_read_states() {
            self.reads.answer(&state, actions);
        }
        if let Some(state) = ready.hs() {
            self.readies.unwritten = Some(HardState::from(state));
        }
        let mut held = ready.take_persisted_messages();
        match self.readies.durable_term < self.node.raft.term {
            // A leader need not wait for its own disk, unless that does not even have the term.
            true => held.extend(ready.take_messages()),
            false => self.send(ready.take_messages(), actions),
        }
        let committed = ready.take_committed_entries();
        let snapshot = (!ready.snapshot().is_empty()).then(|| SnapshotMark::from_raft(ready.snapshot()));
        let mut outstanding = Outstanding {
            ready: Some(ready.number()),
            term: self.node.raft.term,
            changes_log: snapshot.is_some() || !ready.entries().is_empty(),
            snapshot: snapshot.as_ref().map(|mark| mark.index),
            messages: held,
            ..Outstanding::default()
        };
        if ready.must_sync() {
            self.persist(&ready, snapshot, actions);
            outstanding.write = Some(self.readies.writes);
        }
        self.node.advance_append_async(ready);
        if outstanding.write.is_some() || !self.readies.outstanding.is_empty() {
            self.readies.outstanding.push_back(outstanding);
        } else {
            self.node.on_persist_ready(outstanding.ready.unwrap_or(0));
            self.send(outstanding.messages, actions);
        }
        self.committed(committed, actions);
    }

    /// A crash may leave any beginning of what is written, so the commit index comes behind the entries that it is
    /// about.
    fn persist(&mut self, ready: &Ready, snapshot: Option<SnapshotMark>, actions: &mut Vec<Action>) {
        let tail = self.node.mut_store();
        if let Some(mark) = &snapshot {
            tail.reset(mark.index, mark.term);
            self.proposals.leave_open(mark.index, actions);
            self.readies.outstanding.iter_mut().for_each(|before| before.committed.clear());
        }
        let truncate_from = tail.append(ready.entries());
        let mut hard_state = self.readies.unwritten.take();
        if let (Some(state), Some(first)) = (&mut hard_state, ready.entries().first())
            && state.commit >= first.index
        {
            self.readies.unwritten = Some(*state);
            state.commit = first.index - 1;
        }
        self.readies.writes += 1;
        actions.push(Action::Persist {
            ready: self.readies.writes,
            hard_state,
            snapshot,
            truncate_from,
            entries: ready.entries().iter().map(LogEntry::from_raft).collect(),
        });
        self.persist_hard_state(actions);
    }

    /// The hard state alone, if there is a newer one than is on its way. Returns the number of the write.
    fn persist_hard_state(&mut self, actions: &mut Vec<Action>) -> Option<u64> {
        let hard_state = self.readies.unwritten.take()?;
        self.readies.writes += 1;
        actions.push(Action::Persist {
            ready: self.readies.writes,
            hard_state: Some(hard_state),
            snapshot: None,
            truncate_from: None,
            entries: Vec::new(),
        });
        Some(self.readies.writes)
    }

    /// A change of the membership, and what comes behind it, waits until it is durable that it is committed.
    fn committed(&mut self, committed: Vec<Entry>, actions: &mut Vec<Action>) {
        if committed.iter().any(|entry| entry.get_entry_type() != EntryType::EntryNormal) {
            let write = self.persist_hard_state(actions);
            let term = self.node.raft.term;
            let waiting = Outstanding { term, write, committed, ..Outstanding::default() };
            self.readies.outstanding.push_back(waiting);
            return self.release(0, actions);
        }
        match self.readies.outstanding.iter_mut().rfind(|before| !before.committed.is_empty()) {
            Some(before) => before.committed.extend(committed),
            None => self.hand_out(committed, actions),
        }
    }

    pub(super) fn persisted(&mut self, write: u64, actions: &mut Vec<Action>) {
        self.release(write, actions);
        self.stand_if_due();
    }

    /// raft-rs counts everything before a persisted ready as persisted, so the queue is emptied only up to it.
    fn release(&mut self, write: u64, actions: &mut Vec<Action>) {
        let (mut last, mut snapshot) = (None, None);
        let mut log_grew = false;
        let mut committed = Vec::new();
        while let Some(front) = self.readies.outstanding.front()
            && front.write.is_none_or(|its| its <= write)
            && let Some(durable) = self.readies.outstanding.pop_front()
        {
            self.readies.durable_term = durable.term;
            last = durable.ready.or(last);
            log_grew |= durable.changes_log;
            snapshot = durable.snapshot.or(snapshot);
            self.send(durable.messages, actions);
            committed.extend(durable.committed);
        }
        if let Some(last) = last {
            self.node.on_persist_ready(last);
        }
        if log_grew {
            self.note_entries();
        }
        if let Some(index) = snapshot {
            self.applied(index);
        }
        self.hand_out(committed, actions);
    }

    pub(super) fn send(&mut self, messages: Vec<Message>, actions: &mut Vec<Action>) {
        for message in messages {
            if message.get_msg_type() == MessageType::MsgSnapshot {
                self.followers.offered(message.clone());
            }
            actions.push(Action::Send(PeerMessage(message)));
        }
    }
}
