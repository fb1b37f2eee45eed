//! What the API reads, from the moment on at which the hub knows it.

use std::sync::{Arc, OnceLock};

use metadata::Metadata;

/// Handed to the server empty, and filled by whoever wires the hub.
#[derive(Clone, Default)]
pub struct Known {
    metadata: Arc<OnceLock<Metadata>>,
}

impl Known {
    /// The hub is part of a cluster. A second call changes nothing.
    pub fn set(&self, metadata: Metadata) {
        // A hub joins its cluster once in a process's life.
        let _ = self.metadata.set(metadata);
    }

    pub(crate) fn metadata(&self) -> Option<&Metadata> {
        self.metadata.get()
    }
}
