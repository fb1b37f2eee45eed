//! The readers' side of a partition.

use bytes::Bytes;
use schemas::{LeaderEpoch, Offset, PartitionId};
use tokio::sync::watch;

use crate::error::{Damage, ReadError};

/// Reads what was published. Cheap to clone, usable from any thread; reading blocks on the disk, so async code
/// calls it from threads of its own.
#[derive(Debug, Clone)]
pub struct PartitionReader;

/// How far a scrub has come.
#[derive(Debug)]
pub struct ScrubStep {
    /// Where to go on; `None` at the end.
    pub next: Option<Offset>,
    pub damage: Option<Damage>,
}

#[allow(unused_variables, clippy::unimplemented)]
impl PartitionReader {
    pub fn id(&self) -> PartitionId {
        unimplemented!()
    }
    pub fn log_start(&self) -> Offset {
        unimplemented!()
    }
    pub fn high_watermark(&self) -> Offset {
        unimplemented!()
    }
    pub fn last_stable_offset(&self) -> Offset {
        unimplemented!()
    }
    /// The latest epoch that wrote or led here; −1 before the first.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        unimplemented!()
    }
    /// Whole batches from the one that holds `from` on, at least one if there is one; empty at the end.
    pub fn read(&self, from: Offset, max_bytes: usize) -> Result<Bytes, ReadError> {
        unimplemented!()
    }
    /// The first record at or after `timestamp_ms` in the log's order, with its timestamp.
    pub fn offset_for_time(&self, timestamp_ms: i64) -> Result<Option<(Offset, i64)>, ReadError> {
        unimplemented!()
    }
    /// The record with the largest timestamp (the first of them), with its timestamp.
    pub fn max_timestamp(&self) -> Result<Option<(Offset, i64)>, ReadError> {
        unimplemented!()
    }
    /// The largest epoch not above `epoch`, and its end offset.
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        unimplemented!()
    }
    /// The high watermark, as it moves.
    pub fn subscribe(&self) -> watch::Receiver<Offset> {
        unimplemented!()
    }
    pub fn size_bytes(&self) -> u64 {
        unimplemented!()
    }
    /// Verifies up to about `max_bytes` from `from` on.
    pub fn scrub(&self, from: Offset, max_bytes: usize) -> Result<ScrubStep, ReadError> {
        unimplemented!()
    }
}
