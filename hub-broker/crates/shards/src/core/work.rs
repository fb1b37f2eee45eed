//! What is asked of a group besides appends: who leads and belongs to it, its checkpoints, retention and compaction.

use std::sync::mpsc::SyncSender;

use consensus::MembershipChange;
use partition_log::{CompactOptions, Compacted, Compaction};
use schemas::{NodeId, Offset, PartitionId};

use super::{Core, Group, ReplicaId, Request, Slot};
use crate::answer::{Answer, CommandDone, Permit, Refusal, RetainDone};
use crate::capture::Captured;
use crate::clock::ClockState;
use crate::compare::{Question, Verdict, VerdictDone};
use crate::entry::Command;
use crate::group::Machine;
use crate::message::Message;
use crate::waiting::{ChangeReply, ReadReply};
use crate::{ChangeError, CommandError, PartitionCommand, ReadIndexError, Retention};

impl Core {
    pub(super) fn change_membership(&mut self, slot: usize, change: MembershipChange, reply: ChangeReply) {
        match self.slots[slot].group_mut() {
            Some(group) => group.change_membership(change, reply, &mut self.outbox),
            None => drop(reply.send(Err(ChangeError::NotLeader { leader: None }))),
        }
        self.touch(slot);
    }

    pub(super) fn transfer(&mut self, slot: usize, to: ReplicaId, reply: ChangeReply) {
        let no_room = self.room.waits(NodeId(to.node()));
        let outcome = match self.slots[slot].group_mut() {
            Some(group) if no_room && group.leads() => Err(ChangeError::NoRoom),
            Some(group) => group.transfer(to, &mut self.outbox),
            None => Err(ChangeError::NotLeader { leader: None }),
        };
        // Whoever no longer listens does not need to know.
        drop(reply.send(outcome));
        self.touch(slot);
    }

    pub(super) fn read_index(&mut self, slot: usize, reply: ReadReply) {
        match self.slots[slot].group_mut() {
            Some(group) => group.read_index(reply, &mut self.outbox),
            None => drop(reply.send(Err(ReadIndexError::NotLeader { leader: None }))),
        }
        self.touch(slot);
    }

    pub(super) fn work(&mut self, message: Message) {
        match message {
            Message::Capture { slot, force, reply } => self.capture(slot, force, &reply),
            Message::Retain { slot, partition, retention, done, permit } => {
                self.retain(slot, partition, retention, done, permit);
            }
            Message::Compaction { slot, partition, options, reply } => {
                // Whoever no longer listens does not need to know.
                let _ = reply.send(self.compaction(slot, partition, options));
            }
            Message::Install { slot, partition, compacted, reply } => {
                self.install(slot, partition, compacted);
                let _ = reply.send(());
            }
            _ => {}
        }
    }

    /// The checkpointer waits for each reply, so there is room; it is gone only when the hub stops.
    fn capture(&mut self, slot: usize, force: bool, reply: &SyncSender<Option<Captured>>) {
        let captured = self.slots[slot].group_mut().and_then(|group| group.capture(force));
        let has_news = captured.as_ref().is_some_and(Captured::has_news);
        let _ = reply.send(captured);
        if has_news && self.draining.is_none() {
            self.with(slot, |group, _| group.propose_mark());
        }
    }

    /// Says whether this replica has what another has. One that differs from most of its group gives itself up.
    pub(super) fn compare(&mut self, slot: usize, question: &Question, done: VerdictDone) {
        let group = self.slots.get(slot).and_then(Slot::group).filter(|group| group.own == question.to);
        let verdict = group.map_or(Verdict::Unknown, |group| group.verdict(question));
        done(verdict);
        if verdict == Verdict::Differs && question.decided && !group.is_some_and(Group::leads) {
            self.damaged(slot, None);
        }
    }

    /// Finds out where the partition should start, and proposes that.
    fn retain(
        &mut self,
        slot: usize,
        partition: PartitionId,
        retention: Retention,
        done: RetainDone,
        permit: Permit,
    ) {
        let Some(group) = self.slots[slot].group() else {
            return done(Err(Refusal::NotLeader { leader: None }.into()));
        };
        if !group.leads() {
            return done(Err(group.not_leader().into()));
        }
        // Age is counted from the stamps to the time that is believed here. The last stamp is not that: it may be of a
        // hub whose clock was ahead, and would age everything at once.
        let ClockState { known_ms, held, .. } = self.clock.state();
        let retention = Retention { ms: retention.ms.filter(|_| held.is_none()), ..retention };
        let now_ms = known_ms.unwrap_or(i64::MIN);
        let target = match &group.machine {
            Machine::Partitions(partitions) => partitions.retention_target(partition, now_ms, retention),
            Machine::Metadata(_) => None,
        };
        match target {
            None => done(Err(CommandError::UnknownPartition)),
            Some(None) => done(Ok(None)),
            Some(Some(to)) => {
                let command = Command::Partition(PartitionCommand::AdvanceStart { partition, to });
                let answer = Answer::command(moved(to, done), permit);
                self.request(slot, Request { command, answer });
            }
        }
    }

    fn compaction(
        &mut self,
        slot: usize,
        partition: PartitionId,
        options: CompactOptions,
    ) -> Result<Option<Compaction>, CommandError> {
        let unknown = CommandError::UnknownPartition;
        let Some(group) = self.slots[slot].group_mut() else { return Err(unknown) };
        let Machine::Partitions(partitions) = &mut group.machine else { return Err(unknown) };
        let compaction = partitions.compaction(partition, options).ok_or(unknown)?;
        if compaction.is_some() && !group.compacting.contains(&partition) {
            group.compacting.push(partition);
        }
        Ok(compaction)
    }

    fn install(&mut self, slot: usize, partition: PartitionId, compacted: Compacted) {
        if let Some(group) = self.slots[slot].group_mut()
            && let Some(at) = group.compacting.iter().position(|it| *it == partition)
            && let Machine::Partitions(partitions) = &mut group.machine
        {
            group.compacting.swap_remove(at);
            partitions.install(partition, compacted);
            group.changed = true;
        }
    }
}

/// Answers with the new first offset.
fn moved(to: Offset, done: RetainDone) -> CommandDone {
    Box::new(move |result| done(result.map(|()| Some(to))))
}
