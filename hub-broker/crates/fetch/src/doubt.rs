//! What becomes of a batch that a hub cannot read.
//!
//! What is damaged on one hub the others may have whole, so all of them are asked in turn. It is lost only when every hub
//! that has the partition says that it is damaged there and stays so. A hub that says nothing, or something else, may have
//! it: it is waited for.

use std::collections::BTreeMap;
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
    /// Whoever might have the batch when that was asked last.
    pub keepers: Vec<NodeId>,
}

impl Doubt {
    pub(crate) fn at(at: Offset) -> Self {
        Self { at, turns: 0, past: BTreeMap::new(), keepers: Vec::new() }
    }

    /// Whose turn it is among `hubs`.
    pub(crate) fn whom(&self, hubs: &[NodeId]) -> Option<NodeId> {
        self.turns.checked_rem(hubs.len()).map(|at| hubs[at])
    }

    /// A hub was asked. It has lost the batch, and goes on at the offset `past`; or it has not said so.
    pub(crate) fn hear(&mut self, node: NodeId, past: Option<Offset>) {
        self.turns = self.turns.wrapping_add(1);
        match past.filter(|past| *past > self.at) {
            Some(past) => self.past.insert(node, past),
            None => self.past.remove(&node),
        };
    }

    /// Whether the turn has come round, and how often.
    pub(crate) fn rounds(&self, hubs: &[NodeId]) -> Option<usize> {
        let is_round = !hubs.is_empty() && self.turns.is_multiple_of(hubs.len());
        is_round.then(|| self.turns / hubs.len())
    }

    /// Where to go on, if all of `hubs` have lost the batch: where the first of them does.
    pub(crate) fn verdict(&self, hubs: &[NodeId]) -> Option<Offset> {
        let past: Option<Vec<Offset>> = hubs.iter().map(|hub| self.past.get(hub).copied()).collect();
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
