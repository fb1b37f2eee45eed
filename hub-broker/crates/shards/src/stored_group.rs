//! One group's checkpoints: which states are still to be written, and which files only older manifests name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use checkpoint::{Checkpoint, Key, Loaded, OpenError, State, Store, WriteError, is_no_room};
use partition_log::ObsoleteFiles;

use crate::arrived::Arrived;
use crate::aside::Aside;
use crate::capture::{Captured, States};
use crate::data_dir::sync_directory;
use crate::group_state::{GroupState, StateOrigin};
use crate::keys::{metadata_key, partition_key};
use crate::known_damage::{self, KnownDamage};
use crate::order::Install;

/// Why a checkpoint could not be written. The earlier ones stand.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl StoreError {
    /// The disk is full, or too many files are open: it can succeed later.
    pub(crate) fn is_no_space(&self) -> bool {
        matches!(self, Self::Write(WriteError::NoSpace { .. }))
    }
}

pub(crate) struct StoredGroup {
    dir: PathBuf,
    /// `None` after the replica was destroyed, until the next one has something to store.
    store: Option<Store>,
    /// Captured and not in a manifest yet, because that could not be written.
    unwritten: BTreeMap<Key, Bytes>,
    /// Applied indexes of the last two manifests, the older first.
    manifests: [Option<u64>; 2],
    /// Whose state the last manifest holds, once it is known: captures of an earlier state come too late.
    origin: Option<StateOrigin>,
    /// Named by no state that is captured from now on.
    retired: Retired,
    /// Named by the older manifest at most.
    leaving: Retired,
    /// Named by none, and perhaps still read by replicas that copy a snapshot.
    gone: Retired,
    pins: Arc<()>,
    /// What is known to be damaged, where that was told since the start; and whether it is written down.
    damage: KnownDamage,
    is_damage_written: bool,
    /// Of a simulation: nothing can be written.
    is_starved: bool,
}

/// While it lives, no file of the group's state is removed.
pub(crate) struct Pin {
    _pin: Arc<()>,
}

/// Files and directories on their way out.
#[derive(Default)]
struct Retired {
    files: Vec<ObsoleteFiles>,
    directories: Vec<PathBuf>,
}

impl StoredGroup {
    /// Opens the checkpoints in `dir` and loads the newest that is whole.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Option<Loaded>), OpenError> {
        let (mut store, loaded, _) = Store::open(dir)?;
        let state = loaded.as_ref().and_then(|loaded| GroupState::decode(&loaded.membership));
        if state.is_some_and(|state| state.is_installed) {
            // A crash may have come between the snapshot's manifest and the end of those before it.
            let failed = |error| OpenError::Io { operation: "go on with", file: dir.to_owned(), error };
            store.keep_newest_only().map_err(|error| failed(io::Error::other(error)))?;
        }
        Ok((Self::new(store, loaded.as_ref().map(|loaded| loaded.position.applied)), loaded))
    }

    /// What lies in `dir` is of a replica that is to be destroyed.
    pub(crate) fn of_damaged(dir: &Path) -> Self {
        Self::at(dir.to_owned(), None, None)
    }

    fn new(store: Store, loaded: Option<u64>) -> Self {
        let dir = store.dir().to_owned();
        Self::at(dir, Some(store), loaded)
    }

    fn at(dir: PathBuf, store: Option<Store>, loaded: Option<u64>) -> Self {
        Self {
            dir,
            store,
            unwritten: BTreeMap::new(),
            manifests: [None, loaded],
            origin: None,
            retired: Retired::default(),
            leaving: Retired::default(),
            gone: Retired::default(),
            pins: Arc::new(()),
            damage: KnownDamage::default(),
            is_damage_written: true,
            is_starved: false,
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// No checkpoint is whole.
    pub(crate) fn is_damaged(&self) -> bool {
        self.store.is_none()
    }

    /// Another checkpoint without any news would free nothing more, neither in the WAL nor of old files.
    pub(crate) fn is_settled(&self) -> bool {
        let same = self.manifests[0] == self.manifests[1];
        same && self.unwritten.is_empty() && self.retired.is_empty() && self.leaving.is_empty()
    }

    pub(crate) fn pin(&self) -> Pin {
        Pin { _pin: self.pins.clone() }
    }

    /// Removes what no manifest names and nobody reads.
    pub(crate) fn clear_away(&mut self) {
        if Arc::strong_count(&self.pins) == 1 {
            std::mem::take(&mut self.gone).remove();
        }
    }

    /// Makes the capture durable. Returns up to where the WAL may let go, if a manifest was written.
    pub(crate) fn store(&mut self, captured: Captured) -> Result<Option<u64>, StoreError> {
        let origin = captured.group.origin;
        if self.origin.is_some_and(|known| known != origin) {
            // Taken before a snapshot was installed: what it is about has been replaced.
            return Ok(None);
        }
        self.retired.files.extend(captured.obsolete);
        self.retired.directories.extend(captured.closed);
        let Some(states) = captured.states else { return Ok(None) };
        let states = self.take_in(states);
        let position = captured.position;
        let membership = captured.group.encode();
        let written = self.opened()?.write(&Checkpoint { position, membership, states })?;
        self.origin = Some(origin);
        self.unwritten.clear();
        self.manifests = [self.manifests[1], Some(position.applied)];
        // What the last manifest but one named is named by none that is kept.
        let gone = std::mem::replace(&mut self.leaving, std::mem::take(&mut self.retired));
        self.gone.extend(gone);
        self.clear_away();
        Ok(Some(written.release_through))
    }

    /// Makes a snapshot that has arrived the group's only checkpoint. Nothing has happened after an error.
    pub(crate) fn install(&mut self, install: &Install) -> Result<(), StoreError> {
        let arrived = &install.arrived;
        let origin = StateOrigin {
            replica_number: install.replica_number,
            generation: arrived.generation,
            void_entries_through: install.void_entries_through,
        };
        let (membership, last_stamp_ms) = (install.membership.clone(), arrived.last_stamp_ms);
        let group = GroupState { origin, membership, last_stamp_ms, is_installed: true };
        let changed = |(key, bytes): (&Key, &Bytes)| (key.clone(), State::Changed(bytes.clone()));
        let (position, states) = (arrived.position, arrived.states.iter().map(changed).collect());
        self.opened()?;
        self.take_damage(install)?;
        let aside = self.keep_aside(arrived)?;
        self.opened()?.write_alone(&Checkpoint { position, membership: group.encode(), states })?;
        self.origin = Some(origin);
        self.unwritten.clear();
        self.manifests = [None, Some(position.applied)];
        if let Some(aside) = aside
            && let Err(error) = aside.remove()
        {
            tracing::warn!(%error, "what an earlier replica has left could not be removed");
        }
        Ok(())
    }

    /// What is known to be damaged of the state of this generation, for the next start; later, if there is no room now.
    pub(crate) fn note_damage(&mut self, generation: u32, damage: KnownDamage) {
        let is_of = |known: StateOrigin| {
            (known.replica_number, known.generation) == (damage.replica_number, generation)
        };
        // Of a state that was replaced meanwhile it says nothing.
        if self.origin.is_none_or(is_of) {
            (self.damage, self.is_damage_written) = (damage, false);
            self.write_damage();
        }
    }

    /// Writes down what could not be written before.
    pub(crate) fn write_damage(&mut self) {
        if self.is_damage_written || self.is_starved {
            return;
        }
        match self.damage.write(&self.dir) {
            Ok(()) => self.is_damage_written = true,
            Err(error) => {
                tracing::warn!(dir = %self.dir.display(), %error, "what is damaged could not be written down beside the checkpoints; it is tried again");
            }
        }
    }

    /// What came damaged is known to every start that finds the snapshot.
    fn take_damage(&mut self, install: &Install) -> Result<(), WriteError> {
        let mut damage = KnownDamage { replica_number: install.replica_number, ..KnownDamage::default() };
        if self.damage.replica_number == install.replica_number {
            damage = self.damage.clone();
        }
        damage.files.extend(install.arrived.damaged.iter().cloned());
        if damage != self.damage {
            damage
                .write(&self.dir)
                .map_err(|error| self.failed("write down what is damaged beside", error))?;
            (self.damage, self.is_damage_written) = (damage, true);
        }
        Ok(())
    }

    fn failed(&self, operation: &'static str, error: io::Error) -> WriteError {
        match is_no_room(&error) {
            true => WriteError::NoSpace { dir: self.dir.clone(), error },
            false => WriteError::Io { operation, file: self.dir.clone(), error },
        }
    }

    /// What an earlier replica has left. Where the snapshot has come damaged that may be whole there: then it is kept, from
    /// before the snapshot counts. Otherwise it may go.
    fn keep_aside(&self, arrived: &Arrived) -> Result<Option<Aside>, WriteError> {
        let aside = Aside::of_checkpoint(&self.dir).filter(Aside::is_prepared);
        let Some(aside) = aside else { return Ok(None) };
        if arrived.damaged.is_empty() {
            return Ok(Some(aside));
        }
        let kept = aside.keep().map_err(|error| self.failed("keep what was set aside beside", error))?;
        tracing::error!(
            directory = %kept.display(), damaged = arrived.damaged.len(),
            "segments came damaged: what an earlier replica has left is kept until the group is whole everywhere"
        );
        Ok(None)
    }

    /// What the last manifest holds, read back.
    pub(crate) fn newest(&self) -> Result<Option<Loaded>, WriteError> {
        self.store.as_ref().map_or(Ok(None), Store::newest)
    }

    /// The replica is no more: removes what it had on the disk, or sets it aside where it was given up without leave.
    pub(crate) fn destroy(&mut self, directories: Vec<PathBuf>) -> io::Result<()> {
        self.store = None;
        self.unwritten.clear();
        self.manifests = [None, None];
        self.origin = None;
        (self.damage, self.is_damage_written) = (KnownDamage::default(), true);
        known_damage::remove(&self.dir)?;
        let aside = Aside::of_checkpoint(&self.dir).filter(Aside::is_prepared);
        match aside {
            Some(aside) => {
                directories.iter().try_for_each(|directory| aside.take(directory))?;
                aside.take_checkpoint(&self.dir)?;
            }
            None => remove_directory(&self.dir)?,
        }
        let retired = [&mut self.retired, &mut self.leaving, &mut self.gone].map(std::mem::take);
        let older = retired.into_iter().flat_map(|retired| retired.directories);
        for directory in directories.into_iter().chain(older) {
            remove_generations(&directory)?;
        }
        Ok(())
    }

    /// For simulations: the disk is full, or is so no more.
    pub(crate) fn starve(&mut self, starve: bool) {
        self.is_starved = starve;
    }

    /// To be written to.
    fn opened(&mut self) -> Result<&mut Store, StoreError> {
        if self.is_starved {
            let error = io::ErrorKind::StorageFull.into();
            return Err(WriteError::NoSpace { dir: self.dir.clone(), error }.into());
        }
        if self.store.is_none() {
            let (store, _, _) = Store::open(&self.dir)?;
            self.store = Some(store);
        }
        Ok(self.store.as_mut().expect("opened above"))
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
    fn extend(&mut self, other: Self) {
        self.files.extend(other.files);
        self.directories.extend(other.directories);
    }

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

/// Removes a partition's directory with those of all its generations.
fn remove_generations(directory: &Path) -> io::Result<()> {
    let (Some(log), Some(stem)) = (directory.parent(), directory.file_stem()) else { return Ok(()) };
    for entry in fs::read_dir(log)? {
        let path = entry?.path();
        if path.file_stem() == Some(stem) {
            remove_directory(&path)?;
        }
    }
    Ok(())
}

fn remove_directory(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => directory.parent().map_or(Ok(()), sync_directory),
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_an_install_finds_no_room_for_can_come_later() {
        let stored = StoredGroup::of_damaged(Path::new("checkpoint/3"));
        let is_no_space = |error: Errno| StoreError::from(stored.failed("write", error.into())).is_no_space();
        for error in [Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::NFILE] {
            assert!(is_no_space(error), "{error}");
        }
        assert!(!is_no_space(Errno::IO));
    }
}
