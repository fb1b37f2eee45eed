//! Everyone who waits for a group: for a place in its log, for an entry to be applied, for its lead to be confirmed.

use std::collections::VecDeque;

use schemas::Term;
use tokio::sync::oneshot;

use crate::answer::{Answer, Outcome, Refusal};
use crate::entry::Command;
use crate::limits::{ENTRIES_IN_FLIGHT_MAX, ENTRY_BYTES_TARGET, ENTRY_COMMANDS_MAX};
use crate::{ChangeError, ReadIndexError};

/// One command and who waits for its outcome.
pub(crate) struct Request {
    pub command: Command,
    pub answer: Answer,
}

impl Request {
    /// The only term in which it may take its place in the log.
    fn expected_term(&self) -> Option<Term> {
        match &self.command {
            Command::Append(append) => append.expected_term,
            Command::Partition(_) | Command::Metadata(_) | Command::Mark => None,
        }
    }
}

pub(crate) type ChangeReply = oneshot::Sender<Result<(), ChangeError>>;
pub(crate) type ReadReply = oneshot::Sender<Result<Term, ReadIndexError>>;

#[derive(Default)]
pub(crate) struct Waiting {
    queue: VecDeque<Request>,
    proposals: VecDeque<Proposal>,
    /// Changes of the membership, by token.
    changes: Vec<(u64, ChangeReply)>,
    reads: Vec<Read>,
    last_token: u64,
}

/// An entry on its way through the log, and who waits for its commands, in their order.
struct Proposal {
    token: u64,
    answers: Vec<Answer>,
}

struct Read {
    token: u64,
    /// What must be applied; `None` until a majority has confirmed the lead.
    index: Option<u64>,
    reply: ReadReply,
}

/// What goes into the next entry.
pub(crate) struct Pack {
    pub requests: Vec<Request>,
    /// Room that the commands need.
    pub bytes: usize,
}

impl Waiting {
    pub(crate) fn token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    pub(crate) fn enqueue(&mut self, request: Request) {
        self.queue.push_back(request);
    }

    pub(crate) fn has_proposals(&self) -> bool {
        !self.proposals.is_empty()
    }

    /// The next entry, if there is something to propose and as many entries as may be are not yet in flight. What is
    /// for another term than `term` is refused.
    pub(crate) fn pack(&mut self, term: u64) -> Option<Pack> {
        if self.proposals.len() >= ENTRIES_IN_FLIGHT_MAX {
            return None;
        }
        let (mut requests, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.queue.front()
            && requests.len() < ENTRY_COMMANDS_MAX
        {
            let more = next.command.bytes();
            if !requests.is_empty() && bytes + more > ENTRY_BYTES_TARGET {
                break;
            }
            let Some(request) = self.queue.pop_front() else { break };
            if request.expected_term().is_some_and(|expected| expected.0 != term) {
                request.answer.refuse(Refusal::NotLeader { leader: None });
                continue;
            }
            bytes += more;
            requests.push(request);
        }
        (!requests.is_empty()).then_some(Pack { requests, bytes })
    }

    pub(crate) fn proposed(&mut self, token: u64, answers: Vec<Answer>) {
        self.proposals.push_back(Proposal { token, answers });
    }

    /// The newest entry of this replica's own.
    pub(crate) fn newest_proposal(&self) -> Option<u64> {
        self.proposals.back().map(|proposal| proposal.token)
    }

    /// The entry of this token has taken effect.
    pub(crate) fn applied(&mut self, token: u64, outcomes: Vec<Outcome>) {
        if self.proposals.front().is_some_and(|proposal| proposal.token == token)
            && let Some(proposal) = self.proposals.pop_front()
        {
            for (answer, outcome) in proposal.answers.into_iter().zip(outcomes) {
                answer.outcome(outcome);
            }
        }
        if let Some(reply) = self.take_change(token) {
            answer(reply, Ok(()));
        }
    }

    /// The entry of this token is not in the log.
    pub(crate) fn refused(&mut self, token: u64, refusal: Refusal, change: ChangeError) {
        if let Some(position) = self.proposals.iter().position(|proposal| proposal.token == token) {
            let proposal = self.proposals.remove(position);
            let answers = proposal.map(|proposal| proposal.answers).unwrap_or_default();
            answers.into_iter().for_each(|answer| answer.refuse(refusal));
        }
        if let Some(reply) = self.take_change(token) {
            answer(reply, Err(change));
        }
    }

    pub(crate) fn change(&mut self, token: u64, reply: ChangeReply) {
        self.changes.push((token, reply));
    }

    fn take_change(&mut self, token: u64) -> Option<ChangeReply> {
        let at = self.changes.iter().position(|(waits, _)| *waits == token)?;
        Some(self.changes.swap_remove(at).1)
    }

    pub(crate) fn read(&mut self, token: u64, reply: ReadReply) {
        self.reads.push(Read { token, index: None, reply });
    }

    /// A majority has confirmed the lead: whoever asked is answered once `index` is applied.
    pub(crate) fn read_confirmed(&mut self, token: u64, index: u64) {
        if let Some(read) = self.reads.iter_mut().find(|read| read.token == token) {
            read.index = Some(index);
        }
    }

    pub(crate) fn read_refused(&mut self, token: u64, error: ReadIndexError) {
        if let Some(at) = self.reads.iter().position(|read| read.token == token) {
            answer(self.reads.swap_remove(at).reply, Err(error));
        }
    }

    /// Everything up to `applied` is.
    pub(crate) fn answer_reads(&mut self, applied: u64, term: u64) {
        let is_due = |read: &mut Read| read.index.is_some_and(|index| index <= applied);
        for read in self.reads.extract_if(.., is_due) {
            answer(read.reply, Ok(Term(term)));
        }
    }

    /// Refuses what was not proposed yet.
    pub(crate) fn refuse_queue(&mut self, refusal: Refusal) {
        self.queue.drain(..).for_each(|request| request.answer.refuse(refusal));
    }

    /// Refuses everyone; an entry that is applied after all finds nobody waiting.
    pub(crate) fn refuse_all(&mut self, refusal: Refusal) {
        self.refuse_queue(refusal);
        for proposal in self.proposals.drain(..) {
            proposal.answers.into_iter().for_each(|answer| answer.refuse(refusal));
        }
        for (_, reply) in self.changes.drain(..) {
            answer(reply, Err(change_error(refusal)));
        }
        for read in self.reads.drain(..) {
            answer(read.reply, Err(read_error(refusal)));
        }
    }
}

/// Whoever no longer listens does not need to know.
fn answer<T>(reply: oneshot::Sender<T>, outcome: T) {
    drop(reply.send(outcome));
}

fn change_error(refusal: Refusal) -> ChangeError {
    match refusal {
        Refusal::NotLeader { .. } => ChangeError::Lost,
        _ => ChangeError::Stopping,
    }
}

fn read_error(refusal: Refusal) -> ReadIndexError {
    match refusal {
        Refusal::NotLeader { leader } => ReadIndexError::NotLeader { leader },
        _ => ReadIndexError::Stopping,
    }
}
