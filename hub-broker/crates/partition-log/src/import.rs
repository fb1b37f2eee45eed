//! A partition made from another replica's: its state as it is, its segment files copied, or found here already.
//!
//! ```text
//! {base}-{id}.log         whole, verified against the state's checksum, and synced
//! {base}-{id}.log.part    as far as it has come
//! {base}-{id}.log.link    another log's file that is being looked at
//! {base}-{id}.index       made from the segment once that is whole
//! ```
//!
//! Whatever the directory holds, an import goes on from it: what is whole is kept, a part is gone on with where its
//! bytes are those of the sender. Nothing else may write into the directory.
//!
//! What does not match its checksum is an error, but for a segment whose damage the sender knows and nobody can mend:
//! that is taken as it is, and said to be damaged; see `damaged`.

mod damaged;
mod file;
mod local;
mod verified;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemas::PartitionId;

use crate::checksum::GoOn;
use crate::error::{Damage, LogError, ReadError, RecoverError};
use crate::files::{FileCache, remove_if_there};
use crate::index;
use crate::log::PartitionLog;
use crate::names::FileKind;
use crate::segment::{SegmentFiles, scan};
use crate::state::{PartitionState, SegmentState};

use local::is_same_file;

pub use file::{Prefix, Receiving};
pub use local::LocalLog;
pub use verified::Verified;

/// A partition on its way in. Its segments may be received in any order; then it is finished.
#[derive(Debug)]
pub struct Import {
    dir: Arc<Path>,
    state: PartitionState,
    files: FileCache,
    /// Segments whose indexes are here already, by id.
    indexed: RefCell<BTreeSet<u64>>,
    /// Segments that are as damaged as their sender's, by id.
    damaged: RefCell<BTreeSet<u64>>,
    verified: Verified,
}

/// Why a partition could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Can be tried again when there is room.
    #[error("no room to write {}: {source}", file.display())]
    NoSpace { file: PathBuf, source: io::Error },
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: io::Error },
    #[error("the state of partition {0} contradicts itself")]
    BadState(PartitionId),
    /// What was received is not what the state says. The part is gone.
    #[error("{}: does not match its checksum", .0.display())]
    Checksum(PathBuf),
    /// The bytes are those that the state says, and not a segment.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Whoever was told of the bytes that were read did not want any more.
    #[error("it was not read to its end")]
    Stopped,
}

impl ImportError {
    pub(crate) fn from_io(file: &Path, source: io::Error) -> Self {
        match LogError::from_io(file, source) {
            LogError::NoSpace { file, source } => Self::NoSpace { file, source },
            LogError::Io { file, source } => Self::Io { file, source },
            other => Self::Io { file: file.to_owned(), source: io::Error::other(other) },
        }
    }
}

impl Import {
    /// Begins in `dir`, or goes on there; files that `state` does not name are removed.
    pub fn begin(dir: &Path, state: PartitionState, files: &FileCache) -> Result<Self, ImportError> {
        if !state.is_consistent() {
            return Err(ImportError::BadState(state.id));
        }
        let (indexed, damaged) = (RefCell::default(), RefCell::default());
        let verified = Verified::default();
        let import = Self { dir: dir.into(), state, files: files.clone(), indexed, damaged, verified };
        let failed = |source| ImportError::from_io(dir, source);
        fs::create_dir_all(dir).map_err(failed)?;
        let wanted: HashSet<PathBuf> = import
            .segments()
            .flat_map(|segment| {
                let files = import.files_of(segment);
                [files.path(FileKind::Log), files.path(FileKind::Index), file::part_of(&files)]
            })
            .collect();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if !wanted.contains(&path) {
                fs::remove_file(&path).map_err(|source| ImportError::from_io(&path, source))?;
            }
        }
        Ok(import)
    }

    /// Takes for right what is known to be so.
    #[must_use]
    pub fn knowing(self, verified: &Verified) -> Self {
        Self { verified: verified.clone(), ..self }
    }

    pub fn state(&self) -> &PartitionState {
        &self.state
    }

    /// The segments that have files.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentState> {
        self.state.segments.iter().filter(|segment| segment.bytes > 0)
    }

    /// Whether the segment is here, whole. Every byte is read, but where it is the very file that `local` vouches for, or one
    /// that was found whole before.
    pub fn is_whole(
        &self,
        segment: &SegmentState,
        local: Option<&LocalLog>,
        go_on: &mut GoOn<'_>,
    ) -> Result<bool, ImportError> {
        let files = self.files_of(segment);
        let path = files.path(FileKind::Log);
        if let Some(local) = local
            && local.vouched(segment).is_some_and(|vouched| is_same_file(&vouched, &path))
        {
            if is_same_file(&local.index_of(segment), &files.path(FileKind::Index)) {
                self.indexed.borrow_mut().insert(segment.id);
            }
            return Ok(true);
        }
        if self.verified.has(&path, segment.checksum) {
            return Ok(true);
        }
        match file::checksum_of(&path, segment.bytes, go_on)? {
            Some(found) if found == (u64::from(segment.bytes), segment.checksum) => {
                self.verified.add(&path, segment.checksum);
                Ok(true)
            }
            Some(_) => {
                // The index may be another log's, linked together with the segment.
                for path in [path, files.path(FileKind::Index)] {
                    remove_if_there(&path).map_err(|source| ImportError::from_io(&path, source))?;
                }
                Ok(false)
            }
            None => Ok(false),
        }
    }

    /// Links a closed segment of the partition's log in `local` if it has, byte for byte, the same batches: as its
    /// manifest says, or else as its bytes do. The newest segment there may still be written to, and the newest one
    /// here will be: neither is linked.
    pub fn link(
        &self,
        segment: &SegmentState,
        local: &LocalLog,
        go_on: &mut GoOn<'_>,
    ) -> Result<bool, ImportError> {
        if self.state.segments.last().is_some_and(|last| last.id == segment.id) {
            return Ok(false);
        }
        let files = self.files_of(segment);
        // Not under the name of a part: that would be written to.
        let link = file::link_of(&files);
        if let Some(vouched) = local.vouched(segment) {
            let is_linked = link_to(&vouched, &link)?;
            if is_linked {
                file::settle(&files, &link)?;
                self.link_index(segment, local)?;
            }
            return Ok(is_linked);
        }
        let Some((candidate, false)) = local.candidate(segment) else { return Ok(false) };
        if !link_to(candidate, &link)? {
            return Ok(false);
        }
        let found = file::checksum_of(&link, segment.bytes, go_on)?;
        if found != Some((u64::from(segment.bytes), segment.checksum)) {
            fs::remove_file(&link).map_err(|source| ImportError::from_io(&link, source))?;
            return Ok(false);
        }
        file::settle(&files, &link)?;
        self.verified.add(&files.path(FileKind::Log), segment.checksum);
        Ok(true)
    }

    /// The index goes along if it has the right length. Its entries carry checksums: what is wrong with it shows when it
    /// is used, and it is made again then.
    fn link_index(&self, segment: &SegmentState, local: &LocalLog) -> Result<(), ImportError> {
        let (found, path) = (local.index_of(segment), self.files_of(segment).path(FileKind::Index));
        let is_whole =
            fs::metadata(&found).is_ok_and(|file| file.len() == index::position_of(segment.batches));
        if is_whole && link_to(&found, &path)? {
            let synced = File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(|source| ImportError::from_io(&path, source))?;
            self.indexed.borrow_mut().insert(segment.id);
        }
        Ok(())
    }

    /// The longest beginning of the segment that may be here: an earlier part, or a file of the log in `local`.
    /// Whether it is one, its checksum tells.
    pub fn prefix(
        &self,
        segment: &SegmentState,
        local: Option<&LocalLog>,
        go_on: &mut GoOn<'_>,
    ) -> Result<Option<Prefix>, ImportError> {
        let part = file::part_of(&self.files_of(segment));
        let candidate = local.and_then(|local| Some(local.candidate(segment)?.0.to_owned()));
        let mut longest: Option<Prefix> = None;
        for path in [Some(part), candidate].into_iter().flatten() {
            let found = file::checksum_of(&path, segment.bytes, go_on)?;
            let Some((length, checksum)) = found else { continue };
            let bytes = u32::try_from(length).unwrap_or(u32::MAX).min(segment.bytes);
            if bytes > 0 && longest.as_ref().is_none_or(|longest| longest.bytes < bytes) {
                longest = Some(Prefix { path, bytes, checksum });
            }
        }
        Ok(longest)
    }

    /// Receives the segment's bytes behind `prefix`, which the sender has confirmed.
    pub fn receive(&self, segment: &SegmentState, prefix: Option<Prefix>) -> Result<Receiving, ImportError> {
        Receiving::begin(self.files_of(segment), *segment, prefix, self.verified.clone())
    }

    /// Makes the indexes and everything durable, and opens the partition. All segments must be here; `go_on` is told of
    /// each that was read.
    pub fn finish(self, go_on: &mut GoOn<'_>) -> Result<PartitionLog, ImportError> {
        for segment in self.segments().filter(|segment| !self.indexed.borrow().contains(&segment.id)) {
            let index = self.files_of(segment).path(FileKind::Index);
            if self.verified.has(&index, segment.checksum) {
                continue;
            }
            self.make_index(segment)?;
            self.verified.add(&index, segment.checksum);
            if !go_on(segment.bytes as usize) {
                return Err(ImportError::Stopped);
            }
        }
        for dir in [Some(&*self.dir), self.dir.parent()].into_iter().flatten() {
            let synced = File::open(dir).and_then(|dir| dir.sync_all());
            synced.map_err(|source| ImportError::from_io(dir, source))?;
        }
        let recovered = PartitionLog::recover(&self.dir, &self.state, &self.files);
        let (log, damage) = recovered.map_err(|error| match error {
            RecoverError::Io { file, source } => ImportError::Io { file, source },
            RecoverError::BadState { partition } => ImportError::BadState(partition),
        })?;
        let unexpected = damage.into_iter().find(|damage| !self.is_known(damage));
        unexpected.map_or(Ok(log), |damage| Err(damage.into()))
    }

    /// From the segment alone, all of whose batches are verified once more on the way.
    fn make_index(&self, segment: &SegmentState) -> Result<(), ImportError> {
        let files = self.files_of(segment);
        let scanned = scan(&files, segment, &self.state.epochs).map_err(|error| match error {
            ReadError::Damaged(damage) => ImportError::Damaged(damage),
            ReadError::Io { file, source } => ImportError::from_io(&file, source),
            out_of_range @ ReadError::OutOfRange { .. } => {
                ImportError::Io { file: files.path(FileKind::Log), source: io::Error::other(out_of_range) }
            }
        })?;
        if let Some(damage) = scanned.damage {
            return Err(damage.into());
        }
        if scanned.entries.len() != segment.batches as usize {
            return Err(ImportError::BadState(self.state.id));
        }
        let bytes = index::encode_all(segment.id, 0, &scanned.entries);
        let path = files.path(FileKind::Index);
        let write = || {
            let file = create_anew(&path)?;
            io::Write::write_all(&mut &file, &bytes)?;
            file.sync_all()
        };
        write().map_err(|source| ImportError::from_io(&path, source))
    }

    fn files_of(&self, segment: &SegmentState) -> SegmentFiles {
        let (id, base_offset) = (segment.id, segment.base_offset);
        SegmentFiles::new(self.dir.clone(), self.files.clone(), id, base_offset, segment.batches)
    }
}

/// False where the file has gone meanwhile, or the file system has no links.
fn link_to(file: &Path, link: &Path) -> Result<bool, ImportError> {
    remove_if_there(link).map_err(|source| ImportError::from_io(link, source))?;
    match fs::hard_link(file, link) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Err(ImportError::from_io(link, error)),
        Err(_) => Ok(false),
    }
}

/// An empty file. One that is there may have another name, in a log that is being read, and stays as it is under that.
fn create_anew(path: &Path) -> io::Result<File> {
    remove_if_there(path)?;
    File::create_new(path)
}
