//! What is not let in to raft-rs.
//!
//! raft-rs 0.7.0 trusts its peers: a message that does not fit ends the process (`fatal!`), and one without a term
//! counts as its own. No replica that kept its promises sends such a message, but one that lost its disk and does not
//! know it might, and bytes from a network can say anything.

use raft::eraftpb::{self, EntryType, MessageType};
use raft::{Raft, StateRole};

use crate::Membership;
use crate::tail::Tail;

/// No term and no index comes near this; beyond it, adding one would overflow.
const NUMBER_MAX: u64 = 1 << 62;

/// A message that no sound replica of the group sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("it is of a kind that replicas do not send")]
    Kind,
    #[error("it is not from another replica to this one")]
    Address,
    #[error("a term or an index is out of all bounds")]
    Number,
    #[error("its entries do not follow upon each other")]
    Entries,
    #[error("this replica has no state yet")]
    NoState,
    #[error("it speaks of entries that are not in the log")]
    BeyondLog,
    #[error("its snapshot is of nothing that this replica could be in")]
    Snapshot,
}

pub(crate) fn check(raft: &Raft<Tail>, message: &eraftpb::Message) -> Result<(), Unfit> {
    let own = raft.id;
    if message.to != own || message.from == own || message.from == raft::INVALID_ID {
        return Err(Unfit::Address);
    }
    let numbers = [message.log_term, message.index, message.commit, message.commit_term, message.reject_hint];
    if message.term == 0 || message.term > NUMBER_MAX || numbers.iter().any(|number| *number > NUMBER_MAX) {
        return Err(Unfit::Number);
    }
    match message.get_msg_type() {
        MessageType::MsgAppend => check_append(raft, message),
        MessageType::MsgAppendResponse => check_append_response(raft, message),
        MessageType::MsgHeartbeat if message.commit > raft.raft_log.last_index() => Err(Unfit::BeyondLog),
        MessageType::MsgSnapshot => check_snapshot(own, message),
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote if has_no_state(raft) => {
            Err(Unfit::NoState)
        }
        MessageType::MsgHeartbeat
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse
        | MessageType::MsgTimeoutNow => Ok(()),
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgPropose
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum
        | MessageType::MsgTransferLeader
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp => Err(Unfit::Kind),
    }
}

fn has_no_state(raft: &Raft<Tail>) -> bool {
    raft.prs().conf().voters().ids().is_empty()
}

fn check_append(raft: &Raft<Tail>, message: &eraftpb::Message) -> Result<(), Unfit> {
    // Taken from the log's first entry on, a new replica would have a state without ever having had a snapshot.
    if message.index == 0 && !message.entries.is_empty() && has_no_state(raft) {
        return Err(Unfit::NoState);
    }
    let (mut index, mut term) = (message.index, message.log_term);
    // raft-rs takes term 0 for that of any entry that is not in the log.
    if (index == 0) != (term == 0) {
        return Err(Unfit::Entries);
    }
    for entry in &message.entries {
        let follows = entry.index == index + 1 && (term.max(1)..=message.term).contains(&entry.term);
        if !follows || entry.get_entry_type() == EntryType::EntryConfChange {
            return Err(Unfit::Entries);
        }
        (index, term) = (entry.index, entry.term);
    }
    Ok(())
}

/// A follower that acknowledges what its leader never had has taken it from someone else.
fn check_append_response(raft: &Raft<Tail>, message: &eraftpb::Message) -> Result<(), Unfit> {
    if message.request_snapshot != raft::INVALID_INDEX {
        return Err(Unfit::Kind);
    }
    let to_leader = raft.state == StateRole::Leader && message.term == raft.term;
    match to_leader && !message.reject && message.index > raft.raft_log.last_index() {
        true => Err(Unfit::BeyondLog),
        false => Ok(()),
    }
}

fn check_snapshot(own: u64, message: &eraftpb::Message) -> Result<(), Unfit> {
    let of = message.get_snapshot().get_metadata();
    let membership = Membership::from_raft(of.get_conf_state());
    let in_bounds = (1..=NUMBER_MAX).contains(&of.index) && (1..=message.term).contains(&of.term);
    let fits = in_bounds && membership.is_sound() && membership.contains(crate::ReplicaId(own));
    match fits {
        true => Ok(()),
        false => Err(Unfit::Snapshot),
    }
}
