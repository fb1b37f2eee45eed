//! The store of one group's checkpoints.

use crate::{
    checkpoint::{Checkpoint, Key, Loaded, State, Written},
    directory::{Directory, Named},
    error::{Damage, OpenError, Unusable, WriteError},
    limits::{KEY_BYTES_MAX, MEMBERSHIP_BYTES_MAX, STATE_BYTES_MAX, STATE_FILES_MAX, STATES_MAX},
    load::{self, StateReader},
    manifest::{Manifest, Place},
    states::Layout,
};
use bytes::Bytes;
use rustix::io::Errno;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    path::Path,
};

type Newest = (Option<Loaded>, Vec<Damage>, Option<Bytes>);

/// One group's checkpoints in one directory. One owner writes.
pub struct Store {
    directory: Directory,
    /// The checkpoint that the next one builds upon.
    last: Option<Manifest>,
    /// The next sequence number; none is used twice, so that no file is ever written over.
    next_sequence: u64,
    /// A write has failed half-way: what the directory holds is known only after opening it again.
    poisoned: bool,
}

impl Store {
    /// Opens or makes the store in `dir` and loads the newest checkpoint that is whole. Damage of a newer one is
    /// reported beside it.
    pub fn open(dir: &Path) -> Result<(Store, Option<Loaded>, Vec<Damage>), OpenError> {
        Self::open_with(dir, true)
    }

    /// Never syncs. Breaks the promise of a checkpoint: only for the control runs of power-cut tests.
    pub fn open_unsynced(dir: &Path) -> Result<(Store, Option<Loaded>, Vec<Damage>), OpenError> {
        Self::open_with(dir, false)
    }

    fn open_with(dir: &Path, sync: bool) -> Result<(Store, Option<Loaded>, Vec<Damage>), OpenError> {
        let failed = |operation, error| OpenError::Io { operation, file: dir.to_owned(), error };
        let directory = Directory::open(dir, sync).map_err(|error| failed("open", error))?;
        let files = directory.list().map_err(|error| failed("list", error))?;
        let newest = |named: &Named| match *named {
            Named::Manifest(sequence) | Named::States(sequence) => sequence,
            Named::Unfinished => 0,
        };
        let next_sequence = files.iter().map(newest).max().unwrap_or(0) + 1;
        let mut store = Store { directory, last: None, next_sequence, poisoned: false };
        let (loaded, damage, membership) = store.load(&files)?;
        for damage in &damage {
            tracing::error!(%damage, "a checkpoint is damaged");
        }
        if loaded.is_none() && !damage.is_empty() {
            return Err(OpenError::Damaged { dir: dir.to_owned(), damage, membership });
        }
        // A rename that was not synced yet is about to be relied upon.
        store.directory.sync().map_err(|error| failed("sync", error))?;
        Ok((store, loaded, damage))
    }

    /// The newest checkpoint that is whole, what is damaged of newer ones, and the membership of the newest manifest.
    fn load(&mut self, files: &[Named]) -> Result<Newest, OpenError> {
        let (mut damage, mut membership) = (Vec::new(), None);
        for named in files.iter().rev() {
            let Named::Manifest(sequence) = *named else { continue };
            let manifest = load::manifest(&self.directory, sequence);
            let loaded = manifest.and_then(|manifest| {
                membership.get_or_insert_with(|| manifest.membership.clone());
                let loaded = load::checkpoint(&self.directory, &manifest)?;
                Ok((manifest, loaded))
            });
            match loaded {
                Ok((manifest, loaded)) => {
                    self.last = Some(manifest);
                    return Ok((Some(loaded), damage, membership));
                }
                Err(Unusable::Damaged(one)) => damage.push(one),
                Err(Unusable::Version { file, version }) => return Err(OpenError::Version { file, version }),
                Err(Unusable::Io { operation, file, error }) => {
                    return Err(OpenError::Io { operation, file, error });
                }
            }
        }
        Ok((None, damage, membership))
    }

    /// Where the checkpoints lie.
    pub fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// Makes `checkpoint` durable, then removes what is named by neither it nor the one before it.
    pub fn write(&mut self, checkpoint: &Checkpoint) -> Result<Written, WriteError> {
        let (sequence, before) = self.commit(checkpoint)?;
        self.prune(before.as_ref());
        Ok(Written { sequence, release_through: before.map_or(0, |before| before.position.applied) })
    }

    /// Makes `checkpoint` durable and takes back all that were before it, durably too: what they count on is about to go.
    /// A crash on the way leaves the one before or this one as the newest.
    pub fn write_alone(&mut self, checkpoint: &Checkpoint) -> Result<Written, WriteError> {
        let (sequence, _) = self.commit(checkpoint)?;
        self.keep_newest_only()?;
        Ok(Written { sequence, release_through: checkpoint.position.applied })
    }

    /// Takes back all checkpoints but the newest: for a start that finds one that was written alone.
    pub fn keep_newest_only(&mut self) -> Result<(), WriteError> {
        let Some(newest) = self.last.as_ref().map(|last| last.sequence) else { return Ok(()) };
        self.remove_older_manifests(newest).map_err(|failure| {
            self.poisoned = true;
            failure.into_io()
        })?;
        self.prune(None);
        Ok(())
    }

    fn remove_older_manifests(&self, newest: u64) -> Result<(), Failure> {
        let failed = |operation, error| Failure { operation, file: self.directory.path().to_owned(), error };
        for named in self.directory.list().map_err(|error| failed("list", error))? {
            if matches!(named, Named::Manifest(sequence) if sequence != newest) {
                self.directory.remove(named).map_err(|error| self.io("remove", named, error))?;
            }
        }
        self.directory.sync().map_err(|error| failed("sync", error))
    }

    /// The newest checkpoint, read back from the disk.
    pub fn newest(&self) -> Result<Option<Loaded>, WriteError> {
        let Some(last) = &self.last else { return Ok(None) };
        load::checkpoint(&self.directory, last).map(Some).map_err(WriteError::from)
    }

    /// Returns the sequence number and the checkpoint before.
    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<(u64, Option<Manifest>), WriteError> {
        if self.poisoned {
            return Err(WriteError::Poisoned { dir: self.directory.path().to_owned() });
        }
        check_sizes(checkpoint)?;
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let mut layout = Layout::new(sequence);
        let states = self.place(checkpoint, &mut layout)?;
        let (position, membership) = (checkpoint.position, checkpoint.membership.clone());
        let manifest = Manifest { sequence, position, membership, states };
        self.write_files(&layout, &manifest).map_err(|failure| self.failed(failure, sequence))?;
        self.publish(sequence).map_err(|failure| {
            self.poisoned = true;
            failure.into_io()
        })?;
        Ok((sequence, self.last.replace(manifest)))
    }

    /// Gives each state its place, in the new file or where it is.
    fn place(
        &self,
        checkpoint: &Checkpoint,
        layout: &mut Layout,
    ) -> Result<BTreeMap<Key, Place>, WriteError> {
        let mut placed = BTreeMap::new();
        for (key, state) in &checkpoint.states {
            let place = match state {
                State::Changed(bytes) => layout.push(bytes.clone()),
                State::Unchanged => {
                    let last = self.last.as_ref().and_then(|last| last.states.get(key));
                    *last.ok_or_else(|| WriteError::UnknownKey(key.clone()))?
                }
            };
            placed.insert(key.clone(), place);
        }
        let scattered = files_to_merge(&placed, layout);
        let keys: Vec<Key> = load::keys_in(&placed, &scattered).map(|(key, _)| key.clone()).collect();
        let mut reader = StateReader::new(&self.directory);
        for key in keys {
            if let Some(place) = placed.get_mut(&key) {
                *place = layout.push(reader.read(place).map_err(WriteError::from)?);
            }
        }
        Ok(placed)
    }

    fn write_files(&self, layout: &Layout, manifest: &Manifest) -> Result<(), Failure> {
        let named = Named::States(manifest.sequence);
        if !layout.is_empty() {
            self.directory
                .write(named, |file| layout.write(file))
                .map_err(|error| self.io("write", named, error))?;
            self.directory.sync().map_err(|error| self.io("sync the name of", named, error))?;
        }
        let named = Named::Unfinished;
        let bytes = manifest.encode();
        let written = self.directory.write(named, |mut file| file.write_all(&bytes));
        written.map_err(|error| self.io("write", named, error))
    }

    fn publish(&self, sequence: u64) -> Result<(), Failure> {
        let named = Named::Manifest(sequence);
        let renamed = self.directory.rename(Named::Unfinished, named);
        renamed.map_err(|error| self.io("rename", named, error))?;
        self.directory.sync().map_err(|error| self.io("sync the name of", named, error))
    }

    fn io(&self, operation: &'static str, named: Named, error: io::Error) -> Failure {
        Failure { operation, file: self.directory.path_of(named), error }
    }

    /// Nothing has been named yet. A full disk gets its space back, and a file that could not be opened because too
    /// many are has not been touched; after anything else the store is not used again.
    fn failed(&mut self, failure: Failure, sequence: u64) -> WriteError {
        let removed = [Named::States(sequence), Named::Unfinished].map(|named| self.directory.remove(named));
        if is_no_room(&failure.error) && removed.iter().all(Result::is_ok) {
            return WriteError::NoSpace { dir: self.directory.path().to_owned(), error: failure.error };
        }
        self.poisoned = true;
        failure.into_io()
    }

    /// Removes what neither the last checkpoint nor `before` names. What cannot be removed now is tried next time.
    fn prune(&self, before: Option<&Manifest>) {
        let kept = || self.last.iter().chain(before);
        let manifests: BTreeSet<u64> = kept().map(|manifest| manifest.sequence).collect();
        let states: BTreeSet<u64> =
            kept().flat_map(|kept| kept.states.values()).map(|place| place.file).collect();
        let needed = |named: &Named| match named {
            Named::Manifest(sequence) => manifests.contains(sequence),
            Named::States(sequence) => states.contains(sequence),
            Named::Unfinished => false,
        };
        let files = self.directory.list().unwrap_or_default();
        // Manifests first: one that is left must not name files that are gone.
        for named in files.into_iter().filter(|named| !needed(named)) {
            if let Err(error) = self.directory.remove(named) {
                let file = self.directory.path_of(named);
                tracing::warn!(file = %file.display(), %error, "cannot remove an old checkpoint file");
                return;
            }
        }
    }
}

/// What failed can succeed later: the disk is full, or too many files are open.
pub fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// A disk operation that failed.
struct Failure {
    operation: &'static str,
    file: std::path::PathBuf,
    error: io::Error,
}

impl Failure {
    fn into_io(self) -> WriteError {
        WriteError::Io { operation: self.operation, file: self.file, error: self.error }
    }
}

/// When the states lie in too many files: the smaller half of these.
fn files_to_merge(placed: &BTreeMap<Key, Place>, layout: &Layout) -> Vec<u64> {
    let mut live_bytes: BTreeMap<u64, u64> = BTreeMap::new();
    for place in placed.values().filter(|place| place.file != layout.sequence()) {
        *live_bytes.entry(place.file).or_default() += u64::from(place.bytes);
    }
    if live_bytes.len() < STATE_FILES_MAX {
        return Vec::new();
    }
    let mut files: Vec<u64> = live_bytes.keys().copied().collect();
    files.sort_by_key(|file| live_bytes[file]);
    files.truncate(STATE_FILES_MAX / 2);
    files
}

fn check_sizes(checkpoint: &Checkpoint) -> Result<(), WriteError> {
    let check =
        |what, bytes, max| if bytes > max { Err(WriteError::TooLarge { what, bytes, max }) } else { Ok(()) };
    check("a membership", checkpoint.membership.len(), MEMBERSHIP_BYTES_MAX)?;
    check("a list of states", checkpoint.states.len(), STATES_MAX)?;
    for (key, state) in &checkpoint.states {
        check("a key", key.0.len(), KEY_BYTES_MAX)?;
        if let State::Changed(bytes) = state {
            check("a state", bytes.len(), STATE_BYTES_MAX)?;
        }
    }
    Ok(())
}
