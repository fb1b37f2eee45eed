//! A hub gives up a replica when that was damaged or the group has no place for it, and for nothing else: crashes and
//! lost writes are no reason.

use std::collections::BTreeSet;

use shards::simulation::ReplicaId;

use super::Violation;

#[derive(Default)]
pub(super) struct Losses(BTreeSet<(u32, ReplicaId)>);

impl Losses {
    pub fn damaged(&mut self, group: u32, replica: ReplicaId) {
        self.0.insert((group, replica));
    }

    /// Whether a replica of the group was damaged.
    pub fn has_damage(&self, group: u32) -> bool {
        self.0.range((group, ReplicaId(0))..).next().is_some_and(|(damaged, _)| *damaged == group)
    }

    /// The replica was given up although its group has a place for it.
    pub fn look(&self, group: u32, replica: ReplicaId) -> Result<(), Violation> {
        match self.0.contains(&(group, replica)) {
            true => Ok(()),
            false => Err(Violation::NeedlessLoss(format!("group {group}, replica {replica}"))),
        }
    }
}
