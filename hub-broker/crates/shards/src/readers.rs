//! The readers of all open partitions of this hub.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use partition_log::PartitionReader;
use schemas::PartitionId;

#[derive(Clone, Default)]
pub(crate) struct Readers(Arc<RwLock<HashMap<PartitionId, PartitionReader>>>);

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

    /// The next partition by id; the first without one.
    pub(crate) fn after(&self, id: Option<PartitionId>) -> Option<PartitionId> {
        let readers = self.0.read();
        readers.keys().filter(|key| id.is_none_or(|id| **key > id)).min().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.read().len()
    }
}
