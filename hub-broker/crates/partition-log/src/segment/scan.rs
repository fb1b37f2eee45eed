//! Reading a segment from its beginning without its index, to make the index again.

use std::fs::File;
use std::io::{self, BufReader, Read};

use schemas::{BATCH_HEADER_BYTES, BatchHeader, LeaderEpoch, Offset, PLACEMENT_BYTES};

use super::check::check_batch;
use super::files::SegmentFiles;
use crate::epochs::EpochHistory;
use crate::error::{Damage, DamageKind, ReadError};
use crate::index::IndexEntry;
use crate::names::FileKind;
use crate::state::SegmentState;

const READ_BUFFER_BYTES: usize = 256 << 10;

/// The entries up to the end, or up to the first damaged batch.
#[derive(Debug)]
pub(crate) struct Scan {
    pub entries: Vec<IndexEntry>,
    pub damage: Option<Damage>,
}

/// Walks the batches that `state` says are there. The bytes that a batch's CRC leaves out are held against the
/// offsets before it and the history of epochs, which is all that they were made from.
pub(crate) fn scan(
    files: &SegmentFiles,
    state: &SegmentState,
    epochs: &EpochHistory,
) -> Result<Scan, ReadError> {
    let path = files.path(FileKind::Log);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            let damage = Some(files.damage(FileKind::Log, 0, DamageKind::FileMissing));
            return Ok(Scan { entries: Vec::new(), damage });
        }
        Err(source) => return Ok(Scan { entries: Vec::new(), damage: Some(lost(files, 0, source)?) }),
    };
    let mut walk = Walk {
        input: BufReader::with_capacity(READ_BUFFER_BYTES, file),
        state,
        epochs,
        position: 0,
        next_offset: state.base_offset,
        timestamp: i64::MIN,
        batch: Vec::new(),
    };
    let mut entries = Vec::with_capacity(state.batches as usize);
    while walk.position < state.bytes {
        match walk.next() {
            Ok(entry) => entries.push(entry),
            Err(WalkError::Damaged(what)) => {
                let damage = Some(files.damage(FileKind::Log, u64::from(walk.position), what));
                return Ok(Scan { entries, damage });
            }
            Err(WalkError::Io(source)) => {
                return Ok(Scan { entries, damage: Some(lost(files, walk.position, source)?) });
            }
        }
    }
    Ok(Scan { entries, damage: None })
}

/// The damage that a failed read shows, if it shows any.
fn lost(files: &SegmentFiles, position: u32, source: io::Error) -> Result<Damage, ReadError> {
    match files.failed(FileKind::Log, u64::from(position), source) {
        ReadError::Damaged(damage) => Ok(damage),
        error => Err(error),
    }
}

struct Walk<'a> {
    input: BufReader<File>,
    state: &'a SegmentState,
    epochs: &'a EpochHistory,
    position: u32,
    next_offset: Offset,
    timestamp: i64,
    batch: Vec<u8>,
}

enum WalkError {
    Damaged(DamageKind),
    Io(io::Error),
}

impl From<DamageKind> for WalkError {
    fn from(what: DamageKind) -> Self {
        Self::Damaged(what)
    }
}

impl Walk<'_> {
    fn next(&mut self) -> Result<IndexEntry, WalkError> {
        self.fill(BATCH_HEADER_BYTES)?;
        let header = BatchHeader::parse(&self.batch).map_err(|_| DamageKind::BatchShape)?;
        let total = header.total_bytes();
        let left = self.state.bytes - self.position;
        if total > left as usize {
            return Err(DamageKind::BatchShape.into());
        }
        self.fill(total)?;
        let offset = Offset(header.base_offset);
        let epoch = LeaderEpoch(header.partition_leader_epoch);
        if !self.follows(offset, header.offset_span()) || self.epochs.epoch_at(offset) != Some(epoch) {
            return Err(DamageKind::PlacementChecksum.into());
        }
        let entry = IndexEntry {
            offset,
            last_offset_delta: u32::try_from(header.last_offset_delta).map_err(|_| DamageKind::BatchShape)?,
            position: self.position,
            timestamp: self.timestamp.max(header.max_timestamp),
            placement_checksum: crc32c::crc32c(&self.batch[..PLACEMENT_BYTES]),
        };
        check_batch(&self.batch, &entry)?;
        self.position += u32::try_from(total).expect("not more than the segment has left");
        self.next_offset = entry.end_offset();
        self.timestamp = entry.timestamp;
        self.batch.clear();
        Ok(entry)
    }

    fn follows(&self, offset: Offset, span: i64) -> bool {
        let in_order =
            if self.state.compacted { offset >= self.next_offset } else { offset == self.next_offset };
        in_order && offset.0.checked_add(span).is_some_and(|end| end <= self.state.end_offset.0)
    }

    /// Reads on until `batch` has `length` bytes.
    fn fill(&mut self, length: usize) -> Result<(), WalkError> {
        let have = self.batch.len();
        self.batch.resize(length, 0);
        self.input.read_exact(&mut self.batch[have..]).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                let actual_bytes = u64::from(self.position);
                let expected_bytes = u64::from(self.state.bytes);
                WalkError::Damaged(DamageKind::Truncated { expected_bytes, actual_bytes })
            }
            _ => WalkError::Io(error),
        })
    }
}
