//! A hub gives up a replica when that was damaged or the group has no place for it, and for nothing else: crashes and
//! lost writes are no reason.

use std::collections::BTreeSet;

use shards::simulation::ReplicaId;

use super::Violation;

#[derive(Default)]
pub(super) struct Losses {
    damaged: BTreeSet<(u32, ReplicaId)>,
    /// Of hubs whose write-ahead logs went bad, until they have started again: nothing else has happened to these.
    doubtful: BTreeSet<(u32, ReplicaId)>,
}

impl Losses {
    pub fn damaged(&mut self, group: u32, replica: ReplicaId) {
        self.damaged.insert((group, replica));
    }

    pub fn doubtful(&mut self, group: u32, replica: ReplicaId) {
        self.doubtful.insert((group, replica));
    }

    /// It was not given up, and is not to be.
    pub fn sound(&mut self, group: u32, replica: ReplicaId) {
        self.doubtful.remove(&(group, replica));
    }

    pub fn is_damaged(&self, group: u32, replica: ReplicaId) -> bool {
        self.damaged.contains(&(group, replica))
    }

    /// Whether a replica of the group was damaged.
    pub fn has_damage(&self, group: u32) -> bool {
        self.damaged.range((group, ReplicaId(0))..).next().is_some_and(|(damaged, _)| *damaged == group)
    }

    /// The replica was given up although its group has a place for it.
    pub fn look(&self, group: u32, replica: ReplicaId) -> Result<(), Violation> {
        match self.is_damaged(group, replica) || self.doubtful.contains(&(group, replica)) {
            true => Ok(()),
            false => Err(Violation::NeedlessLoss(format!("group {group}, replica {replica}"))),
        }
    }
}
