//! What gets into the log, and what has become of it.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::Replica;
use crate::{Action, Committed, RefusedReason};

/// Own proposals that are not committed, by index.
#[derive(Default)]
pub(super) struct Proposals(VecDeque<Proposal>);

struct Proposal {
    index: u64,
    term: u64,
    token: u64,
}

impl Proposals {
    /// The token of the own proposal that became this entry. A proposal at its index from another term lost.
    fn token_of(&mut self, index: u64, term: u64, actions: &mut Vec<Action>) -> Option<u64> {
        while let Some(front) = self.0.front()
            && front.index <= index
        {
            let (token, own) = (front.token, front.index == index && front.term == term);
            self.0.pop_front();
            if own {
                return Some(token);
            }
            actions.push(Action::Refused { token, reason: RefusedReason::Overwritten });
        }
        None
    }

    /// A snapshot took the place of everything up to `index`.
    pub(super) fn leave_open(&mut self, index: u64, actions: &mut Vec<Action>) {
        while self.0.front().is_some_and(|front| front.index <= index)
            && let Some(Proposal { token, .. }) = self.0.pop_front()
        {
            actions.push(Action::Refused { token, reason: RefusedReason::InDoubt });
        }
    }
}

impl Replica {
    pub(super) fn propose(&mut self, payload: Bytes, token: u64, actions: &mut Vec<Action>) {
        match self.not_leading() {
            Some(reason) => actions.push(Action::Refused { token, reason }),
            None => {
                let entry = Entry { data: payload, ..Default::default() };
                self.propose_entry(EntryType::EntryNormal, entry, token, actions);
            }
        }
    }

    /// Stepped directly: `RawNode::propose` would have the payload as a vector.
    pub(super) fn propose_entry(
        &mut self,
        kind: EntryType,
        entry: Entry,
        token: u64,
        actions: &mut Vec<Action>,
    ) {
        let mut message =
            Message { from: self.node.raft.id, msg_type: MessageType::MsgPropose, ..Default::default() };
        message.set_entries(vec![Entry { entry_type: kind, ..entry }].into());
        match self.node.raft.step(message) {
            Ok(()) => {
                let (index, term) = (self.last_index(), self.term());
                self.proposals.0.push_back(Proposal { index, term, token });
            }
            Err(_) => actions.push(Action::Refused { token, reason: RefusedReason::Full }),
        }
    }

    pub(super) fn hand_out(&mut self, committed: Vec<Entry>, actions: &mut Vec<Action>) {
        if committed.is_empty() {
            return;
        }
        let mut apply = Vec::with_capacity(committed.len());
        for entry in committed {
            let token = self.proposals.token_of(entry.index, entry.term, actions);
            let is_change = entry.get_entry_type() != EntryType::EntryNormal;
            let membership = if is_change { self.apply_change(&entry) } else { None };
            let payload = if is_change { Bytes::new() } else { entry.data };
            apply.push(Committed { index: entry.index, term: entry.term, payload, token, membership });
        }
        actions.push(Action::Apply(apply));
    }

    pub(super) fn applied(&mut self, index: u64) {
        if index <= self.node.raft.raft_log.applied() {
            return;
        }
        let last = self.last_index();
        self.node.advance_apply_to(index);
        if self.last_index() > last {
            // The end of a joint membership was proposed; raft-rs would leave it lying until the next heartbeat.
            self.node.raft.bcast_append();
        }
        self.compact();
    }
}
