//! Open files: a bounded cache of read handles, and the lists that a checkpoint works through.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{Damage, is_out_of_files};
use crate::limits::OPEN_FILES_DEFAULT;

/// The log has a line of the same damage this often at most.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Places of damage that are remembered for that.
const TOLD_MAX: usize = 1024;

/// Read handles of segment and index files, shared by all partitions of a hub. The one longest unused is
/// closed when there are too many; whoever is just reading from it keeps it open until done.
#[derive(Clone)]
pub struct FileCache {
    inner: Arc<Inner>,
    on_damage: Option<OnDamage>,
}

/// Called where a read finds that bytes of a log are not what was written; on any thread, so it must not block.
pub type OnDamage = Arc<dyn Fn(&Damage) + Send + Sync>;

#[derive(Debug)]
struct Inner {
    capacity: usize,
    uses: AtomicU64,
    open: Mutex<HashMap<FileKey, Open>>,
    /// Damage that the log has had a line of lately: readers come again and again.
    told: Mutex<HashMap<(PathBuf, u64), Instant>>,
}

#[derive(Debug)]
struct Open {
    file: Arc<File>,
    last_use: u64,
}

impl Inner {
    /// Whether the log is to have a line of it.
    fn is_news(&self, damage: &Damage, now: Instant) -> bool {
        let mut told = self.told.lock();
        told.retain(|_, at| now.saturating_duration_since(*at) < TOLD_EVERY);
        let place = (damage.file.clone(), damage.position);
        if told.contains_key(&place) || told.len() >= TOLD_MAX {
            return false;
        }
        told.insert(place, now);
        true
    }
}

/// Names one file for as long as the process lives, so that a name used again never meets an old handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileKey(u64);

impl FileKey {
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Debug for FileCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileCache").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Default for FileCache {
    fn default() -> Self {
        Self::new(OPEN_FILES_DEFAULT)
    }
}

impl FileCache {
    /// `capacity`: files kept open, at least 1.
    pub fn new(capacity: usize) -> Self {
        let inner = Inner {
            capacity: capacity.max(1),
            uses: AtomicU64::new(0),
            open: Mutex::default(),
            told: Mutex::default(),
        };
        Self { inner: Arc::new(inner), on_damage: None }
    }

    /// The same open files, for logs whose damage `on_damage` is to hear of.
    #[must_use]
    pub fn watched(&self, on_damage: OnDamage) -> Self {
        Self { inner: self.inner.clone(), on_damage: Some(on_damage) }
    }

    /// Notes damage that a reader met: in the log's line and metric, and to whom it was to be told.
    pub(crate) fn damaged(&self, damage: &Damage) {
        crate::observe::damage();
        if self.inner.is_news(damage, Instant::now()) {
            tracing::error!(file = %damage.file.display(), position = damage.position, "{}", damage.what);
        }
        if let Some(on_damage) = self.on_damage.as_ref().filter(|_| damage.is_loss()) {
            on_damage(damage);
        }
    }

    /// Files open now.
    pub fn open_files(&self) -> usize {
        self.inner.open.lock().len()
    }

    pub(crate) fn get(&self, key: FileKey, path: impl FnOnce() -> PathBuf) -> io::Result<Arc<File>> {
        let now = self.inner.uses.fetch_add(1, Ordering::Relaxed);
        if let Some(open) = self.inner.open.lock().get_mut(&key) {
            open.last_use = now;
            return Ok(open.file.clone());
        }
        // Opened outside the lock; two that open the same file at once only waste one handle.
        let path = path();
        let file = Arc::new(self.making_way(|| File::open(&path))?);
        let mut open = self.inner.open.lock();
        if open.len() >= self.inner.capacity {
            let oldest = open.iter().min_by_key(|(_, open)| open.last_use).map(|(key, _)| *key);
            oldest.and_then(|key| open.remove(&key));
        }
        open.insert(key, Open { file: file.clone(), last_use: now });
        Ok(file)
    }

    /// Opens something; where too many files are open, those that are kept here give way.
    pub(crate) fn making_way<T>(&self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match open() {
            Err(error) if is_out_of_files(&error) => {
                self.inner.open.lock().clear();
                open()
            }
            opened => opened,
        }
    }

    pub(crate) fn forget(&self, key: FileKey) {
        self.inner.open.lock().remove(&key);
    }
}

/// A file or directory written to since the last checkpoint.
#[derive(Debug)]
pub struct DirtyFile {
    file: Arc<File>,
    path: PathBuf,
    is_directory: bool,
}

impl DirtyFile {
    pub(crate) fn file(file: Arc<File>, path: PathBuf) -> Self {
        Self { file, path, is_directory: false }
    }

    pub(crate) fn directory(path: &Path, cache: &FileCache) -> io::Result<Self> {
        let file = cache.making_way(|| File::open(path))?;
        Ok(Self { file: Arc::new(file), path: path.to_owned(), is_directory: true })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it durable. A failure must end the process: the kernel may have dropped the pages.
    pub fn sync(&self) -> io::Result<()> {
        if self.is_directory { self.file.sync_all() } else { self.file.sync_data() }
    }
}

/// Files of a segment that the log needs no more. They may still be named by a manifest that a start could
/// fall back to, so they are deleted by whoever knows which manifests are kept.
#[derive(Debug)]
#[must_use = "the files stay on disk until they are deleted"]
pub struct ObsoleteFiles {
    paths: Vec<PathBuf>,
    held: Vec<(FileCache, FileKey)>,
}

impl ObsoleteFiles {
    pub(crate) fn new(paths: Vec<PathBuf>, held: Vec<(FileCache, FileKey)>) -> Self {
        Self { paths, held }
    }

    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Deletes them; those that are gone already count as deleted. A read that is under way finishes.
    pub fn delete(self) -> io::Result<()> {
        for (cache, key) in &self.held {
            cache.forget(*key);
        }
        self.paths.iter().try_for_each(|path| remove_if_there(path))
    }
}

pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::DamageKind;

    #[test]
    fn the_log_has_a_line_of_a_place_once_a_minute() {
        let (files, now) = (FileCache::new(1), Instant::now());
        let at = |position| Damage { file: "a.log".into(), position, what: DamageKind::BatchChecksum };
        assert!(files.inner.is_news(&at(1), now) && files.inner.is_news(&at(2), now));
        assert!(!files.inner.is_news(&at(1), now + TOLD_EVERY / 2));
        assert!(files.inner.is_news(&at(1), now + TOLD_EVERY));
    }
}
