//! A replica here is found damaged: it is mended, let go by its group's leader, or kept as it is.

use std::path::Path;

use super::{Core, Slot};
use crate::leave::{LeaveDone, Plea};

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
            if !file.is_some_and(|file| group.mend(file, outbox)) {
                group.keep_damage(file);
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
        done(group.is_some_and(|group| group.give_leave(plea)));
    }

    /// The one here has it.
    pub(super) fn leave_given(&mut self, slot: usize, plea: &Plea) {
        if self.slots.get(slot).and_then(Slot::group).is_some_and(|group| group.may_go(plea)) {
            self.give_up_damaged(slot);
        }
    }

    fn give_up_damaged(&mut self, slot: usize) {
        let Some(group) = self.slots[slot].group() else { return };
        tracing::error!(group = %group.id, own = %group.own, "the replica is damaged: it is given up and fetched again");
        metrics::counter!("headwater_replicas_given_up_total").increment(1);
        self.end(slot, None);
    }
}
