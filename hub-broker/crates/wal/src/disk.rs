//! What the log asks of the file system. A trait, so that tests can put a disk beneath the log that loses, tears and
//! reorders what was not synced.

use crate::config::SyncMode;
use rustix::{
    fs::{FallocateFlags, FlockOperation, fallocate, flock},
    io::{Errno, pwritev, retry_on_intr},
};
use std::{
    fs::{File, OpenOptions},
    io::{self, IoSlice},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// One directory.
pub trait Disk: Send + Sync {
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file, or empties the one that there is.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// MUST make earlier `create`, `rename` and `remove` calls durable.
    fn sync_directory(&self) -> io::Result<()>;
    /// For messages.
    fn path(&self, name: &str) -> PathBuf;
    /// A random number, for what must not be the same twice.
    fn draw(&self) -> u64 {
        rand::random()
    }
}

pub trait DiskFile: Send + Sync {
    fn bytes(&self) -> io::Result<u64>;
    /// May read less than asked; 0 is the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// May write less than given. Until `sync_data` returns, any part of it may be missing after a crash.
    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize>;
    /// Takes the space for a file of `bytes`, so that a full disk shows before anything is written.
    fn reserve(&self, bytes: u64) -> io::Result<()>;
    fn sync_data(&self) -> io::Result<()>;
}

/// True when an error means that the disk is full, for now.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// True when an error means that a file cannot be opened while so many are, by the process or on the whole system:
/// nothing has happened to it.
pub fn is_out_of_files(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

pub struct RealDisk {
    dir: PathBuf,
    handle: File,
    sync: SyncMode,
}

impl RealDisk {
    /// Opens `dir`, made if missing. `WouldBlock` when another process has it open.
    pub fn open(dir: &Path, sync: SyncMode) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        if let (SyncMode::Full, Some(parent)) = (sync, dir.parent().filter(|parent| *parent != Path::new("")))
        {
            File::open(parent)?.sync_all()?;
        }
        let handle = File::open(dir)?;
        flock(&handle, FlockOperation::NonBlockingLockExclusive)?;
        Ok(RealDisk { dir: dir.to_owned(), handle, sync })
    }

    fn wrap(&self, file: File) -> Arc<dyn DiskFile> {
        Arc::new(RealFile { file, sync: self.sync })
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.dir)?;
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(self.path(name))?;
        Ok(self.wrap(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(OpenOptions::new().read(true).write(true).open(self.path(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        if self.sync == SyncMode::Off { Ok(()) } else { self.handle.sync_all() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

struct RealFile {
    file: File,
    sync: SyncMode,
}

impl DiskFile for RealFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        FileExt::read_at(&self.file, buffer, position)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        Ok(retry_on_intr(|| pwritev(&self.file, slices, position))?)
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        match retry_on_intr(|| fallocate(&self.file, FallocateFlags::empty(), 0, bytes)) {
            // The zeros that follow take the space as well, only later.
            Err(Errno::OPNOTSUPP) => Ok(()),
            result => Ok(result?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.sync == SyncMode::Off { Ok(()) } else { self.file.sync_data() }
    }
}

/// Writes all of `slices`, in as few calls as the system allows.
pub fn write_all_at(
    file: &dyn DiskFile,
    mut slices: &mut [IoSlice<'_>],
    mut position: u64,
) -> io::Result<()> {
    while !slices.is_empty() {
        let window = &slices[..slices.len().min(crate::limits::SLICES_MAX)];
        let written = file.write_at(window, position)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        position += written as u64;
        IoSlice::advance_slices(&mut slices, written);
    }
    Ok(())
}
