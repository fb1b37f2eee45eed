//! A replica whose bytes were changed so that no checksum tells is found by comparison with the others, and only that
//! one is given up.

use shards::simulation::{Hub, ReplicaId};

use super::Violation;
use super::agreement::Agreement;
use crate::plan;

/// What was done to one replica. Nothing else goes wrong until it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alteration {
    pub group: u32,
    pub replica: ReplicaId,
    /// The entry that is another.
    pub index: u64,
    /// A snapshot that takes the place of the replica's state mends it.
    pub generation: Option<u32>,
    pub since_ms: u64,
}

#[derive(Default)]
pub(super) struct Unnoticed(Option<Alteration>);

impl Unnoticed {
    pub fn altered(&mut self, alteration: Alteration) {
        self.0 = Some(alteration);
    }

    pub fn now(&self) -> Option<Alteration> {
        self.0
    }

    pub fn look(
        &mut self,
        now_ms: u64,
        hub: Option<&mut Hub>,
        agreement: &Agreement,
    ) -> Result<(), Violation> {
        let Some(it) = self.0 else { return Ok(()) };
        if let Some(hub) = hub {
            let own = hub.status().into_iter().find(|status| status.group == it.group);
            let is_gone = own.and_then(|status| status.own) != Some(it.replica);
            let is_replaced = hub.generation(it.group) != it.generation;
            // What is altered may have had no effect, as a batch that was there already.
            let is_past = hub.applied(it.group).is_some_and(|applied| applied >= it.index);
            let agrees = is_past && agreement.agrees(it.group, hub) == Some(true);
            if is_gone || is_replaced || agrees {
                self.0 = None;
                return Ok(());
            }
        }
        match now_ms > it.since_ms + plan::FOUND_MS {
            true => Err(Violation::Unnoticed(format!("{it:?}"))),
            false => Ok(()),
        }
    }
}
