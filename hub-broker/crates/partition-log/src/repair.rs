//! A closed segment that is damaged is made again from another replica's batches, by their offsets: what that one's
//! segments are like does not matter. Whether it is what was written here, the segment's own checksum tells.
//!
//! ```text
//! {base}-{id}.log.part    as far as it has come; then it takes the name of the damaged file
//! ```
//!
//! The active segment grows meanwhile, and of a compacted one other replicas have kept other records: these cannot be
//! made again.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, fadvise};
use schemas::{BatchHeader, Offset};

use crate::checksum::{self, GoOn};
use crate::epochs::EpochHistory;
use crate::error::{ReadError, is_unreadable};
use crate::files::remove_if_there;
use crate::import::{ImportError, Receiving, Verified};
use crate::names::FileKind;
use crate::reader::PartitionReader;
use crate::segment::SegmentView;
use crate::view::{Shared, View};

/// A segment that is made again. Nobody reads what has come before it is finished.
#[derive(Debug)]
pub struct Repair {
    shared: Arc<Shared>,
    segment: SegmentView,
    epochs: Arc<EpochHistory>,
    receiving: Receiving,
    next: Offset,
}

impl PartitionReader {
    /// Whether `file` is a segment's that can be made again.
    pub fn can_repair(&self, file: &Path) -> bool {
        segment_of(&self.shared().view.load(), file).is_some_and(|segment| !segment.state.compacted)
    }

    /// Whether `file` is a segment's that is still needed.
    pub fn needs(&self, file: &Path) -> bool {
        let view = self.shared().view.load();
        segment_of(&view, file).is_some() || view.active.files.path(FileKind::Log) == file
    }

    /// Whether `file` is on the disk as it was written: what was found damaged in memory, or by a disk that was about to
    /// go away, may be whole there. False if it is no segment's that is needed. `go_on` is told of the bytes of each step,
    /// and may put an end to it.
    pub fn reads_whole(&self, file: &Path, go_on: &mut GoOn<'_>) -> io::Result<bool> {
        let view = self.shared().view.load_full();
        let active = Some(&view.active).filter(|segment| segment.files.path(FileKind::Log) == file);
        let Some(segment) = segment_of(&view, file).or(active) else { return Ok(false) };
        let is_whole = match checksum_on_disk(file, segment.state.bytes, go_on) {
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_unreadable(&error) => false,
            checksum => checksum? == Some(segment.state.checksum),
        };
        if is_whole {
            // They may be of the disk that was there before.
            [FileKind::Log, FileKind::Index].into_iter().for_each(|kind| segment.files.forget(kind));
        }
        Ok(is_whole)
    }

    /// Begins to make `file` again, if that can be done. Nothing else may make it again at the same time.
    pub fn repair(&self, file: &Path) -> Result<Option<Repair>, ImportError> {
        let view = self.shared().view.load_full();
        let segment = segment_of(&view, file).filter(|segment| !segment.state.compacted);
        let Some(segment) = segment.cloned() else { return Ok(None) };
        let receiving = Receiving::begin(segment.files.beside(), segment.state, None, Verified::default())?;
        let (epochs, next) = (view.epochs.clone(), segment.state.base_offset);
        Ok(Some(Repair { shared: self.shared().clone(), segment, epochs, receiving, next }))
    }
}

/// The closed segment with this file.
fn segment_of<'a>(view: &'a View, file: &Path) -> Option<&'a SegmentView> {
    view.closed.iter().find(|segment| segment.files.path(FileKind::Log) == file)
}

/// CRC-32C of a file's first `bytes`; `None` if it ends before.
fn checksum_on_disk(path: &Path, bytes: u32, go_on: &mut GoOn<'_>) -> io::Result<Option<u32>> {
    let file = File::open(path)?;
    // What memory has of it is not asked. Without this it would only be.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    match checksum::checksum_of(file, bytes, go_on)? {
        Some((length, checksum)) => Ok(Some(checksum).filter(|_| length == bytes)),
        None => Err(io::Error::other("it was not read to its end")),
    }
}

impl Repair {
    /// Where to go on.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Bytes that are still missing.
    pub fn left(&self) -> u32 {
        self.receiving.left()
    }

    /// Adds the batches that come next. What lies behind the segment's end is left out.
    pub fn push(&mut self, mut batches: &[u8]) -> Result<(), ImportError> {
        while self.left() > 0 && !batches.is_empty() {
            let header = BatchHeader::parse(batches).ok().filter(|header| header.base_offset == self.next.0);
            let batch = header.as_ref().and_then(|header| batches.split_at_checked(header.total_bytes()));
            let (Some(header), Some((batch, rest))) = (header, batch) else {
                return Err(ImportError::Checksum(self.segment.files.path(FileKind::Log)));
            };
            self.receiving.write(batch)?;
            self.next = Offset(header.last_offset()).plus(1);
            batches = rest;
        }
        Ok(())
    }

    /// Puts what has come into the damaged file's place, if it is what the segment's checksum says; durably.
    pub fn finish(self) -> Result<(), ImportError> {
        let Self { shared, segment, epochs, receiving, .. } = self;
        receiving.finish()?;
        let files = &segment.files;
        files.forget(FileKind::Log);
        if !shared.view.load().has_files_of(&segment) {
            // The log has let the segment go meanwhile, and what has its name now is nobody's.
            let unneeded = files.path(FileKind::Log);
            return remove_if_there(&unneeded).map_err(|source| ImportError::from_io(&unneeded, source));
        }
        let synced = File::open(files.directory()).and_then(|directory| directory.sync_all());
        synced.map_err(|source| ImportError::from_io(files.directory(), source))?;
        match segment.rebuild_index(&epochs) {
            Ok(None) => Ok(()),
            Ok(Some(damage)) | Err(ReadError::Damaged(damage)) => Err(damage.into()),
            Err(ReadError::Io { file, source }) => Err(ImportError::from_io(&file, source)),
            Err(out_of_range @ ReadError::OutOfRange { .. }) => {
                Err(ImportError::from_io(&files.path(FileKind::Log), std::io::Error::other(out_of_range)))
            }
        }
    }
}
