//! A closed segment that is damaged is made again from another replica's batches, by their offsets: what that one's
//! segments are like does not matter. Whether it is what was written here, the segment's own checksum tells.
//!
//! ```text
//! {base}-{id}.log.part    as far as it has come; then it takes the name of the damaged file
//! ```
//!
//! The active segment grows meanwhile, and of a compacted one other replicas have kept other records: these cannot be
//! made again.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use schemas::{BatchHeader, Offset};

use crate::epochs::EpochHistory;
use crate::error::ReadError;
use crate::import::{ImportError, Receiving};
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

    /// Begins to make `file` again, if that can be done. Nothing else may make it again at the same time.
    pub fn repair(&self, file: &Path) -> Result<Option<Repair>, ImportError> {
        let view = self.shared().view.load_full();
        let segment = segment_of(&view, file).filter(|segment| !segment.state.compacted);
        let Some(segment) = segment.cloned() else { return Ok(None) };
        let receiving = Receiving::begin(segment.files.beside(), segment.state, None)?;
        let (epochs, next) = (view.epochs.clone(), segment.state.base_offset);
        Ok(Some(Repair { shared: self.shared().clone(), segment, epochs, receiving, next }))
    }
}

/// The closed segment with this file.
fn segment_of<'a>(view: &'a View, file: &Path) -> Option<&'a SegmentView> {
    view.closed.iter().find(|segment| segment.files.path(FileKind::Log) == file)
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
            return remove(&files.path(FileKind::Log));
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

fn remove(file: &Path) -> Result<(), ImportError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(ImportError::from_io(file, error)),
        _ => Ok(()),
    }
}
