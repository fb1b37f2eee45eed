//! A segment that nobody has whole is taken as it is.
//!
//! What is wrong with it shows when it is read, as it does at the sender, because the index comes from there: one that
//! was made from the segment here would end at the damage.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::{Import, ImportError, create_anew};
use crate::error::Damage;
use crate::names::FileKind;
use crate::state::SegmentState;

impl Import {
    /// Puts a piece of the sender's index beside a damaged segment; the first one begins the file. Each entry carries a
    /// checksum of its own: what is wrong with one shows when it is used.
    pub fn write_index(
        &self,
        segment: &SegmentState,
        position: u64,
        bytes: &[u8],
    ) -> Result<(), ImportError> {
        let path = self.files_of(segment).path(FileKind::Index);
        let file = match position {
            0 => create_anew(&path),
            _ => OpenOptions::new().write(true).open(&path),
        };
        let written = file.and_then(|file| file.write_all_at(bytes, position));
        written.map_err(|source| ImportError::from_io(&path, source))
    }

    /// The segment is here as the sender has it, with its index, and is damaged.
    pub fn keep_damaged(&self, segment: &SegmentState) -> Result<(), ImportError> {
        let index = self.files_of(segment).path(FileKind::Index);
        let synced = File::open(&index).and_then(|file| file.sync_all());
        synced.map_err(|source| ImportError::from_io(&index, source))?;
        self.indexed.borrow_mut().insert(segment.id);
        self.damaged.borrow_mut().insert(segment.id);
        Ok(())
    }

    /// The files of the segments that are as damaged as their sender's.
    pub fn damaged(&self) -> Vec<PathBuf> {
        let kept = self.damaged.borrow();
        let damaged = self.segments().filter(|segment| kept.contains(&segment.id));
        damaged.map(|segment| self.files_of(segment).path(FileKind::Log)).collect()
    }

    /// Whether the damage is in a segment that is known to have some.
    pub(super) fn is_known(&self, damage: &Damage) -> bool {
        let is_of = |segment: &SegmentState| {
            let files = self.files_of(segment);
            [FileKind::Log, FileKind::Index].iter().any(|kind| files.path(*kind) == damage.file)
        };
        let kept = self.damaged.borrow();
        self.segments().any(|segment| kept.contains(&segment.id) && is_of(segment))
    }
}
