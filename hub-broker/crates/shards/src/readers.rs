//! The readers of all open partitions of this hub.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::RwLock;
use partition_log::PartitionReader;
use schemas::PartitionId;

#[derive(Clone, Default)]
pub(crate) struct Readers(Arc<RwLock<BTreeMap<PartitionId, PartitionReader>>>);

impl Readers {
    pub(crate) fn get(&self, id: PartitionId) -> Option<PartitionReader> {
        self.0.read().get(&id).cloned()
    }

    pub(crate) fn insert(&self, reader: PartitionReader) {
        self.0.write().insert(reader.id(), reader);
    }

    pub(crate) fn remove(&self, id: PartitionId) {
        self.0.write().remove(&id);
    }

    /// The next partition by id.
    pub(crate) fn after(&self, id: PartitionId) -> Option<PartitionId> {
        let readers = self.0.read();
        readers.range((Bound::Excluded(id), Bound::Unbounded)).next().map(|(id, _)| *id)
    }

    /// Any partition, by a number that is drawn; the first with 0.
    pub(crate) fn any(&self, drawn: u64) -> Option<PartitionId> {
        let readers = self.0.read();
        let at = drawn.checked_rem(readers.len() as u64)?;
        readers.keys().nth(usize::try_from(at).ok()?).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.read().len()
    }
}
