//! Files of an import that were read to their end, or written, and are right: what it has begun is gone on with where it
//! was interrupted, without reading them again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

/// All clones know the same. Nothing of it outlives the process.
#[derive(Debug, Clone, Default)]
pub struct Verified(Arc<Mutex<BTreeMap<PathBuf, (Identity, u32)>>>);

/// Whoever writes to a file, or puts another in its place, changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Verified {
    /// `checksum` is that of the segment that the file is, or is the index of.
    pub(super) fn add(&self, path: &Path, checksum: u32) {
        if let Some(identity) = Identity::of(path) {
            self.0.lock().insert(path.to_owned(), (identity, checksum));
        }
    }

    pub(super) fn has(&self, path: &Path, checksum: u32) -> bool {
        let known = self.0.lock().get(path).copied();
        known.is_some_and(|known| Identity::of(path).is_some_and(|identity| known == (identity, checksum)))
    }
}

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        let modified = (file.mtime(), file.mtime_nsec());
        Some(Self { device: file.dev(), inode: file.ino(), bytes: file.len(), modified })
    }
}
