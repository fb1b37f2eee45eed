//! What raft-rs wants written, sent and applied, in the order in which that is allowed.

use std::collections::VecDeque;

use raft::Ready;
use raft::eraftpb::{Message, MessageType};

use super::Replica;
use crate::{Action, HardState, LogEntry, PeerMessage, SnapshotMark};

pub(super) struct Readies {
    /// The newest hard state that is not on its way to the disk yet: a commit index alone can wait for company.
    ///
    /// Every entry that is written takes it along. This is more than thrift: a change of the membership is proposed
    /// only when the one before is committed, so whoever has it in the log after a restart knows the earlier one to
    /// be committed, and goes by it before standing for election.
    unwritten: Option<HardState>,
    /// Readies that wait to be persisted, oldest first.
    outstanding: VecDeque<Outstanding>,
    /// The newest term that is on the disk for good.
    durable_term: u64,
}

/// A ready whose messages may leave when it, and all before it, are durable.
struct Outstanding {
    ready: u64,
    term: u64,
    /// Whether it has something of its own to be written.
    written: bool,
    /// Whether a part of that is the log or takes its place.
    changes_log: bool,
    snapshot: Option<u64>,
    messages: Vec<Message>,
}

impl Readies {
    pub(super) fn new(durable_term: u64) -> Self {
        Self { unwritten: None, outstanding: VecDeque::new(), durable_term }
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
        let outstanding = Outstanding {
            ready: ready.number(),
            term: self.node.raft.term,
            written: ready.must_sync(),
            changes_log: snapshot.is_some() || !ready.entries().is_empty(),
            snapshot: snapshot.as_ref().map(|mark| mark.index),
            messages: held,
        };
        if outstanding.written {
            let persist = self.persist(&ready, snapshot, actions);
            actions.push(persist);
        }
        self.node.advance_append_async(ready);
        if outstanding.written || !self.readies.outstanding.is_empty() {
            self.readies.outstanding.push_back(outstanding);
        } else {
            self.node.on_persist_ready(outstanding.ready);
            self.send(outstanding.messages, actions);
        }
        self.hand_out(committed, actions);
    }

    fn persist(
        &mut self,
        ready: &Ready,
        snapshot: Option<SnapshotMark>,
        actions: &mut Vec<Action>,
    ) -> Action {
        let tail = self.node.mut_store();
        if let Some(mark) = &snapshot {
            tail.reset(mark.index, mark.term);
            self.proposals.leave_open(mark.index, actions);
        }
        Action::Persist {
            ready: ready.number(),
            hard_state: self.readies.unwritten.take(),
            snapshot,
            truncate_from: tail.append(ready.entries()),
            entries: ready.entries().iter().map(LogEntry::from_raft).collect(),
        }
    }

    /// raft-rs counts everything before a persisted ready as persisted, so the queue is emptied only up to it.
    pub(super) fn persisted(&mut self, ready: u64, actions: &mut Vec<Action>) {
        let (mut last, mut snapshot) = (None, None);
        let mut log_grew = false;
        while let Some(front) = self.readies.outstanding.front()
            && (front.ready <= ready || !front.written)
            && let Some(durable) = self.readies.outstanding.pop_front()
        {
            self.readies.durable_term = durable.term;
            last = Some(durable.ready);
            log_grew |= durable.changes_log;
            snapshot = durable.snapshot.or(snapshot);
            self.send(durable.messages, actions);
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
        self.stand_if_due();
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
