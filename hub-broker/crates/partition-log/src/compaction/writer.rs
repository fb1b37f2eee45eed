//! Writing the new segments.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use schemas::{BatchHeader, Offset, PLACEMENT_BYTES};

use super::Compaction;
use crate::error::LogError;
use crate::index::{self, IndexEntry};
use crate::names::FileKind;
use crate::segment::{SegmentFiles, SegmentView};
use crate::state::SegmentState;

/// Neighbours are joined while they fit into one segment. A segment whose tombstones still have to stay keeps
/// its own, so that its age is not made younger or older by another's.
pub(super) struct Writer<'a> {
    job: &'a Compaction,
    current: Option<Output>,
    done: Vec<SegmentView>,
}

struct Output {
    files: SegmentFiles,
    state: SegmentState,
    entries: Vec<IndexEntry>,
    /// Made with the first batch: a segment of which nothing is left has no files.
    log: Option<BufWriter<File>>,
}

impl<'a> Writer<'a> {
    pub fn new(job: &'a Compaction) -> Self {
        Self { job, current: None, done: Vec::new() }
    }

    /// What is pushed from now on is left of this segment.
    pub fn begin(&mut self, input: &SegmentState) -> Result<(), LogError> {
        let joins = self.current.as_ref().is_some_and(|output| self.joins(output, input));
        if !joins {
            self.finish()?;
            self.current = Some(self.open(input));
        }
        let output = self.current.as_mut().expect("there is one, or was just made");
        output.state.end_offset = input.end_offset;
        output.state.last_stamp_ms = output.state.last_stamp_ms.max(input.last_stamp_ms);
        Ok(())
    }

    fn joins(&self, output: &Output, input: &SegmentState) -> bool {
        let fits =
            u64::from(output.state.bytes) + u64::from(input.bytes) <= u64::from(self.job.segment_bytes);
        fits && self.job.is_old(output.state.last_stamp_ms) && self.job.is_old(input.last_stamp_ms)
    }

    fn open(&self, input: &SegmentState) -> Output {
        let id = self.job.first_id + self.done.len() as u64;
        let mut state = SegmentState::empty(id, input.base_offset);
        state.first_stamp_ms = input.first_stamp_ms;
        state.last_stamp_ms = input.last_stamp_ms;
        state.compacted = true;
        let files = SegmentFiles::new(self.job.dir.clone(), self.job.files.clone(), id, input.base_offset, 0);
        Output { files, state, entries: Vec::new(), log: None }
    }

    pub fn push(&mut self, batch: &[u8]) -> Result<(), LogError> {
        let output = self.current.as_mut().expect("begin comes first");
        let path = output.files.path(FileKind::Log);
        output.push(batch).map_err(|source| LogError::from_io(&path, source))
    }

    /// Makes the segment that is being written durable.
    pub fn finish(&mut self) -> Result<(), LogError> {
        let Some(output) = self.current.as_mut() else {
            return Ok(());
        };
        let path = output.files.path(FileKind::Log);
        output.sync().map_err(|source| LogError::from_io(&path, source))?;
        self.done.extend(self.current.take().map(Output::into_view));
        Ok(())
    }

    pub fn into_segments(self) -> Vec<SegmentView> {
        self.done
    }

    /// Removes what was written. What cannot be removed now is found by the next start.
    pub fn discard(self) {
        let unfinished = self.current.map(Output::into_view);
        for segment in self.done.into_iter().chain(unfinished) {
            if let Err(error) = segment.files.obsolete().delete() {
                tracing::warn!(%error, "an unfinished compaction's files are left behind");
            }
        }
    }
}

impl Output {
    fn push(&mut self, batch: &[u8]) -> io::Result<()> {
        let header = BatchHeader::parse(batch).map_err(io::Error::other)?;
        let log = match &mut self.log {
            Some(log) => log,
            None => self.log.insert(BufWriter::new(self.files.open_for_write(FileKind::Log, true)?)),
        };
        log.write_all(batch)?;
        let state = &mut self.state;
        let offset = Offset(header.base_offset);
        if state.batches == 0 || header.max_timestamp > state.max_timestamp {
            state.max_timestamp = header.max_timestamp;
            state.max_timestamp_at = offset;
        }
        self.entries.push(IndexEntry {
            offset,
            last_offset_delta: u32::try_from(header.last_offset_delta).map_err(io::Error::other)?,
            position: state.bytes,
            timestamp: state.max_timestamp,
            placement_checksum: crc32c::crc32c(&batch[..PLACEMENT_BYTES]),
        });
        state.bytes += u32::try_from(batch.len()).map_err(io::Error::other)?;
        state.batches += 1;
        state.checksum = crc32c::crc32c_append(state.checksum, batch);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let Some(log) = &mut self.log else {
            return Ok(());
        };
        log.flush()?;
        log.get_ref().sync_all()?;
        let mut index = self.files.open_for_write(FileKind::Index, true)?;
        index.write_all(&index::encode_all(self.state.id, 0, &self.entries))?;
        index.sync_all()
    }

    fn into_view(self) -> SegmentView {
        self.files.tail.write().skip_to(self.state.batches);
        SegmentView { files: Arc::new(self.files), state: self.state }
    }
}
