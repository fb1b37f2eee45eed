//! A replica here is found damaged: it is mended, let go by its group's leader, or kept as it is.

use std::path::Path;

use super::{Core, Slot};
use crate::leave::{Answer, LeaveDone, Plea};
use crate::observe;
use crate::snapshot::Arrived;

impl Core {
    /// Whoever reads the files is later than the groups: what it has found may be of a replica that is gone, or of a
    /// file that is needed no more.
    pub(super) fn damage_found(&mut self, slot: usize, number: u32, file: Option<&Path>) {
        let group = self.slots.get(slot).and_then(Slot::group).filter(|group| group.own.number() == number);
        if group.is_some_and(|group| file.is_none_or(|file| group.needs(file))) {
            self.damaged(slot, file);
        }
    }

    /// The replica has lost something that it may have promised. A segment is made again where that can be; else the
    /// replica is kept until it has leave to go.
    pub(super) fn damaged(&mut self, slot: usize, file: Option<&Path>) {
        let mut has_promised = true;
        self.with(slot, |group, outbox| {
            match file {
                Some(file) => group.mend(file, outbox),
                None => group.doubt(),
            }
            has_promised = !group.membership.is_empty();
        });
        if !has_promised {
            self.give_up_damaged(slot);
        }
    }

    /// A replica of another hub asks for leave to give itself up.
    pub(super) fn give_leave(&mut self, slot: usize, plea: &Plea, done: LeaveDone) {
        let group = self.slots.get_mut(slot).and_then(Slot::group_mut);
        done(group.map_or(Answer::Stay, |group| group.give_leave(plea)));
    }

    /// The one here has asked, and has it or not.
    pub(super) fn plea_answered(&mut self, slot: usize, plea: &Plea, answer: Answer) {
        let Some(group) = self.slots.get_mut(slot).and_then(Slot::group_mut) else { return };
        group.hear_of_leader(plea, answer);
        if answer == Answer::Go && group.may_go(plea) {
            self.give_up_damaged(slot);
        }
    }

    /// A snapshot is in place. What nobody had whole is as damaged here as where it came from.
    pub(super) fn snapshot_installed(&mut self, slot: usize, mut arrived: Arrived) {
        let damaged = std::mem::take(&mut arrived.damaged);
        self.with(slot, |group, outbox| {
            group.snapshot_installed(arrived, outbox);
            for file in damaged {
                if group.needs(&file) {
                    observe::snapshots::damage();
                    group.take_damage(&file);
                }
            }
        });
    }

    fn give_up_damaged(&mut self, slot: usize) {
        let Some(group) = self.slots[slot].group() else { return };
        tracing::error!(group = %group.id, own = %group.own, "the replica is damaged: it is given up and fetched again");
        metrics::counter!("headwater_replicas_given_up_total").increment(1);
        self.end(slot, None);
    }
}
