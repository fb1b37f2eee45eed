//! A replica here is found damaged: it is mended, given up, or kept as it is.

use std::path::Path;

use super::Core;
use crate::mend::Mended;
use crate::observe;

impl Core {
    /// The replica has lost something that it may have promised. A segment is made again where that can be; else the
    /// replica is given up where the others surely have everything.
    pub(super) fn damaged(&mut self, slot: usize, file: Option<&Path>) {
        let mut is_mended = false;
        if let Some(file) = file {
            self.with(slot, |group, outbox| is_mended = group.mend(file, outbox));
        }
        let Some(group) = self.slots[slot].group().filter(|_| !is_mended) else { return };
        match group.membership.can_spare(group.own) {
            true => self.give_up_damaged(slot),
            false => self.keep_damaged(slot, file),
        }
    }

    /// The replica was recovered with damage: it was not given up, so that its group may count on it.
    pub(super) fn found_damaged(&mut self, slot: usize, file: &Path) {
        let mut is_mended = false;
        self.with(slot, |group, outbox| is_mended = group.mend(file, outbox));
        if !is_mended {
            self.keep_damaged(slot, Some(file));
        }
    }

    /// What was asked for to mend the file has come, or has not.
    pub(super) fn mended(&mut self, slot: usize, file: &Path, outcome: Mended) {
        let mut is_hopeless = false;
        self.with(slot, |group, _| is_hopeless = group.mended(file, outcome));
        if is_hopeless {
            self.give_up_damaged(slot);
        }
    }

    fn give_up_damaged(&mut self, slot: usize) {
        let Some(group) = self.slots[slot].group() else { return };
        tracing::error!(group = %group.id, own = %group.own, "the replica is damaged: it is given up and fetched again");
        metrics::counter!("headwater_replicas_given_up_total").increment(1);
        self.end(slot, None);
    }

    /// What is whole may be all that is left of what was acknowledged. Whoever else can serve all of it leads.
    fn keep_damaged(&mut self, slot: usize, file: Option<&Path>) {
        self.with(slot, |group, _| {
            if group.keep_damage(file) {
                tracing::error!(
                    group = %group.id, file = file.map(|file| tracing::field::display(file.display())),
                    "the replica is damaged and its group cannot do without it: it is kept, and what is damaged is not served"
                );
                observe::kept_damaged();
            }
        });
    }
}
