//! Replicas that compare what they have, and ask to be let go, between simulated hubs.

use consensus::ReplicaId;
use schemas::{NodeId, ShardId};

use super::hub::Hub;
use crate::Append;
use crate::apply::Machine;
use crate::compare::{Question, Verdict};
use crate::entry::Command;
use crate::exchange::Asked;
use crate::leave::{Answer, Plea};
use crate::message::Message;

/// A leader's replica asks another whether it has the same, or a damaged one asks its leader to be let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaQuestion(pub(super) Asked);

impl ReplicaQuestion {
    pub fn to(&self) -> ReplicaId {
        match &self.0 {
            Asked::Compare(question) => question.to,
            Asked::Leave(plea) => plea.leader,
        }
    }

    /// Of one kind, a replica has one question to another at a time.
    fn is_like(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Asked::Compare(one), Asked::Compare(other)) => (one.group, one.to) == (other.group, other.to),
            (Asked::Leave(one), Asked::Leave(other)) => one.group == other.group,
            _ => false,
        }
    }
}

impl Hub {
    /// What the replicas here ask those of other hubs.
    pub fn take_questions(&mut self) -> Vec<ReplicaQuestion> {
        std::mem::take(&mut self.questions)
    }

    /// Has the hub that is asked answer.
    pub fn ask(&mut self, question: ReplicaQuestion, other: &mut Self) {
        match question.0 {
            Asked::Compare(question) => {
                let (slot, from, index) = (question.group as usize, question.to, question.mark.index);
                let verdict = other.verdict(question);
                self.core.handle(Message::Compared { slot, from, index, verdict });
            }
            Asked::Leave(plea) => {
                let answer = other.answer_to(plea);
                self.core.handle(Message::PleaAnswered { slot: plea.group as usize, plea, answer });
            }
        }
    }

    /// What nobody has delivered is asked again.
    pub(super) fn put(&mut self, question: ReplicaQuestion) {
        self.questions.retain(|it| !it.is_like(&question));
        self.questions.push(question);
    }

    fn answer_to(&mut self, plea: Plea) -> Answer {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let done = Box::new(move |answer| {
            // The other end is below.
            let _ = tell.send(answer);
        });
        self.core.handle(Message::Plead { slot: plea.group as usize, plea, done });
        told.try_recv().unwrap_or(Answer::Stay)
    }

    fn verdict(&mut self, question: Question) -> Verdict {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let done = Box::new(move |verdict| {
            // The other end is below.
            let _ = tell.send(verdict);
        });
        let slot = question.group as usize;
        self.core.handle(Message::Compare { slot, question: Box::new(question), done });
        told.try_recv().unwrap_or(Verdict::Unknown)
    }

    /// A batch is in this hub's replica that no entry has brought: what replicas are compared for.
    pub fn slip_in(&mut self, shard: ShardId, append: Append) {
        let group = self.core.group_mut(usize::from(shard.0) + 1).expect("a replica of the shard");
        let at =
            crate::AppliedAt { index: group.applied.0, term: group.applied.1, stamp_ms: group.last_stamp_ms };
        if let Machine::Partitions(partitions) = &mut group.machine {
            let outcome = partitions.apply(at, &Command::Append(append)).and_then(|_| partitions.publish());
            outcome.expect("there is room");
        }
    }

    /// That hub says whether it waits for room.
    pub fn hear_of_room(&mut self, node: NodeId, waits: bool) {
        self.core.handle(Message::NoRoom { node, waits });
    }

    /// The disk has less room than an append must leave, or more again: whoever hands appends in is to refuse them.
    pub fn lack_room(&mut self, is_short: bool) {
        self.core.lack_room(is_short);
    }

    /// The disk is full, or is so no more: nothing is applied, stored or copied there.
    pub fn starve(&mut self, starve: bool) {
        self.is_full = starve;
        self.stores.iter_mut().for_each(|store| store.starve(starve));
        self.core.starve(starve);
    }
}
