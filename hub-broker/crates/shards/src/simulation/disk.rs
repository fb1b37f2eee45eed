//! What a crash can take of the segments' files: everything that no checkpoint has synced.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use partition_log::DirtyFile;

/// Bytes of each file that are durable. A file may have several names, so it is known by its inode, and by when it was
/// made: the inodes of files that are gone are used again.
#[derive(Debug, Default)]
pub(super) struct Durable {
    lengths: BTreeMap<(u64, Option<SystemTime>), u64>,
}

fn identity(metadata: &Metadata) -> (u64, Option<SystemTime>) {
    (metadata.ino(), metadata.created().ok())
}

impl Durable {
    /// Everything that lies below `log` now is on the disk.
    pub(super) fn all(log: &Path) -> Self {
        let mut durable = Self::default();
        files(log).iter().for_each(|path| durable.note(path));
        durable
    }

    /// A checkpoint syncs these.
    pub(super) fn synced(&mut self, dirty: &[DirtyFile]) {
        dirty.iter().map(DirtyFile::path).filter(|path| path.is_file()).for_each(|path| self.note(path));
    }

    /// What was copied of a generation was synced as it came.
    pub(super) fn copied(&mut self, log: &Path, generation: u32) {
        let suffix = format!(".g{generation}");
        let of_generation = |path: &Path| {
            path.parent().and_then(Path::to_str).is_some_and(|directory| directory.ends_with(&suffix))
        };
        files(log).iter().filter(|path| of_generation(path)).for_each(|path| self.note(path));
    }

    /// All of this file is on the disk.
    pub(super) fn note(&mut self, path: &Path) {
        if let Ok(metadata) = fs::metadata(path) {
            self.lengths.insert(identity(&metadata), metadata.len());
        }
    }

    /// Each file keeps as many bytes as `keep` says of the durable and of all that were written.
    pub(super) fn crash(&self, log: &Path, keep: &mut dyn FnMut(u64, u64) -> u64) {
        for path in files(log) {
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let written = metadata.len();
            let durable = self.lengths.get(&identity(&metadata)).copied().unwrap_or(0).min(written);
            let kept = keep(durable, written);
            if kept < written {
                let cut = File::options().write(true).open(&path).and_then(|file| file.set_len(kept));
                cut.expect("a file of the simulation can be cut");
            }
        }
    }
}

/// The files of all partitions, always in the same order.
pub(super) fn files(log: &Path) -> Vec<PathBuf> {
    let entries = |directory: &Path| {
        let found = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = found.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    entries(log).iter().flat_map(|directory| entries(directory)).collect()
}
