//! A change of what a simulated disk holds that no checksum tells: only other replicas can.

use bytes::Bytes;
use schemas::PLACEMENT_BYTES;
use wal::{Frame, GroupId};

use super::hub::Hub;
use super::journal::Journal;
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

impl Journal {
    /// Changes the last record of a batch in one of the group's entries behind `after`, up to `through`. Says which
    /// entry it was.
    pub fn alter(&mut self, group: u32, after: u64, through: u64) -> Option<u64> {
        // Of several frames for one entry the last counts.
        let mut seen = Vec::new();
        for (_, frame) in self.frames.iter_mut().rev() {
            if let Frame::Entry { group: GroupId(of), index, payload, .. } = frame
                && *of == group
                && (after + 1..=through).contains(index)
                && !seen.contains(index)
            {
                seen.push(*index);
                if let Some(altered) = altered(payload) {
                    *payload = altered;
                    return Some(*index);
                }
            }
        }
        None
    }
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
