//! The blocking half of a fetch: which partitions to read next, how much of each, and what was read.
//!
//! A gather survives the waits of a long poll: what was read stays, and only what came since is read after
//! a wake. Partitions share the bytes of an answer evenly, whatever the order of the request, so that one
//! with a long backlog does not starve the others.

use bytes::Bytes;
use partition_log::{PartitionReader, ReadError};
use schemas::{BatchHeader, Offset};

use crate::error::{FetchError, PartitionError};
use crate::limits::{SLICE_BYTES, TAIL_OFFSETS};
use crate::locate::{Located, Role};
use crate::request::{FetchPartition, Fetched, FetchedPartition};

pub(crate) struct Gather {
    slots: Vec<Slot>,
    bytes: usize,
    bytes_max: usize,
}

struct Slot {
    request: FetchPartition,
    /// An error here is the partition's answer.
    source: Result<Located, FetchError>,
    next: Offset,
    bytes: usize,
    chunks: Vec<Bytes>,
    /// The partition has had its share, or its next batch does not fit into this answer or cannot be read.
    full: bool,
}

/// Where the next reads of a gather belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Tail,
    CatchUp,
}

impl Gather {
    pub(crate) fn new(
        partitions: Vec<FetchPartition>,
        bytes_max: usize,
        mut source: impl FnMut(&FetchPartition) -> Result<Located, PartitionError>,
    ) -> Self {
        let slots = partitions.into_iter().map(|request| {
            let source = source(&request).map_err(FetchError::from);
            let source = source.and_then(|located| in_range(&located, request.offset).map(|()| located));
            Slot { source, next: request.offset, request, bytes: 0, chunks: Vec::new(), full: false }
        });
        // Whatever the limit, one batch is given.
        Self { slots: slots.collect(), bytes: 0, bytes_max: bytes_max.max(1) }
    }

    pub(crate) fn readers(&self) -> impl Iterator<Item = &PartitionReader> {
        self.slots.iter().filter_map(|slot| slot.source.as_ref().ok()).map(|located| &located.reader)
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn has_error(&self) -> bool {
        self.slots.iter().any(|slot| slot.source.is_err())
    }

    /// The answer cannot grow any more, however long one waits.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max || self.slots.iter().all(|slot| slot.full)
    }

    /// Gives up partitions that were closed meanwhile, or may not be answered from here any more.
    pub(crate) fn recheck(&mut self, locate: impl Fn(&FetchPartition) -> Result<Located, PartitionError>) {
        for slot in self.slots.iter_mut().filter(|slot| slot.source.is_ok()) {
            if let Err(error) = locate(&slot.request) {
                slot.source = Err(error.into());
            }
        }
    }

    /// Partitions whose reader is beyond what this hub, as the leader, says is their end.
    pub(crate) fn beyond_end(&self) -> impl Iterator<Item = (usize, &FetchPartition)> {
        let is_beyond = |slot: &Slot| match slot.source {
            Err(FetchError::OutOfRange { high_watermark, .. }) => slot.request.offset > high_watermark,
            _ => false,
        };
        let slots = self.slots.iter().enumerate();
        slots.filter(move |(_, slot)| is_beyond(slot)).map(|(at, slot)| (at, &slot.request))
    }

    pub(crate) fn refuse(&mut self, at: usize, error: FetchError) {
        self.slots[at].source = Err(error);
    }

    /// `None` when there is nothing to read just now.
    pub(crate) fn lane(&self) -> Option<Lane> {
        if self.bytes >= self.bytes_max {
            return None;
        }
        let lag = self.slots.iter().filter_map(Slot::lag).max()?;
        Some(if lag <= TAIL_OFFSETS { Lane::Tail } else { Lane::CatchUp })
    }

    /// Reads about a slice. Blocks on the disk.
    pub(crate) fn read_slice(&mut self) {
        let enough = self.bytes.saturating_add(SLICE_BYTES).min(self.bytes_max);
        let mut hungry = self.slots.iter().filter(|slot| slot.lag().is_some()).count();
        for at in 0..self.slots.len() {
            if self.bytes >= enough {
                return;
            }
            if self.slots[at].lag().is_some() {
                let share = (enough - self.bytes) / hungry.max(1);
                self.read_one(at, share);
                hungry = hungry.saturating_sub(1);
            }
        }
    }

    fn read_one(&mut self, at: usize, share: usize) {
        let room = self.bytes_max.saturating_sub(self.bytes);
        let first = self.bytes == 0;
        let slot = &mut self.slots[at];
        let Ok(Located { reader, .. }) = &slot.source else { return };
        let wanted = share.min(slot.request.max_bytes.saturating_sub(slot.bytes));
        let end = reader.high_watermark();
        match reader.read(slot.next, wanted) {
            // Compaction has left nothing up to the end.
            Ok(records) if records.is_empty() => slot.next = slot.next.max(end),
            Ok(records) if !first && !fits(&records, slot, room) => slot.full = true,
            Ok(records) => match end_of(&records) {
                Ok(next) => {
                    self.bytes += records.len();
                    slot.take(records, next);
                }
                Err(error) => slot.source = Err(error),
            },
            // What was read is given; the error meets whoever asks for what comes next.
            Err(_) if !slot.chunks.is_empty() => slot.full = true,
            Err(error) => slot.source = Err(read_error(error)),
        }
    }

    pub(crate) fn finish(self) -> Vec<FetchedPartition> {
        self.slots.into_iter().map(Slot::finish).collect()
    }
}

/// A partition's first batch may exceed that partition's maximum as long as the answer has room for it:
/// otherwise a batch larger than the maximum would never be delivered beside a busy neighbour.
fn fits(records: &Bytes, slot: &Slot, room: usize) -> bool {
    records.len() <= room && (slot.bytes == 0 || slot.bytes + records.len() <= slot.request.max_bytes)
}

impl Slot {
    /// How many offsets there are to read, where there are any.
    fn lag(&self) -> Option<i64> {
        let reader = &self.source.as_ref().ok()?.reader;
        let lag = reader.high_watermark().0 - self.next.0;
        (lag > 0 && !self.full).then_some(lag)
    }

    fn take(&mut self, records: Bytes, next: Offset) {
        self.bytes += records.len();
        self.next = next;
        self.chunks.push(records);
        self.full = self.bytes >= self.request.max_bytes;
    }

    fn finish(self) -> FetchedPartition {
        let records = self.chunks;
        let result = self.source.map(|Located { reader, .. }| Fetched {
            high_watermark: reader.high_watermark(),
            log_start: reader.log_start(),
            records,
        });
        FetchedPartition { partition: self.request.partition, result }
    }
}

fn in_range(Located { reader, role, .. }: &Located, offset: Offset) -> Result<(), FetchError> {
    check_range(*role, offset, reader.log_start(), reader.high_watermark())
}

/// What is deleted is deleted everywhere, but only the leader knows where a partition ends: clients begin anew when
/// they hear that they are out of range.
fn check_range(
    role: Role,
    offset: Offset,
    log_start: Offset,
    high_watermark: Offset,
) -> Result<(), FetchError> {
    if offset > high_watermark && role == Role::Follower {
        return Err(FetchError::NotYetHere { high_watermark });
    }
    if offset < log_start || offset > high_watermark {
        return Err(FetchError::OutOfRange { log_start, high_watermark });
    }
    Ok(())
}

/// The offset after the last batch of `records`.
pub(crate) fn end_of(records: &Bytes) -> Result<Offset, FetchError> {
    let (mut at, mut end) = (0, None);
    while let Some(rest) = records.get(at..).filter(|rest| !rest.is_empty()) {
        let header = BatchHeader::parse(rest).map_err(|error| damaged(error.to_string()))?;
        end = Some(Offset(header.base_offset + header.offset_span()));
        at += header.total_bytes();
    }
    end.ok_or_else(|| damaged("no batch where one should be".to_owned()))
}

fn damaged(why: String) -> FetchError {
    FetchError::Damaged { why, file: None }
}

pub(crate) fn read_error(error: ReadError) -> FetchError {
    match error {
        ReadError::OutOfRange { start, end } => {
            FetchError::OutOfRange { log_start: start, high_watermark: end }
        }
        ReadError::Damaged(damage) => {
            FetchError::Damaged { why: damage.to_string(), file: Some(damage.file) }
        }
        error => FetchError::Disk(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
