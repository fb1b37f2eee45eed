//! From a partition's identity to its reader, or to the reason why there is none.

use metadata::Metadata;
use partition_log::PartitionReader;
use schemas::{LeaderEpoch, PartitionId};

use crate::error::PartitionError;

pub(crate) fn locate(
    metadata: &Metadata,
    partition: PartitionId,
    client_epoch: Option<LeaderEpoch>,
) -> Result<PartitionReader, PartitionError> {
    let view = metadata.view();
    let topic = view.topic_by_id(partition.topic).ok_or(PartitionError::UnknownTopic)?;
    let index = usize::try_from(partition.index.0).map_err(|_| PartitionError::UnknownPartition)?;
    if index >= topic.partitions.len() {
        return Err(PartitionError::UnknownPartition);
    }
    let reader = metadata.shards().partition(partition).ok_or(PartitionError::NotOpen)?;
    check_epoch(client_epoch, reader.leader_epoch())?;
    Ok(reader)
}

/// KIP-320: a client that names the epoch it believes in must not be answered from another.
fn check_epoch(client: Option<LeaderEpoch>, current: LeaderEpoch) -> Result<(), PartitionError> {
    match client {
        Some(epoch) if epoch < current => Err(PartitionError::FencedEpoch { current }),
        Some(epoch) if epoch > current => Err(PartitionError::UnknownEpoch { current }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_with_another_epoch_is_told_the_current_one() {
        let current = LeaderEpoch(4);
        assert_eq!(check_epoch(None, current), Ok(()));
        assert_eq!(check_epoch(Some(LeaderEpoch(4)), current), Ok(()));
        assert_eq!(check_epoch(Some(LeaderEpoch(3)), current), Err(PartitionError::FencedEpoch { current }));
        assert_eq!(check_epoch(Some(LeaderEpoch(5)), current), Err(PartitionError::UnknownEpoch { current }));
    }
}
