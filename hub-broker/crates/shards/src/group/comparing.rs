//! What the group's replicas have, compared at marks in its log; see `compare`.

use std::collections::BTreeSet;

use consensus::ReplicaId;

use super::{Group, Machine, Request};
use crate::answer::Answer;
use crate::compare::{Mark, Question, Verdict};
use crate::entry::Command;
use crate::observe::snapshots as observe;
use crate::outbox::{Outbox, Wish};

/// What a leader has found out since its last mark.
pub(super) struct Comparison {
    mark: Mark,
    /// They have not said yet.
    silent: BTreeSet<ReplicaId>,
    /// They have the same, this replica among them.
    same: BTreeSet<ReplicaId>,
    /// They differ, and have not been told to give themselves up.
    differ: BTreeSet<ReplicaId>,
}

impl Group {
    /// A checkpoint has brought news: the replicas are compared at the next entry.
    pub(crate) fn propose_mark(&mut self) {
        if self.is_serving() && !self.is_alone() {
            self.enqueue(Request { command: Command::Mark, answer: Answer::for_nobody() });
        }
    }

    /// An entry was applied; if it is a mark of this leader's term or before, the others are to be asked.
    pub(super) fn begin_comparison(&mut self) {
        let Some(mark) = self.mark().filter(|mark| mark.index == self.applied.0) else { return };
        let mark = mark.clone();
        self.comparison = self.leads().then(|| {
            let others = self.membership.replicas().into_iter().filter(|replica| *replica != self.own);
            Comparison { mark, silent: others.collect(), same: [self.own].into(), differ: BTreeSet::new() }
        });
    }

    /// Asks those who have not said, and tells those who differ if most do not.
    pub(crate) fn compare(&mut self, outbox: &mut Outbox) {
        if !self.leads() {
            self.comparison = None;
        }
        let Some(comparison) = &self.comparison else { return };
        let members = self.membership.replicas();
        let question = |to: &ReplicaId, decided| Question {
            group: self.id.0,
            from: self.own,
            to: *to,
            mark: comparison.mark.clone(),
            decided,
        };
        let differ = comparison.differ.iter().filter(|_| self.is_decided(comparison));
        let decided = differ.map(|to| question(to, true));
        let questions = comparison.silent.iter().map(|to| question(to, false)).chain(decided);
        let questions = questions.filter(|question| members.contains(&question.to));
        outbox.wishes.extend(questions.map(|question| Wish::Compare(Box::new(question))));
    }

    /// Without those that differ the group still has a majority, and that has what the leader has.
    fn is_decided(&self, comparison: &Comparison) -> bool {
        let voters = &self.membership.voters;
        let same = voters.iter().filter(|voter| comparison.same.contains(voter)).count();
        !self.membership.is_joint() && same > voters.len() / 2
    }

    /// Most voters differ from this leader: it, or they, are not what they should be, and only one of them as a leader
    /// can find out who.
    pub(super) fn is_outvoted(&self) -> bool {
        let voters = &self.membership.voters;
        self.comparison.as_ref().is_some_and(|comparison| {
            voters.iter().filter(|voter| comparison.differ.contains(voter)).count() > voters.len() / 2
        })
    }

    /// Another replica has compared itself with this one.
    pub(crate) fn compared(&mut self, from: ReplicaId, index: u64, verdict: Verdict) {
        let Some(comparison) = self.comparison.as_mut().filter(|it| it.mark.index == index) else { return };
        match verdict {
            Verdict::Later => {}
            Verdict::Unknown => {
                comparison.silent.remove(&from);
                comparison.differ.remove(&from);
            }
            Verdict::Same => {
                if comparison.silent.remove(&from) {
                    comparison.same.insert(from);
                }
            }
            Verdict::Differs => {
                if comparison.silent.remove(&from) {
                    comparison.differ.insert(from);
                    tracing::error!(group = %self.id, replica = %from, index, "a replica differs from its leader");
                }
            }
        }
    }

    /// Compares this replica with the leader's.
    pub(crate) fn verdict(&self, question: &Question) -> Verdict {
        let Some(own) = self.mark().filter(|mark| mark.index == question.mark.index) else {
            return if self.applied.0 < question.mark.index { Verdict::Later } else { Verdict::Unknown };
        };
        let Some(found) = own.difference(&question.mark) else { return Verdict::Same };
        if !question.decided {
            let (shard, partition, offset) = (self.id.0.saturating_sub(1), found.partition, found.own);
            let (leader, leaders_offset) = (question.from, found.other);
            tracing::error!(
                shard, %partition, offset = offset.map(|it| it.0.0), hash = offset.map(|it| it.1), %leader,
                leaders_offset = leaders_offset.map(|it| it.0.0), leaders_hash = leaders_offset.map(|it| it.1),
                index = question.mark.index, own = %self.own, "this replica differs from its leader's"
            );
            observe::divergence();
        }
        Verdict::Differs
    }

    fn mark(&self) -> Option<&Mark> {
        match &self.machine {
            Machine::Partitions(partitions) => partitions.mark(),
            Machine::Metadata(_) => None,
        }
    }
}
