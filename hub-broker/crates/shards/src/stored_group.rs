//! One group's checkpoints: which states are still to be written, and which files only older manifests name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use checkpoint::{Checkpoint, Key, State, Store, WriteError};
use partition_log::ObsoleteFiles;

use crate::capture::{Captured, States, metadata_key, partition_key};

pub(crate) struct StoredGroup {
    store: Store,
    /// Captured and not in a manifest yet, because that could not be written.
    unwritten: BTreeMap<Key, Bytes>,
    /// Applied indexes of the last two manifests, the older first.
    manifests: [Option<u64>; 2],
    /// Named by no state that is captured from now on.
    retired: Retired,
    /// Named by the older manifest at most.
    leaving: Retired,
}

/// Files and directories on their way out.
#[derive(Default)]
struct Retired {
    files: Vec<ObsoleteFiles>,
    directories: Vec<PathBuf>,
}

impl StoredGroup {
    /// `loaded`: the applied index of the checkpoint that was loaded.
    pub(crate) fn new(store: Store, loaded: Option<u64>) -> Self {
        Self {
            store,
            unwritten: BTreeMap::new(),
            manifests: [None, loaded],
            retired: Retired::default(),
            leaving: Retired::default(),
        }
    }

    /// Another checkpoint without any news would free nothing more, neither in the WAL nor of old files.
    pub(crate) fn is_settled(&self) -> bool {
        let same = self.manifests[0] == self.manifests[1];
        same && self.unwritten.is_empty() && self.retired.is_empty() && self.leaving.is_empty()
    }

    /// Makes the capture durable. Returns up to where the WAL may let go, if a manifest was written.
    pub(crate) fn store(&mut self, captured: Captured) -> Result<Option<u64>, WriteError> {
        self.retired.files.extend(captured.obsolete);
        self.retired.directories.extend(captured.closed);
        let Some(states) = captured.states else { return Ok(None) };
        let states = self.take_in(states);
        let position = captured.position;
        let membership = captured.group.encode();
        let written = self.store.write(&Checkpoint { position, membership, states })?;
        self.unwritten.clear();
        self.manifests = [self.manifests[1], Some(position.applied)];
        // What the last manifest but one named is named by none that is kept.
        std::mem::replace(&mut self.leaving, std::mem::take(&mut self.retired)).remove();
        Ok(Some(written.release_through))
    }

    /// Every key with its state, changed or not.
    fn take_in(&mut self, states: States) -> BTreeMap<Key, State> {
        let (keys, changed): (Vec<_>, Vec<_>) = match states {
            States::Metadata(snapshot) => (vec![metadata_key()], vec![(metadata_key(), snapshot)]),
            States::Partitions(states) => {
                let keys = states.iter().map(|(id, _)| partition_key(*id)).collect();
                let encode = |(id, state): (_, Option<partition_log::PartitionState>)| {
                    Some((partition_key(id), Bytes::from(state?.encode())))
                };
                (keys, states.into_iter().filter_map(encode).collect())
            }
        };
        self.unwritten.extend(changed);
        let state = |key: &Key| self.unwritten.get(key).cloned().map_or(State::Unchanged, State::Changed);
        keys.into_iter().map(|key| (key.clone(), state(&key))).collect()
    }
}

impl Retired {
    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.directories.is_empty()
    }

    /// What cannot be removed only takes room until the next start.
    fn remove(self) {
        for files in self.files {
            if let Err(error) = files.delete() {
                tracing::warn!(%error, "files that are needed no more could not be removed");
            }
        }
        for directory in self.directories {
            match fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(directory = %directory.display(), %error, "a closed partition could not be removed");
                }
                _ => {}
            }
        }
    }
}
