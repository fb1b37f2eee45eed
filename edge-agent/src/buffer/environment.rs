//! The LMDB environment: one file, one unnamed database.
//!
//! ```text
//! key 00                      the counter record
//! key lane, number (u64, BE)  an entry; lanes from 1, numbers going up
//! ```

use std::fs::{self, File};
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heed::types::Bytes as Raw;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, RoTxn, RwTxn, WithoutTls};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, FdFlags};
use serde::Deserialize;
use thiserror::Error;

use super::state::{State, StateError};
use crate::data_dir::remedy;
use crate::limits::{DISK_RESERVE_BYTES, MAP_BYTES_EXTRA, MAP_BYTES_MAX, MAP_BYTES_PER_CAP};

pub const DATA_FILE: &str = "data.mdb";
const LOCK_FILE: &str = "lock.mdb";
const STATE_KEY: &[u8] = &[0];
pub(super) const PAGE_BYTES: u64 = 4096;
/// More than a meta page says.
pub(super) const META_BYTES: usize = 512;
/// A value that does not fit half a page has overflow pages of its own, which begin with a header of 16 bytes.
const INLINE_BYTES_MAX: u64 = 2000;
const PAGE_HEADER_BYTES: u64 = 16;

/// What a probe allocates: enough for the free list to be read.
const PROBE_VALUE_BYTES: usize = 64 << 10;
const PROBE_VALUES: u64 = 48;

const _: () = assert!(PROBE_VALUES as usize * (PROBE_VALUE_BYTES + 4096) < MAP_BYTES_EXTRA as usize);

/// When commits are on the disk.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Before they are answered.
    #[default]
    Strict,
    /// Within a few seconds; a power cut loses what came after the last sync, and no more.
    Relaxed,
    /// Whenever the kernel likes: for tests of what must then break, and for checks that write nothing.
    #[serde(skip)]
    Off,
}

impl Durability {
    fn flags(self) -> EnvFlags {
        match self {
            Self::Strict => EnvFlags::empty(),
            Self::Relaxed | Self::Off => EnvFlags::NO_SYNC,
        }
    }
}

#[derive(Debug, Error)]
pub enum EnvironmentError {
    #[error("{source}{remedy}", source = .0, remedy = in_its_folder(.0))]
    Io(#[from] std::io::Error),
    #[error("LMDB: {0}")]
    Lmdb(heed::Error),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("key {0:02x?} is none of the buffer's")]
    Key(Vec<u8>),
    #[error("keys are out of order")]
    Order,
    #[error("the free list makes no sense")]
    FreeList,
    #[error("the page of entry {0:?} is damaged")]
    Page(Key),
    #[error("page {page} of the file makes no sense: {why}")]
    Structure { page: u64, why: &'static str },
    #[error("its check was ended from outside by signal {0}; the next start does it again")]
    CheckEnded(i32),
}

fn in_its_folder(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::IsADirectory => {
            "; data.mdb and lock.mdb in it are to be files: move the directory away"
        }
        _ => remedy(error),
    }
}

impl From<heed::Error> for EnvironmentError {
    fn from(error: heed::Error) -> Self {
        match error {
            heed::Error::Io(error) => Self::Io(error),
            other => Self::Lmdb(other),
        }
    }
}

impl EnvironmentError {
    /// The map or the disk has no page left: room can be made.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Lmdb(heed::Error::Mdb(error)) => {
                matches!(error, heed::MdbError::MapFull | heed::MdbError::TxnFull)
            }
            Self::Io(error) => {
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }

    /// What is in the file cannot be right, whatever is tried again.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Lmdb(heed::Error::Mdb(error)) => !matches!(
                error,
                heed::MdbError::MapFull | heed::MdbError::TxnFull | heed::MdbError::ReadersFull
            ),
            Self::State(_)
            | Self::Key(_)
            | Self::Order
            | Self::FreeList
            | Self::Page(_)
            | Self::Structure { .. } => true,
            Self::Io(_) | Self::Lmdb(_) | Self::CheckEnded(_) => false,
        }
    }

    /// It is no use trying to open the file again: it is damaged, or the disk cannot read a part of it.
    pub fn is_unfit(&self) -> bool {
        let is_unreadable = |error: &io::Error| {
            matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::BADMSG | Errno::UCLEAN))
        };
        self.is_damage() || matches!(self, Self::Io(error) if is_unreadable(error))
    }
}

/// An open environment. Clones share it.
#[derive(Clone)]
pub struct Environment {
    env: Env<WithoutTls>,
    entries: Database<Raw, Raw>,
    file: Arc<File>,
}

/// A view of the environment as of one commit; a write transaction derefs to one.
pub type Read<'e> = RoTxn<'e, WithoutTls>;

/// The key of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub lane: u8,
    pub number: u64,
}

impl Key {
    fn encode(self) -> [u8; 9] {
        let mut bytes = [self.lane; 9];
        bytes[1..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, EnvironmentError> {
        match bytes {
            [lane, number @ ..] if *lane > 0 && number.len() == 8 => {
                let number = number.first_chunk().copied().map_or(0, u64::from_be_bytes);
                Ok(Self { lane: *lane, number })
            }
            _ => Err(EnvironmentError::Key(bytes.to_vec())),
        }
    }
}

/// The bytes of pages that an entry takes up. Small ones share pages that splits leave half full.
pub fn cost(value_bytes: usize) -> u64 {
    let bytes = u64::try_from(value_bytes).expect("a value's length fits 64 bits");
    if bytes > INLINE_BYTES_MAX {
        (bytes + PAGE_HEADER_BYTES).next_multiple_of(PAGE_BYTES) + 64
    } else {
        2 * (bytes + 24)
    }
}

/// How large the map, and so the file, is for a cap.
pub(super) fn map_bytes(cap_bytes: u64) -> u64 {
    (cap_bytes / MAP_BYTES_PER_CAP.1 * MAP_BYTES_PER_CAP.0 + MAP_BYTES_EXTRA).min(MAP_BYTES_MAX)
}

impl Environment {
    /// Opens or creates the environment in `dir`.
    pub fn open(dir: &Path, cap_bytes: u64, durability: Durability) -> Result<Self, EnvironmentError> {
        fs::create_dir_all(dir)?;
        let map_bytes = map_bytes(cap_bytes);
        // A cap that was lowered must not make the map smaller than what is in the file.
        let file_bytes = fs::metadata(dir.join(DATA_FILE)).map_or(0, |meta| meta.len());
        let map_bytes =
            map_bytes.max(file_bytes + MAP_BYTES_EXTRA).next_multiple_of(1 << 20).min(MAP_BYTES_MAX);
        let env = open_env(dir, usize::try_from(map_bytes).unwrap_or(usize::MAX), durability.flags())?;
        let mut txn = env.write_txn()?;
        let entries = env.create_database(&mut txn, None)?;
        txn.commit()?;
        let file = Arc::new(File::options().read(true).write(true).open(dir.join(DATA_FILE))?);
        Ok(Self { env, entries, file })
    }

    /// Frees and allocates as writing will, and takes it all back: a page of the tree or of the free list that
    /// is damaged shows now, in a process that may die of it. So does one of an entry that will be replaced.
    pub fn probe(&self, replaced: impl Iterator<Item = Key>) -> Result<(), EnvironmentError> {
        let mut txn = self.write()?;
        for key in replaced {
            self.delete(&mut txn, key)?;
        }
        self.entries.clear(&mut txn)?;
        let value = vec![0; PROBE_VALUE_BYTES];
        for number in 0..PROBE_VALUES {
            self.put(&mut txn, Key { lane: 1, number }, &value)?;
        }
        txn.abort();
        Ok(())
    }

    /// Takes so much of the disk, if it is not there already, that `bytes` more of entries leave the reserve.
    /// LMDB itself notices a full disk only half-way through a commit.
    pub fn reserve(&self, bytes: u64) -> Result<(), EnvironmentError> {
        let stat = self.env.stat();
        let pages = stat.branch_pages + stat.leaf_pages + stat.overflow_pages;
        let used = u64::try_from(pages).unwrap_or(u64::MAX).saturating_mul(PAGE_BYTES);
        // Freed pages within the file are as good as new ones at its end.
        if self.file.metadata()?.blocks() * 512 >= used + bytes + DISK_RESERVE_BYTES {
            return Ok(());
        }
        self.allocate(bytes + DISK_RESERVE_BYTES)
    }

    /// Takes all of the disk that the file may ever need; false where the file system does not do that.
    pub fn preallocate(&self, cap_bytes: u64) -> Result<bool, EnvironmentError> {
        match fallocate(&*self.file, FallocateFlags::KEEP_SIZE, 0, map_bytes(cap_bytes)) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// Makes every commit durable, however it was made.
    pub fn sync(&self) -> Result<(), EnvironmentError> {
        Ok(self.env.force_sync()?)
    }

    /// A reader of the last commit that lives as long as it is kept: until then none of its pages is used again.
    pub fn pin(&self) -> Result<RoTxn<'static, WithoutTls>, EnvironmentError> {
        Ok(self.env.clone().static_read_txn()?)
    }

    /// How large pages are, and what the two meta pages say.
    pub fn metas(&self) -> Result<(u32, [Vec<u8>; 2]), EnvironmentError> {
        let page_bytes = self.env.stat().page_size;
        let mut metas = [vec![0; META_BYTES], vec![0; META_BYTES]];
        self.file.read_exact_at(&mut metas[0], 0)?;
        self.file.read_exact_at(&mut metas[1], page_bytes.into())?;
        Ok((page_bytes, metas))
    }

    /// For messages.
    pub fn path(&self) -> PathBuf {
        self.env.path().join(DATA_FILE)
    }

    pub fn file_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Takes room on the disk for so much more behind the last page.
    fn allocate(&self, bytes: u64) -> Result<(), EnvironmentError> {
        let pages = u64::try_from(self.env.info().last_page_number).unwrap_or(u64::MAX).saturating_add(1);
        let end = pages.saturating_mul(PAGE_BYTES);
        match fallocate(&*self.file, FallocateFlags::KEEP_SIZE, 0, end.saturating_add(bytes)) {
            // Then it shows half-way through a commit.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// Commits. What LMDB calls an error of the device may be a disk that had room for a part of a page only.
    pub fn commit(&self, txn: RwTxn<'_>) -> Result<(), EnvironmentError> {
        let failed = match txn.commit() {
            Ok(()) => return Ok(()),
            Err(error) => EnvironmentError::from(error),
        };
        let is_device =
            matches!(&failed, EnvironmentError::Io(error) if Errno::from_io_error(error) == Some(Errno::IO));
        match self.allocate(DISK_RESERVE_BYTES) {
            Err(full) if is_device && full.is_full() => Err(full),
            _ => Err(failed),
        }
    }

    pub fn write(&self) -> Result<RwTxn<'_>, EnvironmentError> {
        Ok(self.env.write_txn()?)
    }

    pub fn read(&self) -> Result<Read<'_>, EnvironmentError> {
        Ok(self.env.read_txn()?)
    }

    pub fn state(&self, txn: &Read<'_>) -> Result<Option<State>, EnvironmentError> {
        Ok(self.entries.get(txn, STATE_KEY)?.map(State::decode).transpose()?)
    }

    pub fn put_state(&self, txn: &mut RwTxn<'_>, state: &State) -> Result<(), EnvironmentError> {
        Ok(self.entries.put(txn, STATE_KEY, &state.encode()?)?)
    }

    pub fn get<'t>(&self, txn: &'t Read<'_>, key: Key) -> Result<Option<&'t [u8]>, EnvironmentError> {
        Ok(self.entries.get(txn, &key.encode())?)
    }

    pub fn put(&self, txn: &mut RwTxn<'_>, key: Key, value: &[u8]) -> Result<(), EnvironmentError> {
        Ok(self.entries.put(txn, &key.encode(), value)?)
    }

    pub fn delete(&self, txn: &mut RwTxn<'_>, key: Key) -> Result<bool, EnvironmentError> {
        Ok(self.entries.delete(txn, &key.encode())?)
    }

    /// The entries of a lane whose numbers are in a range, in order.
    pub fn range<'t>(
        &self,
        txn: &'t Read<'_>,
        lane: u8,
        numbers: RangeInclusive<u64>,
    ) -> Result<impl Iterator<Item = Result<(u64, &'t [u8]), EnvironmentError>> + use<'t>, EnvironmentError>
    {
        let low = Key { lane, number: *numbers.start() }.encode();
        let high = Key { lane, number: *numbers.end() }.encode();
        let range = (std::ops::Bound::Included(low.as_slice()), std::ops::Bound::Included(high.as_slice()));
        let found = self.entries.range(txn, &range)?;
        Ok(found.map(|entry| {
            let (key, value) = entry?;
            Ok((Key::decode(key)?.number, value))
        }))
    }

    /// The last entry of a lane before `number`.
    pub fn before<'t>(
        &self,
        txn: &'t Read<'_>,
        lane: u8,
        number: u64,
    ) -> Result<Option<(u64, &'t [u8])>, EnvironmentError> {
        let Some((key, value)) = self.entries.get_lower_than(txn, &Key { lane, number }.encode())? else {
            return Ok(None);
        };
        Ok(Key::decode(key).ok().filter(|key| key.lane == lane).map(|key| (key.number, value)))
    }

    /// Every entry of every lane, in the order of keys, which is checked: a damaged tree may lead in circles.
    pub fn walk<'t>(
        &self,
        txn: &'t Read<'_>,
    ) -> Result<impl Iterator<Item = Result<(Key, &'t [u8]), EnvironmentError>> + use<'t>, EnvironmentError>
    {
        let mut last: Option<Key> = None;
        let all = self.entries.iter(txn)?.filter(|entry| !matches!(entry, Ok((STATE_KEY, _))));
        Ok(all.map(move |entry| {
            let (key, value) = entry?;
            let key = Key::decode(key)?;
            if last.replace(key).is_some_and(|last| last >= key) {
                return Err(EnvironmentError::Order);
            }
            Ok((key, value))
        }))
    }

    /// Closes the environment; every clone must be gone or going.
    pub fn close(self) {
        self.env.prepare_for_closing().wait();
    }
}

#[expect(unsafe_code, reason = "LMDB maps the file; the data directory's lock keeps other processes from it")]
fn open_env(dir: &Path, map_bytes: usize, flags: EnvFlags) -> Result<Env<WithoutTls>, heed::Error> {
    reserve_lock_file(dir)?;
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(map_bytes).max_readers(16).max_dbs(0);
    // SAFETY: only one process opens the directory (its lock file), and none changes the file otherwise. What a
    // damaged file may do to the map is met by checking it first in a child process (see `guard`). NO_SYNC
    // breaks durability, never memory.
    let env = unsafe { options.flags(flags).open(dir) }?;
    keep_from_children(&env)?;
    Ok(env)
}

/// LMDB writes it through a map: where the disk has no room for it, that ends the process.
fn reserve_lock_file(dir: &Path) -> Result<(), io::Error> {
    let file =
        File::options().read(true).write(true).create(true).truncate(false).open(dir.join(LOCK_FILE))?;
    if file.metadata()?.blocks() * 512 >= PAGE_BYTES {
        return Ok(());
    }
    match fallocate(&file, FallocateFlags::empty(), 0, PAGE_BYTES) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// LMDB leaves its file open for every program that this one starts: a command could write into it, and would keep it
/// open when the agent is gone.
#[expect(unsafe_code, reason = "LMDB's file is known to heed alone, and only by copies")]
fn keep_from_children(env: &Env<WithoutTls>) -> Result<(), heed::Error> {
    let data = env.try_clone_inner_file()?.metadata()?;
    let Ok(listed) = fs::read_dir("/proc/self/fd") else { return Ok(()) };
    for entry in listed.flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(meta) = fs::metadata(entry.path()) else { continue };
        if (meta.dev(), meta.ino()) != (data.dev(), data.ino()) {
            continue;
        }
        // SAFETY: nothing closes LMDB's own descriptors while `env` is borrowed.
        let file = unsafe { BorrowedFd::borrow_raw(number) };
        rustix::io::fcntl_setfd(file, FdFlags::CLOEXEC).map_err(io::Error::from)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_lane_and_number() {
        let keys = [Key { lane: 1, number: 255 }, Key { lane: 1, number: 256 }, Key { lane: 2, number: 0 }];
        let encoded: Vec<_> = keys.iter().map(|key| key.encode()).collect();
        assert!(encoded.is_sorted());
        for key in keys {
            assert_eq!(Key::decode(&key.encode()).unwrap(), key);
        }
        assert!(Key::decode(&[0]).is_err() && Key::decode(&[1, 2]).is_err());
    }

    #[test]
    fn a_command_does_not_get_the_buffers_file() {
        let folder = tempfile::tempdir().unwrap();
        let environment = Environment::open(folder.path(), 1 << 20, Durability::Off).unwrap();
        let listed = std::process::Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let own = folder.path().display().to_string();
        assert!(listed.contains("/proc") && !listed.contains(&own), "{listed}");
        environment.close();
    }

    #[test]
    fn an_entry_costs_at_least_its_pages() {
        assert_eq!(cost(64 << 10), (64 << 10) + 4096 + 64);
        assert!(cost(100) >= 100 && cost(2001) >= 4096);
    }
}
