//! Offsets by position and by time, and where a leader epoch ended.

use metadata::Principal;
use partition_log::PartitionReader;
use schemas::{LeaderEpoch, Offset, PartitionId};

use crate::Fetch;
use crate::error::FetchError;
use crate::gather::read_error;
use crate::locate::{Located, as_told, locate};
use crate::pool::Stopped;
use crate::request::Replica;

/// Which offset is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first offset that is still stored.
    Earliest,
    /// The offset that the next record will have.
    Latest,
    /// The record with the greatest timestamp (KIP-734).
    MaxTimestamp,
    /// The first record that is not older than this, in ms since 1970.
    Time(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedOffset {
    pub offset: Offset,
    /// The record's time in ms since 1970; −1 where the question was not about time.
    pub timestamp_ms: i64,
    pub leader_epoch: LeaderEpoch,
}

impl Fetch {
    /// The leader alone says. `None` when no record matches.
    pub async fn list_offset(
        &self,
        _principal: &Principal,
        partition: PartitionId,
        current_leader_epoch: Option<LeaderEpoch>,
        wanted: OffsetSpec,
    ) -> Result<Option<ListedOffset>, FetchError> {
        let Located { reader, .. } =
            locate(&self.inner.metadata, partition, current_leader_epoch, Replica::Leader)?;
        let leader_epoch = reader.leader_epoch();
        let listed = |(offset, timestamp_ms)| ListedOffset { offset, timestamp_ms, leader_epoch };
        let found = match wanted {
            OffsetSpec::Earliest => Some((reader.log_start(), -1)),
            OffsetSpec::Latest => Some((reader.high_watermark(), -1)),
            OffsetSpec::MaxTimestamp => self.blocking(reader, PartitionReader::max_timestamp).await?,
            OffsetSpec::Time(at_ms) => {
                self.blocking(reader, move |reader| reader.offset_for_time(at_ms)).await?
            }
        };
        Ok(found.map(listed))
    }

    /// Where the newest epoch that is not above `epoch` ends: a client compares it with its own position
    /// to learn whether what it read was taken back (KIP-320). The leader alone says.
    pub fn end_of_epoch(
        &self,
        _principal: &Principal,
        partition: PartitionId,
        current_leader_epoch: Option<LeaderEpoch>,
        epoch: LeaderEpoch,
    ) -> Result<Option<(LeaderEpoch, Offset)>, FetchError> {
        let Located { reader, .. } =
            locate(&self.inner.metadata, partition, current_leader_epoch, Replica::Leader)?;
        Ok(reader.epoch_end(epoch))
    }

    /// A look-up by time may have to read a cold index, so it queues with the catch-up readers.
    async fn blocking<T: Send + 'static>(
        &self,
        reader: PartitionReader,
        read: impl FnOnce(&PartitionReader) -> Result<T, partition_log::ReadError> + Send + 'static,
    ) -> Result<T, FetchError> {
        let partition = reader.id();
        match self.inner.catch_up.run(move || read(&reader)).await {
            Ok(found) => found.map_err(|error| as_told(&self.inner.metadata, partition, read_error(error))),
            Err(Stopped) => Err(FetchError::Stopped),
        }
    }
}
