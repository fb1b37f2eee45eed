//! What keeps an entry from being sent.

use schemas::device_partition;
use schemas::headers::StreamStartReason;

use super::lane::{Lane, Obstacle};
use super::shared::Shared;
use crate::buffer::{Amendment, Content, Item};

impl Lane {
    /// What keeps the next entry from being sent.
    pub(super) fn obstacle(&self, item: &Item, partition_count: i32, shared: &Shared) -> Obstacle {
        let number = item.number;
        match &item.content {
            Content::Damaged => return Obstacle::Amend(Amendment::Repair { lane: self.id, number }),
            Content::Untimed { boot } => {
                let Some(connection) = &shared.connection else { return Obstacle::Wait };
                if *boot == shared.boot && shared.now_ms < shared.untimed_at_ms(connection) {
                    return Obstacle::Wait;
                }
                let arrival_ms = shared.arrival_ms;
                let (lane, boot) = (self.id, *boot);
                return Obstacle::Amend(Amendment::MarkUntimed { lane, number, boot, arrival_ms });
            }
            Content::Batch(bytes) | Content::Gap(bytes) => {
                if bytes.len() > shared.payload_bytes_max() {
                    return Obstacle::TooLarge(bytes.len());
                }
            }
        }
        if !item.is_continuous {
            return Obstacle::Amend(Amendment::Repair { lane: self.id, number });
        }
        match item.placement.partition {
            Some(partition) if partition.0 < partition_count => return Obstacle::None,
            // Partitions are never taken away: this is another topic of the same name, which knows no stream.
            Some(_) => {
                let reason = StreamStartReason::Forgotten;
                return Obstacle::Amend(Amendment::Move { lane: self.id, number, whole: true, reason });
            }
            None => {}
        }
        // The stream before it leaves the buffer before this one begins: its partition is forgotten then.
        if self.first < number {
            return Obstacle::Trim;
        }
        let partition = device_partition(&shared.device, partition_count);
        let (stored, stream) = (item.stored, item.placement.stream);
        Obstacle::Amend(Amendment::Begin { lane: self.id, stored, stream, partition })
    }
}
