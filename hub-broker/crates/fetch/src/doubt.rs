//! What becomes of a batch that a hub cannot read.
//!
//! What is damaged on one hub the others may have whole, so all of them are asked in turn. It is lost only when every hub
//! that has the partition says that it is damaged there and stays so. A hub that says nothing, or something else, may have
//! it: it is waited for. So is one that is still to get the partition, unless it says that it has nothing of it: what a
//! replica had there that was given up is set aside, and the next one takes from that what nobody else has whole.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use partition_log::{PartitionReader, ReadError};
use schemas::{NodeId, Offset};

use crate::Inner;
use crate::error::FetchError;
use crate::limits::PASSING_MAX;
use crate::locate::as_told;

/// What the hubs have said of the batch at an offset. Knows no network.
#[derive(Debug)]
pub(crate) struct Doubt {
    pub at: Offset,
    turns: usize,
    /// Where those go on that have lost it, and have not said anything else since.
    past: BTreeMap<NodeId, Offset>,
    /// Those that have nothing of the partition, and have not said anything else since.
    without: BTreeSet<NodeId>,
}

/// What a hub says of the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// It has lost it, and goes on at the offset `past`.
    Lost { past: Offset },
    /// It has nothing of the partition, nor set aside.
    Nothing,
    /// That is not known.
    Unknown,
}

impl Said {
    pub(crate) fn lost(past: Option<Offset>) -> Self {
        past.map_or(Self::Unknown, |past| Self::Lost { past })
    }
}

/// Whoever may have the batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Keepers {
    /// In the order in which they are asked.
    pub hubs: Vec<NodeId>,
    /// Those of them that are still to get the partition.
    pub joining: Vec<NodeId>,
}

impl Doubt {
    pub(crate) fn at(at: Offset) -> Self {
        Self { at, turns: 0, past: BTreeMap::new(), without: BTreeSet::new() }
    }

    /// Whose turn it is among `hubs`.
    pub(crate) fn whom(&self, hubs: &[NodeId]) -> Option<NodeId> {
        self.turns.checked_rem(hubs.len()).map(|at| hubs[at])
    }

    /// A hub was asked.
    pub(crate) fn hear(&mut self, node: NodeId, said: Said) {
        self.turns = self.turns.wrapping_add(1);
        self.past.remove(&node);
        self.without.remove(&node);
        match said {
            Said::Lost { past } if past > self.at => drop(self.past.insert(node, past)),
            Said::Nothing => drop(self.without.insert(node)),
            Said::Lost { .. } | Said::Unknown => {}
        }
    }

    /// Whether the turn has come round, and how often.
    pub(crate) fn rounds(&self, hubs: &[NodeId]) -> Option<usize> {
        let is_round = !hubs.is_empty() && self.turns.is_multiple_of(hubs.len());
        is_round.then(|| self.turns / hubs.len())
    }

    /// Where to go on, if all that may have the batch have lost it: where the first of them does.
    pub(crate) fn verdict(&self, keepers: &Keepers) -> Option<Offset> {
        let has_nothing = |hub: &&NodeId| keepers.joining.contains(hub) && self.without.contains(hub);
        let hubs = keepers.hubs.iter().filter(|hub| !has_nothing(hub));
        let past: Option<Vec<Offset>> = hubs.map(|hub| self.past.get(hub).copied()).collect();
        past?.into_iter().min()
    }
}

impl Inner {
    /// Where this hub goes on past what it could not read at `at`; `None` where it may be able to, or nobody can tell.
    pub(crate) async fn past_loss(
        &self,
        reader: &PartitionReader,
        at: Offset,
        error: FetchError,
    ) -> Option<Offset> {
        let told = as_told(&self.metadata, reader.id(), error);
        if !matches!(told, FetchError::Damaged { .. }) {
            return None;
        }
        let reader = reader.clone();
        let past = self.catch_up.run(move || past_damage(&reader, at)).await;
        past.ok()?.inspect_err(|error| tracing::debug!(%error, "nothing is known about a damaged batch")).ok()
    }
}

/// The first offset from which the partition can be read again, as far as that is found in the time; `from` if nothing
/// is damaged there.
fn past_damage(reader: &PartitionReader, from: Offset) -> Result<Offset, ReadError> {
    let (begun, mut at) = (Instant::now(), from);
    loop {
        let step = reader.scrub(at, 0)?;
        match step.next {
            _ if step.damage.is_none() => return Ok(at),
            Some(next) if next > at => at = next,
            _ => return Ok(reader.high_watermark()),
        }
        if begun.elapsed() >= PASSING_MAX {
            return Ok(at);
        }
    }
}

#[cfg(test)]
mod tests;
