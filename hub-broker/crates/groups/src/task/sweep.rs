//! Tombstones: for offsets that have expired or lost their topic, for groups that hold nothing, for deleted ones.

use schemas::Offset;

use super::{GroupTask, Reply, Written};
use crate::error::{CoordinatorError, DeleteGroupError};
use crate::offsets::NamedPartition;
use crate::offsets_log::{Record, WriteError};
use crate::records::Key;

/// Tombstones that are being written.
pub(super) struct Tombstones {
    offsets: Vec<NamedPartition>,
    /// Nothing of the group is left afterwards.
    ends_group: bool,
    reply: Option<Reply<Result<(), DeleteGroupError>>>,
}

impl GroupTask {
    /// Nothing is being written when this is called, so no commit can be swept away unseen.
    pub(super) fn sweep(&mut self) {
        let now = self.context.now();
        let mut offsets = Vec::new();
        if !self.context.is_clock_held() {
            offsets = self.offsets.expired(&self.group, now.wall_ms, self.context.offsets_retention_ms());
        }
        for orphan in self.offsets.orphaned(&self.context.view()) {
            if !offsets.contains(&orphan) {
                offsets.push(orphan);
            }
        }
        let ends_group = self.group.is_deserted() && offsets.len() == self.offsets.len();
        if offsets.is_empty() && !ends_group {
            return;
        }
        tracing::info!(group = %self.id, offsets = offsets.len(), ends_group, "offsets expired");
        self.write_tombstones(Tombstones { offsets, ends_group, reply: None });
    }

    /// The group is empty, and nothing is being written.
    pub(super) fn delete(&mut self, reply: Reply<Result<(), DeleteGroupError>>) {
        let offsets = self.offsets.partitions();
        self.write_tombstones(Tombstones { offsets, ends_group: true, reply: Some(reply) });
    }

    fn write_tombstones(&mut self, tombstones: Tombstones) {
        let offset = |(topic, partition): &NamedPartition| {
            let (group, topic) = (self.id.clone(), topic.clone());
            Key::Offset { group, topic, partition: *partition }
        };
        let mut keys: Vec<Key> = tombstones.offsets.iter().map(offset).collect();
        if tombstones.ends_group && self.is_stored {
            keys.push(Key::Group { group: self.id.clone() });
        }
        let tombstone = |key: &Key| Record { key: key.encode(), value: None, topic: None };
        let records: Vec<_> = keys.iter().map(tombstone).collect();
        if records.is_empty() {
            return self.tombstones_written(tombstones, Ok(Vec::new()));
        }
        self.is_ending = tombstones.ends_group;
        let write = self.log.write(&records, self.context.now().wall_ms);
        self.writes.push(Box::pin(async move { Written::Tombstones { tombstones, result: write.await } }));
    }

    pub(super) fn tombstones_written(
        &mut self,
        tombstones: Tombstones,
        result: Result<Vec<Offset>, WriteError>,
    ) {
        self.is_ending = false;
        let answer = match result {
            Ok(stored) => {
                for (partition, stored_at) in tombstones.offsets.iter().zip(stored) {
                    self.offsets.remove(partition, stored_at);
                }
                if tombstones.ends_group {
                    self.group.bury(self.context.now());
                }
                Ok(())
            }
            Err(error) => {
                tracing::warn!(group = %self.id, %error, "tombstones were not stored");
                Err(match error {
                    WriteError::NotCoordinator => CoordinatorError::NotCoordinator,
                    WriteError::TooLarge | WriteError::Append(_) => CoordinatorError::NotAvailable,
                }
                .into())
            }
        };
        if let Some(reply) = tombstones.reply {
            let _ = reply.send(answer);
        }
    }
}
