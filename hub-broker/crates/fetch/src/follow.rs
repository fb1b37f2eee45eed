//! The tail of one partition, for subscribers that take every committed batch as it comes.
//!
//! A follower pulls: it holds no task and no queue, only a position and a watch on the high watermark. Who
//! does not call `next` costs nothing and loses nothing that retention keeps.

use bytes::Bytes;
use metadata::Principal;
use partition_log::{PartitionReader, ReadError};
use schemas::{Offset, PartitionId};
use thiserror::Error;
use tokio::sync::watch;

use crate::Fetch;
use crate::error::{FetchError, PartitionError};
use crate::gather::{end_of, read_error};
use crate::limits::FOLLOW_BYTES;
use crate::locate::locate;

/// Where a follower begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowFrom {
    /// With what is committed from now on.
    End,
    /// With the batch that holds this offset.
    At(Offset),
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FollowError {
    /// Retention was faster than the follower. The next call goes on at `log_start`.
    #[error("the records before offset {log_start} are no longer stored")]
    Skipped { log_start: Offset },
    /// The partition was closed. No call will succeed any more.
    #[error("the partition was closed")]
    Closed,
    /// The position stays, so a retry may help, except for damage.
    #[error(transparent)]
    Read(#[from] FetchError),
}

pub struct Follow {
    fetch: Fetch,
    reader: PartitionReader,
    high_watermark: watch::Receiver<Offset>,
    next: Offset,
}

impl Fetch {
    pub fn follow(
        &self,
        _principal: &Principal,
        partition: PartitionId,
        from: FollowFrom,
    ) -> Result<Follow, PartitionError> {
        let reader = locate(&self.inner.metadata, partition, None)?;
        let high_watermark = reader.subscribe();
        let next = match from {
            FollowFrom::End => reader.high_watermark(),
            FollowFrom::At(offset) => offset,
        };
        Ok(Follow { fetch: self.clone(), reader, high_watermark, next })
    }
}

impl Follow {
    /// The offset after the last batch that was given out.
    pub fn position(&self) -> Offset {
        self.next
    }

    /// Waits for the high watermark to move, and for the partition's end: a reader of a closed one would wait
    /// for ever.
    async fn more(&mut self) -> Result<(), FollowError> {
        let metadata = &self.fetch.inner.metadata;
        let mut topics = metadata.subscribe();
        loop {
            if locate(metadata, self.reader.id(), None).is_err() {
                return Err(FollowError::Closed);
            }
            tokio::select! {
                moved = self.high_watermark.changed() => return moved.map_err(|_| FollowError::Closed),
                changed = topics.changed() => changed.map_err(|_| FollowError::Closed)?,
            }
        }
    }

    /// The next committed batches, one or more, back to back. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Bytes, FollowError> {
        loop {
            let end = *self.high_watermark.borrow_and_update();
            if end <= self.next {
                self.more().await?;
                continue;
            }
            let (reader, from) = (self.reader.clone(), self.next);
            let read = self.fetch.inner.tail.run(move || reader.read(from, FOLLOW_BYTES)).await;
            match read.map_err(|_| FetchError::Stopped)? {
                // Compaction has left nothing up to the end.
                Ok(records) if records.is_empty() => self.next = end,
                Ok(records) => {
                    self.next = end_of(&records)?;
                    return Ok(records);
                }
                Err(ReadError::OutOfRange { start, .. }) => {
                    self.next = start;
                    return Err(FollowError::Skipped { log_start: start });
                }
                Err(error) => return Err(read_error(error).into()),
            }
        }
    }
}
