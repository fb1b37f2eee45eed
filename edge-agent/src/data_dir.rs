//! The data directory: what lies in it, and who may open the buffer in it.
//!
//! ```text
//! device-id        the device's name, fixed at first use
//! device-id.copy   the same again, should that be damaged
//! lock             held exclusively by the process that has the buffer open; what an agent says that still opens it
//! marker           which streams are in the buffer, and whether it was closed cleanly (see buffer::marker)
//! buffer/          the LMDB environment; and the device's name once more, beside the records whose key it is
//! synced           its last sync, where commits are not synced one by one (see buffer::relaxed)
//! buffer.damaged/  an environment that was set aside; and how many records of it were copied when the disk failed
//! sent             how many bytes were sent this month
//! time             the last known time, and this boot's (see time::last_known)
//! quarantine/      batches that a hub refused as malformed
//! stuck-*.files    by input, what was read of files that it cannot put away (see inputs::progress)
//! agent.sock       where a running agent listens
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

const DEVICE_ID: &str = "device-id";
/// What a file takes of the disk is a multiple of this.
const BLOCK_BYTES: u64 = 4096;

#[derive(Debug, Error)]
#[error("{}: {source}{}", path.display(), remedy(source))]
pub struct DataDirError {
    pub path: PathBuf,
    pub source: io::Error,
}

impl DataDirError {
    /// The disk has no room: trying again later can help.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

#[derive(Clone, Debug)]
pub struct DataDir {
    root: PathBuf,
}

/// Held for as long as the buffer is open; the kernel gives it back when the process ends.
#[derive(Debug)]
pub struct DataDirLock {
    file: File,
}

impl DataDirLock {
    /// Says to whoever waits for the lock what takes long, until it is said otherwise. On a disk that cannot take it,
    /// they are told nothing.
    pub fn tell(&self, what: &str) {
        let is_silent = self.file.metadata().is_ok_and(|meta| meta.len() == 0);
        if !is_silent || !what.is_empty() {
            let _ = self.file.set_len(0);
            let _ = self.file.write_all_at(what.as_bytes(), 0);
        }
    }
}

impl DataDir {
    /// Creates the directory where it is not there yet.
    pub fn create(root: &Path) -> Result<Self, DataDirError> {
        refuse_file(root)?;
        fs::create_dir_all(root).map_err(at(root))?;
        Ok(Self { root: root.to_owned() })
    }

    /// A directory that an agent has used before.
    pub fn existing(root: &Path) -> Result<Self, DataDirError> {
        refuse_file(root)?;
        let dir = Self { root: root.to_owned() };
        let found = fs::metadata(dir.device_id());
        let copies = || dir.device_id_copies().into_iter().find_map(|copy| fs::metadata(copy).ok());
        found.or_else(|error| copies().ok_or(error)).map_err(at(root))?;
        Ok(dir)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn device_id(&self) -> PathBuf {
        self.root.join(DEVICE_ID)
    }

    pub fn device_id_copy(&self) -> PathBuf {
        self.root.join("device-id.copy")
    }

    /// Where the device's name is kept beside the first, the last two with the records.
    pub fn device_id_copies(&self) -> [PathBuf; 3] {
        [self.device_id_copy(), self.buffer().join(DEVICE_ID), self.damaged().join(DEVICE_ID)]
    }

    pub fn marker(&self) -> PathBuf {
        self.root.join("marker")
    }

    pub fn buffer(&self) -> PathBuf {
        self.root.join("buffer")
    }

    pub fn synced(&self) -> PathBuf {
        self.root.join("synced")
    }

    pub fn damaged(&self) -> PathBuf {
        self.root.join("buffer.damaged")
    }

    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    pub fn sent(&self) -> PathBuf {
        self.root.join("sent")
    }

    pub fn time(&self) -> PathBuf {
        self.root.join("time")
    }

    pub fn answered(&self) -> PathBuf {
        self.root.join("answered")
    }

    pub fn remote(&self) -> PathBuf {
        self.root.join("remote")
    }

    /// Of the input of this name.
    pub fn stuck_files(&self, input: &str) -> PathBuf {
        self.root.join(format!("stuck-{input}.files"))
    }

    pub fn socket(&self) -> PathBuf {
        self.root.join("agent.sock")
    }

    /// The socket's path through an open directory: a Unix socket's path has 108 bytes at most, the
    /// directory's may be longer. It is good for as long as the file lives.
    pub fn short_socket(&self) -> io::Result<(File, PathBuf)> {
        let dir = File::open(&self.root)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/agent.sock", dir.as_raw_fd()));
        Ok((dir, path))
    }

    fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// What the holder of the lock says that it is at, if anything.
    pub fn told(&self) -> Option<String> {
        fs::read_to_string(self.lock()).ok().filter(|what| !what.is_empty())
    }

    /// Takes the lock, or answers `None` where another process has it.
    pub fn try_lock(&self) -> Result<Option<DataDirLock>, DataDirError> {
        let path = self.lock();
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                remove_leftovers(&self.root);
                let lock = DataDirLock { file };
                lock.tell("");
                Ok(Some(lock))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(DataDirError { path, source: error.into() }),
        }
    }
}

/// Writes a small file so that after a power cut either the old or the new one is there, whole.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    let replace = || -> io::Result<()> {
        let temporary = write_beside(path, bytes)?;
        fs::rename(&temporary, path)?;
        sync_dir(path.parent().unwrap_or(Path::new(".")))
    };
    replace().map_err(at(path))
}

/// Writes over a file that is there, within the room that it has: on a full disk there is none for another. A
/// power cut may leave a mixture of both.
pub fn overwrite_file(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    let overwrite = || -> io::Result<()> {
        let mut file = File::options().write(true).open(path)?;
        if bytes.len() as u64 > file.metadata()?.len().next_multiple_of(BLOCK_BYTES) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    };
    overwrite().map_err(at(path))
}

/// The same for a file that must not be there yet; false where another process was first.
pub fn create_file(path: &Path, bytes: &[u8]) -> Result<bool, DataDirError> {
    let create = || -> io::Result<bool> {
        let temporary = write_beside(path, bytes)?;
        let linked = fs::hard_link(&temporary, path);
        fs::remove_file(&temporary)?;
        match linked {
            Ok(()) => sync_dir(path.parent().unwrap_or(Path::new("."))).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    };
    create().map_err(at(path))
}

/// A durable file of a name that no other process takes.
fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let temporary = path.with_extension(format!("new.{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    // A file that could not be written takes no room from the next attempt.
    write().inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    Ok(temporary)
}

/// Removes files that were written beside others and never took their place, since the power was cut. The process whose
/// file it is may live where it is the first here and fixes the device's name, which it does without the lock.
fn remove_leftovers(root: &Path) {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.rsplit_once(".new.")).map(|(_, process)| process);
        let process = process.filter(|process| process.parse::<u32>().is_ok());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // One that cannot be removed is in nobody's way.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// What to do about something in the way of the agent's files, to be said behind the error.
pub fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::IsADirectory => "; a file of the agent's belongs there: move the directory away",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "; a directory of the agent's belongs there: move the file away"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; the agent writes there: mount it for writing, or give another --data-dir"
        }
        _ => "",
    }
}

/// Makes a directory's entries durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn refuse_file(root: &Path) -> Result<(), DataDirError> {
    match fs::metadata(root) {
        Ok(found) if !found.is_dir() => {
            Err(at(root)(io::Error::new(io::ErrorKind::NotADirectory, "a file is in its place")))
        }
        _ => Ok(()),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::create(folder.path()).unwrap();
        let lock = dir.try_lock().unwrap().unwrap();
        assert!(dir.try_lock().unwrap().is_none());
        drop(lock);
        assert!(dir.try_lock().unwrap().is_some());
    }

    #[test]
    fn what_a_power_cut_left_half_written_is_removed_by_who_takes_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::create(folder.path()).unwrap();
        // Process ids end at 4194304 (proc(5)).
        let own = format!("device-id.new.{}", std::process::id());
        for name in ["time.new.4194305", "marker.new.4194306", &own, "notes.new.txt", "time"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let lock = dir.try_lock().unwrap();
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, [own.as_str(), "lock", "notes.new.txt", "time"]);
        drop(lock);
    }

    #[test]
    fn a_file_where_the_directory_should_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "x").unwrap();
        for error in [DataDir::create(&path).unwrap_err(), DataDir::existing(&path).unwrap_err()] {
            assert!(error.to_string().contains("/file: a file is in its place; "), "{error}");
        }
    }

    #[test]
    fn of_two_that_create_a_file_one_is_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device-id");
        assert!(create_file(&path, b"one").unwrap());
        assert!(!create_file(&path, b"other").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_never_used_is_not_existing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(DataDir::existing(folder.path()).is_err());
    }
}
