//! The segment that is appended to.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use schemas::{LeaderEpoch, Offset, PLACEMENT_BYTES, RawBatch};

use crate::error::LogError;
use crate::files::DirtyFile;
use crate::index::{self, IndexEntry};
use crate::limits::{INDEX_TAIL_ENTRIES_MAX, STAGED_BATCHES_MAX, STAGED_BYTES_MAX};
use crate::names::FileKind;
use crate::segment::{SegmentFiles, SegmentView};
use crate::state::SegmentState;

/// Batches are staged, then written together. `next` describes the segment with what is staged, `written`
/// without; a write that fails for want of space leaves both as they are.
#[derive(Debug)]
pub(super) struct Active {
    files: Arc<SegmentFiles>,
    next: SegmentState,
    written: SegmentState,
    /// Open from the first write after a checkpoint to the next checkpoint.
    handles: Option<Handles>,
    /// Files were created, and no write has said so yet.
    created: bool,
    staged: Vec<Staged>,
    staged_bytes: usize,
    staged_entries: Vec<IndexEntry>,
}

#[derive(Debug)]
struct Handles {
    log: Arc<File>,
    index: Arc<File>,
}

/// The sender's bytes are never copied: the file gets the placement, then the rest of the batch.
#[derive(Debug)]
struct Staged {
    placement: [u8; PLACEMENT_BYTES],
    batch: Bytes,
}

impl Active {
    /// Goes on with a segment that was written as far as `state`.
    pub fn new(files: Arc<SegmentFiles>, state: SegmentState) -> Self {
        Self {
            files,
            next: state,
            written: state,
            handles: None,
            created: false,
            staged: Vec::new(),
            staged_bytes: 0,
            staged_entries: Vec::new(),
        }
    }

    pub fn end_offset(&self) -> Offset {
        self.next.end_offset
    }

    pub fn is_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// What has been written.
    pub fn view(&self) -> SegmentView {
        SegmentView { files: self.files.clone(), state: self.written }
    }

    /// Whether a batch of this length would take the segment beyond its size.
    pub fn is_full_for(&self, bytes: usize, segment_bytes: u32) -> bool {
        self.next.batches > 0 && u64::from(self.next.bytes) + bytes as u64 > u64::from(segment_bytes)
    }

    /// Whether what is staged has to be written before a batch of this length.
    pub fn must_write_before(&self, bytes: usize) -> bool {
        self.is_staged()
            && (self.staged.len() == STAGED_BATCHES_MAX || self.staged_bytes + bytes > STAGED_BYTES_MAX)
    }

    /// Stages a batch at the end and returns its base offset.
    pub fn stage(&mut self, batch: &RawBatch, epoch: LeaderEpoch, stamp_ms: i64) -> Offset {
        let header = batch.header();
        let base = self.next.end_offset;
        let placement = schemas::placement(batch.bytes(), base, epoch);
        let next = &mut self.next;
        if next.batches == 0 {
            next.first_stamp_ms = stamp_ms;
            next.last_stamp_ms = stamp_ms;
        }
        if next.batches == 0 || header.max_timestamp > next.max_timestamp {
            next.max_timestamp = header.max_timestamp;
            next.max_timestamp_at = base;
        }
        self.staged_entries.push(IndexEntry {
            offset: base,
            last_offset_delta: u32::try_from(header.last_offset_delta)
                .expect("checked before it is appended"),
            position: next.bytes,
            timestamp: next.max_timestamp,
            placement_checksum: crc32c::crc32c(&placement),
        });
        next.end_offset = base.plus(header.offset_span());
        next.bytes += u32::try_from(batch.bytes().len()).expect("a batch's length is an i32");
        next.batches += 1;
        let checksum = crc32c::crc32c_append(next.checksum, &placement);
        next.checksum = crc32c::crc32c_append(checksum, &batch.bytes()[PLACEMENT_BYTES..]);
        next.last_stamp_ms = next.last_stamp_ms.max(stamp_ms);
        self.staged_bytes += batch.bytes().len();
        self.staged.push(Staged { placement, batch: batch.bytes().clone() });
        base
    }

    /// Writes what is staged. Returns whether files were created on the way, now or by calls that failed.
    pub fn write(&mut self) -> Result<bool, LogError> {
        if self.staged.is_empty() {
            return Ok(false);
        }
        self.open()?;
        // The index goes first: if there is no space for it, nothing has happened yet.
        if self.files.tail.read().entries().len() + self.staged.len() > INDEX_TAIL_ENTRIES_MAX {
            self.write_index()?;
        }
        let log = &self.handles.as_ref().expect("opened above").log;
        let position = u64::from(self.written.bytes);
        if let Err(source) = write_all(log, &self.staged, position) {
            let path = self.files.path(FileKind::Log);
            log.set_len(position).map_err(|source| LogError::Io { file: path.clone(), source })?;
            return Err(LogError::from_io(&path, source));
        }
        self.files.tail.write().extend(&mut self.staged_entries);
        self.written = self.next;
        self.staged.clear();
        self.staged_bytes = 0;
        Ok(std::mem::take(&mut self.created))
    }

    /// Brings the index file up to what has been written.
    pub fn write_index(&mut self) -> Result<(), LogError> {
        let (first, bytes) = {
            let tail = self.files.tail.read();
            if tail.entries().is_empty() {
                return Ok(());
            }
            (tail.first(), index::encode_all(self.files.id, tail.first(), tail.entries()))
        };
        self.open()?;
        let position = if first == 0 { 0 } else { index::position_of(first) };
        let index = &self.handles.as_ref().expect("opened above").index;
        index
            .write_all_at(&bytes, position)
            .map_err(|source| LogError::from_io(&self.files.path(FileKind::Index), source))?;
        self.files.tail.write().written();
        Ok(())
    }

    fn open(&mut self) -> Result<(), LogError> {
        if self.handles.is_some() {
            return Ok(());
        }
        let fresh = self.written.bytes == 0;
        let open = |kind| {
            let file = self.files.open_for_write(kind, fresh);
            file.map(Arc::new).map_err(|source| LogError::from_io(&self.files.path(kind), source))
        };
        self.handles = Some(Handles { log: open(FileKind::Log)?, index: open(FileKind::Index)? });
        self.created |= fresh;
        Ok(())
    }

    /// What was written since the last call, with the handles it was written through.
    pub fn take_dirty(&mut self, out: &mut Vec<DirtyFile>) {
        if let Some(Handles { log, index }) = self.handles.take() {
            out.push(DirtyFile::file(log, self.files.path(FileKind::Log)));
            out.push(DirtyFile::file(index, self.files.path(FileKind::Index)));
        }
    }
}

/// One vectored write, and further ones for what the kernel did not take at once.
fn write_all(file: &File, staged: &[Staged], mut position: u64) -> io::Result<()> {
    let mut slices = Vec::with_capacity(2 * staged.len());
    for Staged { placement, batch } in staged {
        slices.push(IoSlice::new(placement));
        slices.push(IoSlice::new(&batch[PLACEMENT_BYTES..]));
    }
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match rustix::io::pwritev(file, left, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
