//! `durability = relaxed`: commits are not synced one by one, the environment is synced every few seconds.
//!
//! A power cut may then leave any mixture of old and new pages, the meta pages among them. So at each sync what the
//! meta pages say is kept in a file of its own, and a reader that stays at that commit keeps LMDB from using its pages
//! again before the next sync. After a power cut the environment goes back to the kept meta pages, and so to the
//! commit that was synced last, of which every page is there. A process that ends loses nothing: the kernel has it.
//!
//! ```text
//! two slots of 4096 bytes, written in turns; numbers big-endian
//!   0  version     u32  1
//!   4  crc         u32  CRC-32C of bytes 8 to 1087
//!   8  counter     u64  the slot with the greater one is newer
//!  16  page bytes  u32  the meta pages begin at 0 and here
//!  64  the first 512 bytes of either meta page
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use heed::{RoTxn, WithoutTls};
use tokio::time::Instant;

use super::environment::{Environment, EnvironmentError, META_BYTES};
use crate::limits::{RELAXED_BYTES_MAX, RELAXED_SYNC};

const VERSION: u32 = 1;
const SLOT_BYTES: usize = 4096;
const AT_METAS: usize = 64;
const USED_BYTES: usize = AT_METAS + 2 * META_BYTES;

/// The syncs of a relaxed environment.
pub(super) struct Relaxed {
    file: File,
    counter: u64,
    /// Stays at the commit that was synced last.
    _pin: RoTxn<'static, WithoutTls>,
    unsynced_bytes: u64,
    unsynced_since: Option<Instant>,
}

impl Relaxed {
    /// Syncs what is there; from now on `path` tells of it.
    pub fn begin(environment: &Environment, path: &Path) -> Result<Self, EnvironmentError> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let counter = newest(&file).map_or(0, |slot| slot.counter);
        let pin = keep(environment, &file, counter + 1)?;
        Ok(Self { file, counter: counter + 1, _pin: pin, unsynced_bytes: 0, unsynced_since: None })
    }

    /// Notes a commit that wrote so much.
    pub fn note_commit(&mut self, bytes: u64, now: Instant) {
        self.unsynced_bytes += bytes;
        self.unsynced_since.get_or_insert(now);
    }

    /// When the next sync is due, if there is anything to sync.
    pub fn due_at(&self) -> Option<Instant> {
        let since = self.unsynced_since?;
        Some(if self.unsynced_bytes >= RELAXED_BYTES_MAX { since } else { since + RELAXED_SYNC })
    }

    /// Makes every commit durable; false where all were already.
    pub fn sync(&mut self, environment: &Environment) -> Result<bool, EnvironmentError> {
        if self.unsynced_since.is_none() {
            return Ok(false);
        }
        self._pin = keep(environment, &self.file, self.counter + 1)?;
        self.counter += 1;
        (self.unsynced_bytes, self.unsynced_since) = (0, None);
        Ok(true)
    }
}

/// Syncs the environment and keeps its meta pages; answers the reader that holds on to their commit.
fn keep(
    environment: &Environment,
    file: &File,
    counter: u64,
) -> Result<RoTxn<'static, WithoutTls>, EnvironmentError> {
    environment.sync()?;
    let (page_bytes, metas) = environment.metas()?;
    let mut slot = vec![0; SLOT_BYTES];
    slot[..4].copy_from_slice(&VERSION.to_be_bytes());
    slot[8..16].copy_from_slice(&counter.to_be_bytes());
    slot[16..20].copy_from_slice(&page_bytes.to_be_bytes());
    for (meta, at) in metas.iter().zip([AT_METAS, AT_METAS + META_BYTES]) {
        slot[at..at + META_BYTES].copy_from_slice(meta);
    }
    let crc = crc32c::crc32c(&slot[8..USED_BYTES]);
    slot[4..8].copy_from_slice(&crc.to_be_bytes());
    file.write_all_at(&slot, (counter % 2) * SLOT_BYTES as u64)?;
    file.sync_data()?;
    environment.pin()
}

struct Slot {
    counter: u64,
    page_bytes: u32,
    metas: [Vec<u8>; 2],
}

fn newest(file: &File) -> Option<Slot> {
    [read_slot(file, 0), read_slot(file, 1)].into_iter().flatten().max_by_key(|slot| slot.counter)
}

/// `None` where there is no whole one.
fn read_slot(file: &File, index: u64) -> Option<Slot> {
    let mut slot = [0; USED_BYTES];
    if let Err(error) = file.read_exact_at(&mut slot, index * SLOT_BYTES as u64) {
        if error.kind() != io::ErrorKind::UnexpectedEof {
            tracing::warn!(%error, "what is known of the last sync cannot be read");
        }
        return None;
    }
    let u32_at = |at: usize| slot[at..].first_chunk().copied().map_or(0, u32::from_be_bytes);
    if u32_at(0) != VERSION || u32_at(4) != crc32c::crc32c(&slot[8..]) {
        return None;
    }
    let meta = |at: usize| slot[at..at + META_BYTES].to_vec();
    Some(Slot {
        counter: slot[8..].first_chunk().copied().map_or(0, u64::from_be_bytes),
        page_bytes: u32_at(16),
        metas: [meta(AT_METAS), meta(AT_METAS + META_BYTES)],
    })
}

/// Takes an environment that nobody has open back to the commit that was synced last; false where none is known.
pub(super) fn roll_back(data_file: &Path, path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        result => result?,
    };
    let Some(slot) = newest(&file) else { return Ok(false) };
    let data = File::options().write(true).open(data_file)?;
    data.write_all_at(&slot.metas[0], 0)?;
    data.write_all_at(&slot.metas[1], slot.page_bytes.into())?;
    data.sync_data()?;
    Ok(true)
}
