//! Reads that must see everything acknowledged before them.

use std::collections::BTreeMap;

use raft::eraftpb::{Entry, Message, MessageType};

use super::Replica;
use crate::Action;

/// Questions that a majority has not answered yet. Each has a number of its own, since the tokens belong to whoever
/// asks.
#[derive(Default)]
pub(super) struct Reads {
    asked: u64,
    tokens: BTreeMap<u64, u64>,
}

impl Reads {
    fn ask(&mut self, token: u64) -> [u8; 8] {
        self.asked += 1;
        self.tokens.insert(self.asked, token);
        self.asked.to_be_bytes()
    }

    pub(super) fn answer(&mut self, state: &raft::ReadState, actions: &mut Vec<Action>) {
        let question = <[u8; 8]>::try_from(&state.request_ctx[..]).map(u64::from_be_bytes);
        if let Some(token) = question.ok().and_then(|question| self.tokens.remove(&question)) {
            actions.push(Action::ReadReady { token, index: state.index });
        }
    }

    /// What was asked of the leader of an earlier term is not answered any more.
    pub(super) fn refuse_all(&mut self, actions: &mut Vec<Action>) {
        let tokens = std::mem::take(&mut self.tokens).into_values();
        actions.extend(tokens.map(|token| Action::ReadRefused { token }));
    }
}

impl Replica {
    /// raft-rs drops a question in silence before the term's first commit, and would forward it to another leader.
    pub(super) fn read_index(&mut self, token: u64, actions: &mut Vec<Action>) {
        if !self.is_leader() || !self.node.raft.commit_to_current_term() {
            return actions.push(Action::ReadRefused { token });
        }
        let question = self.reads.ask(token).to_vec();
        let entry = Entry { data: question.into(), ..Default::default() };
        let mut message = Message { msg_type: MessageType::MsgReadIndex, ..Default::default() };
        message.set_entries(vec![entry].into());
        if let Err(error) = self.node.raft.step(message) {
            tracing::debug!(%error, "a read was not taken");
        }
    }
}
