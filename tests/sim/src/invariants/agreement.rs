//! Logs, offsets, and what is remembered of producers and streams, are the same on all replicas after the same entry.

use std::collections::BTreeMap;

use schemas::NodeId;
use shards::simulation::{Fingerprint, Hub};

use super::Violation;
use crate::plan;

/// Applied entries whose states are remembered, per group.
const REMEMBERED: usize = 4000;

#[derive(Default)]
pub(super) struct Agreement {
    /// The state's checksums after an entry, and who had them first.
    states: BTreeMap<(u32, u64), (Fingerprint, NodeId)>,
    /// What was looked at last, so that a state is summed up once.
    last: BTreeMap<(NodeId, u32), u64>,
}

impl Agreement {
    /// A damaged replica that is kept begins a new segment behind the damage, and others may have the segments from it.
    pub fn look(
        &mut self,
        node: NodeId,
        group: u32,
        hub: &mut Hub,
        has_damage: bool,
    ) -> Result<(), Violation> {
        let Some(applied) = hub.applied(group) else { return Ok(()) };
        if self.last.insert((node, group), applied) == Some(applied) {
            return Ok(());
        }
        let Some(sum) = fingerprint(group, hub) else { return Ok(()) };
        let (first, by) = *self.states.entry((group, applied)).or_insert((sum, node));
        if first.contents != sum.contents || first.segments != sum.segments && !has_damage {
            return Err(Violation::Disagreement(format!(
                "group {group} after entry {applied}: hub {by} has {first:x?}, hub {node} {sum:x?}"
            )));
        }
        while self.states.len() > REMEMBERED {
            self.states.pop_first();
        }
        Ok(())
    }

    /// Whether the replica has what others had after the same entry; `None` where that is not known.
    pub fn agrees(&self, group: u32, hub: &Hub) -> Option<bool> {
        let (sum, _) = self.states.get(&(group, hub.applied(group)?))?;
        Some(fingerprint(group, hub)?.contents == sum.contents)
    }
}

fn fingerprint(group: u32, hub: &Hub) -> Option<Fingerprint> {
    hub.fingerprint(group, |partition| partition == plan::partition(plan::COMPACTED_PARTITION))
}
