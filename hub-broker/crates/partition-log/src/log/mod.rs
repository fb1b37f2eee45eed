//! The owner's side of a partition.

mod active;
mod checkpoint;
mod compact;
mod retention;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use schemas::{BatchHeader, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, RawBatch};
use tokio::sync::watch;

use crate::epochs::EpochHistory;
use crate::error::LogError;
use crate::files::{DirtyFile, FileCache, ObsoleteFiles};
use crate::options::LogOptions;
use crate::origin::Origin;
use crate::reader::PartitionReader;
use crate::segment::{SegmentFiles, SegmentView};
use crate::sequence::{Producers, Range, Sent, SequenceError, SequenceVerdict, Streams};
use crate::state::{PartitionState, SegmentState};
use crate::view::{Shared, View};

use active::Active;

/// One partition, owned by the thread that applies its shard's entries.
#[derive(Debug)]
pub struct PartitionLog {
    dir: Arc<Path>,
    options: LogOptions,
    log_start: Offset,
    next_segment_id: u64,
    running_hash: u32,
    epochs: Arc<EpochHistory>,
    closed: Arc<Vec<SegmentView>>,
    active: Active,
    producers: Producers,
    streams: Streams,
    files: FileCache,
    dirty: Vec<DirtyFile>,
    /// Files were created since the last checkpoint, so their names have to be made durable too.
    directory_dirty: bool,
    /// The directory itself is new.
    parent_dirty: bool,
    obsolete: Vec<ObsoleteFiles>,
    poisoned: bool,
    shared: Arc<Shared>,
}

/// What a new log begins with: recovered, or empty.
pub(crate) struct Parts {
    pub dir: Arc<Path>,
    pub state: PartitionState,
    /// One for each segment of the state, in order.
    pub segments: Vec<SegmentView>,
    pub obsolete: Vec<ObsoleteFiles>,
    pub is_new: bool,
}

impl PartitionLog {
    pub(crate) fn from_parts(parts: Parts, files: &FileCache) -> Self {
        let Parts { dir, state, mut segments, obsolete, is_new } = parts;
        let last = segments.pop().expect("a partition always has an active segment");
        let active = Active::new(last.files, last.state);
        let epochs = Arc::new(state.epochs);
        let closed = Arc::new(segments);
        let end = active.end_offset();
        let view = View {
            log_start: state.log_start,
            end,
            epochs: epochs.clone(),
            closed: closed.clone(),
            active: active.view(),
        };
        let high_watermark = watch::Sender::new(end);
        let shared = Shared {
            id: state.id,
            view: ArcSwap::from_pointee(view),
            high_watermark,
            owners: AtomicUsize::new(1),
        };
        Self {
            dir,
            options: state.options,
            log_start: state.log_start,
            next_segment_id: state.next_segment_id,
            running_hash: state.running_hash,
            epochs,
            closed,
            active,
            producers: state.producers,
            streams: state.streams,
            files: files.clone(),
            dirty: Vec::new(),
            directory_dirty: is_new,
            parent_dirty: is_new,
            obsolete,
            poisoned: false,
            shared: Arc::new(shared),
        }
    }

    pub fn id(&self) -> PartitionId {
        self.shared.id
    }

    pub fn options(&self) -> LogOptions {
        self.options
    }

    pub fn configure(&mut self, options: LogOptions) {
        self.options = options;
    }

    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Where the next batch goes, staged ones counted.
    pub fn end_offset(&self) -> Offset {
        self.active.end_offset()
    }

    pub fn reader(&self) -> PartitionReader {
        PartitionReader::new(self.shared.clone())
    }

    /// Goes on under the readers of the partition's earlier log, which lay in another directory: they see this log from
    /// now on. `false`, and nothing has changed, where they would see the high watermark go back.
    #[must_use]
    pub fn take_over(&mut self, readers: &PartitionReader) -> bool {
        let fits = readers.id() == self.id() && readers.high_watermark() <= self.end_offset();
        if fits {
            self.shared = readers.shared().clone();
            self.shared.owners.fetch_add(1, Ordering::AcqRel);
            self.show();
        }
        fits
    }

    /// Whether the batch is the next one of its sender. To be called before every [`append`](Self::append);
    /// staged batches count as stored.
    pub fn check(&self, batch: &RawBatch, origin: &Origin) -> SequenceVerdict {
        let header = batch.header();
        let id = ProducerId(header.producer_id);
        let Some(range) = Range::of(header) else {
            return SequenceVerdict::Refuse(SequenceError::EmptyRange);
        };
        match origin {
            Origin::Agent { device, sent_crc } if schemas::is_stream_id(id) => {
                let sent = Sent { stream: id, range, crc: *sent_crc };
                self.streams.check(device, sent, || is_gap(batch))
            }
            Origin::Kafka | Origin::Hub if id == ProducerId::NONE => SequenceVerdict::Append,
            Origin::Kafka | Origin::Hub if id > ProducerId::NONE && !schemas::is_stream_id(id) => {
                self.producers.check(id, ProducerEpoch(header.producer_epoch), range, self.log_start)
            }
            _ => SequenceVerdict::Refuse(SequenceError::WrongProducerId),
        }
    }

    /// Stages a batch that [`check`](Self::check) let pass and returns its base offset. It is stored with the
    /// next [`publish`](Self::publish). On an error nothing has changed; `NoSpace` means that earlier staged
    /// batches could not be written to make room, and the same call may be made again.
    pub fn append(
        &mut self,
        batch: &RawBatch,
        origin: &Origin,
        epoch: LeaderEpoch,
        stamp_ms: i64,
    ) -> Result<Offset, LogError> {
        self.writable()?;
        let bytes = batch.bytes().len();
        let segment_bytes = self.options.segment_bytes.min(crate::limits::SEGMENT_BYTES_MAX);
        if self.active.is_full_for(bytes, segment_bytes) {
            self.roll()?;
        } else if self.active.must_write_before(bytes) {
            self.publish()?;
        }
        self.note_epoch(epoch)?;
        let base = self.active.stage(batch, epoch, stamp_ms);
        let header = batch.header();
        self.running_hash = crc32c::crc32c_append(self.running_hash, &base.0.to_be_bytes());
        self.running_hash = crc32c::crc32c_append(self.running_hash, &header.crc.to_be_bytes());
        self.note_sender(header, origin, base, stamp_ms);
        Ok(base)
    }

    fn note_sender(&mut self, header: &BatchHeader, origin: &Origin, base: Offset, stamp_ms: i64) {
        let id = ProducerId(header.producer_id);
        let Some(range) = Range::of(header).filter(|_| id > ProducerId::NONE) else {
            return;
        };
        match origin {
            Origin::Agent { device, sent_crc } => {
                let sent = Sent { stream: id, range, crc: *sent_crc };
                if let Some(dropped) = self.streams.appended(device, sent, base) {
                    crate::observe::stream_forgotten();
                    tracing::info!(partition = %self.id(), %device, stream = %dropped, "longest untouched stream forgotten");
                }
            }
            Origin::Kafka | Origin::Hub => {
                self.producers.appended(id, ProducerEpoch(header.producer_epoch), range, base, stamp_ms);
            }
        }
    }

    /// Notes a new leader's epoch from the log's end on, even before it appends anything.
    pub fn begin_epoch(&mut self, epoch: LeaderEpoch) -> Result<(), LogError> {
        self.publish()?;
        self.note_epoch(epoch)?;
        self.show();
        Ok(())
    }

    fn note_epoch(&mut self, epoch: LeaderEpoch) -> Result<(), LogError> {
        match self.epochs.latest() {
            Some(current) if current == epoch => Ok(()),
            Some(current) if current > epoch => Err(LogError::EpochWentBack { given: epoch, current }),
            _ => {
                Arc::make_mut(&mut self.epochs).begin(epoch, self.active.end_offset());
                Ok(())
            }
        }
    }

    /// Writes what is staged and shows it to readers. On `NoSpace` the partial write is cut off again,
    /// everything stays staged, and the call may be made again.
    pub fn publish(&mut self) -> Result<(), LogError> {
        self.writable()?;
        if !self.active.is_staged() {
            return Ok(());
        }
        let written = self.active.write();
        self.directory_dirty |= self.guard(written)?;
        self.show();
        Ok(())
    }

    fn writable(&self) -> Result<(), LogError> {
        if self.poisoned { Err(LogError::Poisoned) } else { Ok(()) }
    }

    /// Any failure but a full disk ends writing.
    fn guard<T>(&mut self, result: Result<T, LogError>) -> Result<T, LogError> {
        self.poisoned |= matches!(result, Err(LogError::Io { .. }));
        result
    }

    /// Replaces what readers see, and wakes those who wait for the high watermark.
    fn show(&self) {
        let active = self.active.view();
        let end = active.state.end_offset;
        self.shared.view.store(Arc::new(View {
            log_start: self.log_start,
            end,
            epochs: self.epochs.clone(),
            closed: self.closed.clone(),
            active,
        }));
        self.shared.high_watermark.send_if_modified(|shown| std::mem::replace(shown, end) != end);
    }

    /// Closes the active segment; one without batches stays.
    pub fn roll(&mut self) -> Result<(), LogError> {
        self.publish()?;
        let written = self.active.write_index();
        self.guard(written)?;
        let old = self.active.view();
        if old.state.batches == 0 {
            return Ok(());
        }
        self.active.take_dirty(&mut self.dirty);
        let state = SegmentState::empty(self.next_segment_id, old.state.end_offset);
        let dir = self.dir.clone();
        let files = SegmentFiles::new(dir, self.files.clone(), state.id, state.base_offset, 0);
        self.next_segment_id += 1;
        Arc::make_mut(&mut self.closed).push(old);
        self.active = Active::new(Arc::new(files), state);
        self.show();
        Ok(())
    }
}

/// Readers may outlive their log.
impl Drop for PartitionLog {
    fn drop(&mut self) {
        self.shared.owners.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Asked only where a data batch would be a fork, so decoding does not matter. What cannot be decoded is none.
fn is_gap(batch: &RawBatch) -> bool {
    let first = batch.records().ok().and_then(|mut records| records.next());
    matches!(first, Some(Ok(record)) if record.header(schemas::headers::GAP).is_some())
}
