//! One segment file on its way in.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use super::{ImportError, Verified};
use crate::checksum::{self, GoOn};
use crate::error::is_unreadable;
use crate::limits::{COPY_STEP_BYTES, COPY_SYNC_BYTES};
use crate::names::FileKind;
use crate::segment::SegmentFiles;
use crate::state::SegmentState;

/// Bytes on this disk that may be how a segment begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    pub(super) path: PathBuf,
    pub bytes: u32,
    /// CRC-32C of these bytes, for the sender to compare.
    pub checksum: u32,
}

/// A segment file that is being filled.
#[derive(Debug)]
pub struct Receiving {
    files: SegmentFiles,
    state: SegmentState,
    file: File,
    position: u32,
    checksum: u32,
    unsynced: u32,
    verified: Verified,
}

impl Receiving {
    pub(crate) fn begin(
        files: SegmentFiles,
        state: SegmentState,
        prefix: Option<Prefix>,
        verified: Verified,
    ) -> Result<Self, ImportError> {
        let part = part_of(&files);
        let failed = |source| ImportError::from_io(&part, source);
        let goes_on = prefix.as_ref().is_some_and(|prefix| prefix.path == part);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(!goes_on).open(&part).map_err(failed)?;
        let mut receiving = Self { files, state, file, position: 0, checksum: 0, unsynced: 0, verified };
        match prefix {
            Some(prefix) if goes_on => {
                receiving.file.set_len(u64::from(prefix.bytes)).map_err(failed)?;
                (receiving.position, receiving.checksum) = (prefix.bytes, prefix.checksum);
            }
            Some(prefix) => receiving.copy(&prefix)?,
            None => {}
        }
        Ok(receiving)
    }

    fn copy(&mut self, prefix: &Prefix) -> Result<(), ImportError> {
        let failed = |source| ImportError::from_io(&prefix.path, source);
        let mut source = File::open(&prefix.path).map_err(failed)?.take(u64::from(prefix.bytes));
        let mut buffer = vec![0; COPY_STEP_BYTES];
        loop {
            let count = source.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                return Ok(());
            }
            self.write(&buffer[..count])?;
        }
    }

    /// Where the next bytes go.
    pub fn position(&self) -> u32 {
        self.position
    }

    /// Bytes that are still missing.
    pub fn left(&self) -> u32 {
        self.state.bytes.saturating_sub(self.position)
    }

    /// Adds the next bytes. They are synced in steps, so that no other writer of the disk waits long for them.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ImportError> {
        let part = part_of(&self.files);
        let failed = |source| ImportError::from_io(&part, source);
        let count = u32::try_from(bytes.len()).ok().filter(|count| *count <= self.left());
        let count = count.ok_or_else(|| ImportError::Checksum(part.clone()))?;
        self.file.write_all_at(bytes, u64::from(self.position)).map_err(failed)?;
        self.checksum = crc32c::crc32c_append(self.checksum, bytes);
        self.position += count;
        self.unsynced += count;
        self.begin_writing(count);
        if self.unsynced >= COPY_SYNC_BYTES {
            self.file.sync_data().map_err(failed)?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Whatever the bytes are, they are durable and under the segment's name; false where they are not what the state
    /// says. [`Import::keep_damaged`](super::Import::keep_damaged) MUST follow then.
    pub fn finish_as_it_is(self) -> Result<bool, ImportError> {
        let part = part_of(&self.files);
        if self.left() > 0 {
            return Err(ImportError::Checksum(part));
        }
        settle(&self.files, &part)?;
        Ok(self.checksum == self.state.checksum)
    }

    /// Has the last `count` bytes written out without waiting for it, so that a sync finds little left to do, and
    /// nobody else's sync waits long behind it. Linux begins to write what is not needed in memory.
    fn begin_writing(&self, count: u32) {
        let from = u64::from(self.position - count);
        // It changes nothing but when the bytes are written.
        let _ = fadvise(&self.file, from, NonZeroU64::new(count.into()), Advice::DontNeed);
    }

    /// The segment is whole: verified, durable, and under its name.
    pub fn finish(self) -> Result<(), ImportError> {
        let part = part_of(&self.files);
        if self.left() > 0 || self.checksum != self.state.checksum {
            fs::remove_file(&part).map_err(|source| ImportError::from_io(&part, source))?;
            return Err(ImportError::Checksum(part));
        }
        settle(&self.files, &part)?;
        self.verified.add(&self.files.path(FileKind::Log), self.state.checksum);
        Ok(())
    }
}

/// The name of a segment file that is not whole yet.
pub(super) fn part_of(files: &SegmentFiles) -> PathBuf {
    with_suffix(files, ".part")
}

/// The name under which another log's file is looked at.
pub(super) fn link_of(files: &SegmentFiles) -> PathBuf {
    with_suffix(files, ".link")
}

fn with_suffix(files: &SegmentFiles, suffix: &str) -> PathBuf {
    let mut name = files.path(FileKind::Log).into_os_string();
    name.push(suffix);
    name.into()
}

/// Makes a file that is whole durable, and gives it its name.
pub(super) fn settle(files: &SegmentFiles, whole: &Path) -> Result<(), ImportError> {
    let synced = File::open(whole).and_then(|file| file.sync_all());
    synced
        .and_then(|()| fs::rename(whole, files.path(FileKind::Log)))
        .map_err(|source| ImportError::from_io(whole, source))
}

/// Length of a file, and CRC-32C of its first `bytes` at most. `None` where there is no such file; nothing is in one that
/// the disk cannot read.
pub(super) fn checksum_of(
    path: &Path,
    bytes: u32,
    go_on: &mut GoOn<'_>,
) -> Result<Option<(u64, u32)>, ImportError> {
    let failed = |source| ImportError::from_io(path, source);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let length = file.metadata().map_err(failed)?.len();
    match checksum::checksum_of(file, bytes, go_on) {
        Ok(Some((_, checksum))) => Ok(Some((length, checksum))),
        Ok(None) => Err(ImportError::Stopped),
        Err(error) if is_unreadable(&error) => Ok(Some((0, 0))),
        Err(error) => Err(failed(error)),
    }
}
