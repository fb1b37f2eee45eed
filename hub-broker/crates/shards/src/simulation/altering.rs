//! A change of what a simulated disk holds that no checksum tells: only other replicas can.

use bytes::Bytes;
use schemas::PLACEMENT_BYTES;
use wal::GroupId;
use wal::simulation::SimDisk;

use super::hub::Hub;
use crate::entry::{Command, EntryBuilder, EntryReader};

/// Where a batch's header has the CRC-32C of all that follows its attributes.
const CRC: std::ops::Range<usize> = PLACEMENT_BYTES - 4..PLACEMENT_BYTES;

impl Hub {
    /// The last entry whose effect the group's newest checkpoint holds.
    pub fn checkpointed(&self, group: u32) -> u64 {
        let newest = self.stores[group as usize].newest().ok().flatten();
        newest.map_or(0, |loaded| loaded.position.applied)
    }
}

/// Changes the last record of a batch in one of the group's entries behind `after`, up to `through`, in the log on this
/// disk. Says which entry it was.
pub fn alter(disk: &SimDisk, group: u32, after: u64, through: u64) -> Option<u64> {
    disk.alter(GroupId(group), after, through, altered)
}

/// `None` where the entry has no batch.
fn altered(payload: &Bytes) -> Option<Bytes> {
    let mut commands = EntryReader::new(payload.clone()).ok()?;
    let mut entry = EntryBuilder::new(commands.stamp_ms(), payload.len());
    let mut is_altered = false;
    while let Some(mut command) = commands.next().ok()? {
        if let Command::Append(append) = &mut command
            && !is_altered
        {
            append.batch = with_another_value(&append.batch)?;
            is_altered = true;
        }
        entry.push(&command);
    }
    is_altered.then(|| entry.finish())
}

/// The last byte of the last value is another: behind it is only the number of headers, which is 0.
fn with_another_value(batch: &Bytes) -> Option<Bytes> {
    let mut batch = batch.to_vec();
    let at = batch.len().checked_sub(2).filter(|at| *at >= CRC.end)?;
    batch[at] ^= 1;
    let crc = crc32c::crc32c(&batch[CRC.end..]);
    batch[CRC].copy_from_slice(&crc.to_be_bytes());
    Some(batch.into())
}
