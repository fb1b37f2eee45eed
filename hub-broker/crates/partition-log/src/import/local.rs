//! What another directory has of the partition: its replica's state until now.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use schemas::Offset;

use super::ImportError;
use crate::names::{FileKind, INDEX_EXTENSION, file_name, parse_file_name};
use crate::recovery::segment_files;
use crate::state::{PartitionState, SegmentState};

/// The segment files of another directory, as they were when it was looked at.
#[derive(Debug)]
pub struct LocalLog {
    dir: PathBuf,
    /// By base offset, the one with the highest id, and whether it is the newest of all.
    logs: BTreeMap<Offset, (PathBuf, bool)>,
    /// Closed segments, by id, whose files are as a durable manifest says.
    vouched: BTreeMap<u64, SegmentState>,
}

impl LocalLog {
    /// `installed`: the state of this very directory that a durable manifest names, if that is known. Its closed
    /// segments are not read again to be believed.
    pub fn look(dir: &Path, installed: Option<&PartitionState>) -> Result<Self, ImportError> {
        let is_log = |name: &str| parse_file_name(name).is_some_and(|(_, kind)| kind == FileKind::Log);
        let mut logs = BTreeMap::new();
        let mut newest = None;
        for (path, _) in segment_files(dir).map_err(|source| ImportError::from_io(dir, source))? {
            let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| is_log(name))
            else {
                continue;
            };
            let base = name.split_once('-').and_then(|(base, _)| base.parse().ok()).map(Offset);
            if let Some(base) = base {
                logs.insert(base, (path, false));
                newest = Some(base);
            }
        }
        if let Some((_, is_newest)) = newest.and_then(|newest| logs.get_mut(&newest)) {
            *is_newest = true;
        }
        let closed = installed.map(|state| state.segments.split_last().map_or(&[][..], |(_, closed)| closed));
        let vouched = closed.unwrap_or_default().iter().map(|segment| (segment.id, *segment)).collect();
        Ok(Self { dir: dir.to_owned(), logs, vouched })
    }

    /// These files are not what the manifest says: they are believed only once they are read.
    #[must_use]
    pub fn doubting(mut self, files: &[PathBuf]) -> Self {
        let is_doubted = |segment: &SegmentState| files.contains(&self.dir.join(segment.file_name()));
        self.vouched.retain(|_, segment| !is_doubted(segment));
        self
    }

    /// The file that begins at the same offset, and whether it is the newest there.
    pub(super) fn candidate(&self, segment: &SegmentState) -> Option<(&Path, bool)> {
        self.logs.get(&segment.base_offset).map(|(path, newest)| (path.as_path(), *newest))
    }

    /// The segment's own file, if a manifest says that it holds exactly these bytes, and it has that length.
    pub(super) fn vouched(&self, segment: &SegmentState) -> Option<PathBuf> {
        let is_same = |known: &&SegmentState| {
            (known.base_offset, known.bytes, known.checksum, known.batches)
                == (segment.base_offset, segment.bytes, segment.checksum, segment.batches)
        };
        self.vouched.get(&segment.id).filter(is_same)?;
        let path = self.dir.join(segment.file_name());
        let is_whole = fs::metadata(&path).is_ok_and(|file| file.len() == u64::from(segment.bytes));
        is_whole.then_some(path)
    }

    pub(super) fn index_of(&self, segment: &SegmentState) -> PathBuf {
        self.dir.join(file_name(segment.base_offset, segment.id, INDEX_EXTENSION))
    }
}

/// Whether both names are there and are of one file.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}
