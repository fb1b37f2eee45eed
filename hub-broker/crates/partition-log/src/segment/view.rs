//! A segment as far as it has been published: exact look-ups, and reads that verify every byte.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use schemas::{Offset, RawBatch};

use super::check::check_batch;
use super::files::SegmentFiles;
use super::scan::{Scan, scan};
use crate::epochs::EpochHistory;
use crate::error::{Damage, DamageKind, ReadError};
use crate::index::{self, IndexEntry};
use crate::limits::INDEX_BLOCK_ENTRIES;
use crate::names::FileKind;
use crate::state::SegmentState;

#[derive(Debug, Clone)]
pub(crate) struct SegmentView {
    pub files: Arc<SegmentFiles>,
    pub state: SegmentState,
}

impl SegmentView {
    /// How many entries come before the first that does not satisfy `before`; entries must be ordered by it.
    pub fn bisect(&self, before: impl Fn(&IndexEntry) -> bool) -> Result<u32, ReadError> {
        let (mut low, mut high) = (0, self.state.batches);
        let mut entries = Vec::new();
        while high - low > INDEX_BLOCK_ENTRIES {
            let middle = low + (high - low) / 2;
            entries.clear();
            self.files.read_index(middle, 1, &mut entries)?;
            if before(&entries[0]) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        while low < high {
            entries.clear();
            self.files.read_index(low, high - low, &mut entries)?;
            let count = entries.partition_point(&before);
            low += u32::try_from(count).expect("at most one block");
            if count < entries.len() {
                break;
            }
        }
        Ok(low)
    }

    /// The number of the batch that holds `offset`, or in a compacted segment of the next one.
    pub fn find(&self, offset: Offset) -> Result<u32, ReadError> {
        self.bisect(|entry| entry.end_offset() <= offset)
    }

    pub fn entry(&self, number: u32) -> Result<IndexEntry, ReadError> {
        let mut entries = Vec::with_capacity(1);
        self.files.read_index(number, 1, &mut entries)?;
        Ok(entries[0])
    }

    /// Entries of the batches from `number` on that end at most `max_bytes` behind its beginning, but at least
    /// one; with the position behind the last of them.
    fn run(&self, number: u32, max_bytes: usize) -> Result<(Vec<IndexEntry>, u32), ReadError> {
        let mut entries: Vec<IndexEntry> = Vec::new();
        let mut next = number;
        // A read of one batch needs one entry more; the longer the run, the larger the pieces.
        let mut block = 2;
        while next < self.state.batches {
            self.files.read_index(next, block.min(self.state.batches - next), &mut entries)?;
            block = (block * 4).min(INDEX_BLOCK_ENTRIES);
            next = number + u32::try_from(entries.len()).expect("not more than the segment has");
            let limit = u64::from(entries[0].position) + max_bytes as u64;
            // An entry ends where the next begins: those that begin behind the limit only bound their forerunner.
            let within = entries.partition_point(|entry| u64::from(entry.position) <= limit);
            if within < entries.len() {
                let keep = (within - 1).max(1);
                let end = entries[keep].position;
                entries.truncate(keep);
                return Ok((entries, end));
            }
        }
        let fits = entries
            .first()
            .is_none_or(|first| u64::from(self.state.bytes - first.position) <= max_bytes as u64);
        let mut end = self.state.bytes;
        if !fits && entries.len() > 1 {
            end = entries.pop().map_or(end, |last| last.position);
        }
        Ok((entries, end))
    }

    /// Whole verified batches from number `number` on, at least one. What comes before a damaged one is served.
    pub fn read(&self, number: u32, max_bytes: usize) -> Result<Bytes, ReadError> {
        let (entries, end) = self.run(number, max_bytes)?;
        let Some(first) = entries.first() else {
            return Ok(Bytes::new());
        };
        let start = first.position;
        let bytes = match self.read_span(start, end) {
            // The first batch may lie before what cannot be read.
            Err(_) if entries.len() > 1 => return self.read(number, 0),
            result => result?,
        };
        let ends = entries.iter().skip(1).map(|entry| entry.position).chain([end]);
        for (entry, batch_end) in entries.iter().zip(ends) {
            let (from, to) = ((entry.position - start) as usize, (batch_end - start) as usize);
            if let Err(what) = check_batch(&bytes[from..to], entry) {
                return match from {
                    0 => Err(self.files.damage(FileKind::Log, u64::from(entry.position), what).into()),
                    _ => Ok(bytes.slice(..from)),
                };
            }
        }
        Ok(bytes)
    }

    fn read_span(&self, start: u32, end: u32) -> Result<Bytes, ReadError> {
        let length = end.checked_sub(start).ok_or_else(|| self.bad_shape(start))?;
        self.files.read_log(start, length as usize)
    }

    fn bad_shape(&self, position: u32) -> Damage {
        self.files.damage(FileKind::Log, u64::from(position), DamageKind::BatchShape)
    }

    pub fn is_index(&self, file: &Path) -> bool {
        file == self.files.path(FileKind::Index)
    }

    /// Makes the index again in place, as far as the segment's own bytes are good. Entries follow from the
    /// segment alone, so a writer that appends to the same file writes the same bytes.
    pub fn rebuild_index(&self, epochs: &EpochHistory) -> Result<Option<Damage>, ReadError> {
        let Scan { entries, damage } = scan(&self.files, &self.state, epochs)?;
        if damage.as_ref().is_some_and(|damage| damage.what == DamageKind::FileMissing) {
            return Ok(damage);
        }
        let bytes = index::encode_all(self.files.id, 0, &entries);
        let path = self.files.path(FileKind::Index);
        let write = |file: File| file.write_all_at(&bytes, 0);
        let written = self.files.open_for_write(FileKind::Index, false).and_then(write);
        written.map_err(|source| ReadError::Io { file: path, source })?;
        self.files.forget(FileKind::Index);
        Ok(damage)
    }

    /// One verified batch.
    pub fn batch(&self, number: u32) -> Result<RawBatch, ReadError> {
        let bytes = self.read(number, 0)?;
        let position = self.entry(number)?.position;
        RawBatch::parse(bytes).map_err(|_| self.bad_shape(position).into())
    }

    /// Runs `read`; if the index is what is damaged, makes it again from the segment and runs `read` once more.
    pub fn with_good_index<T>(
        &self,
        epochs: &EpochHistory,
        read: impl Fn() -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        match read() {
            Err(ReadError::Damaged(damage)) if self.is_index(&damage.file) => {
                match self.rebuild_index(epochs)? {
                    // Both files are gone: the segment may have been dropped since the reader took its view.
                    Some(gone) if gone.what == DamageKind::FileMissing => return Err(gone.into()),
                    _ => self.files.damaged(&damage),
                }
                read()
            }
            result => result,
        }
    }
}
