//! What one group has committed. Only what is durable stands here.

use std::collections::BTreeMap;

use metadata::View;
use schemas::{Offset, PartitionIndex, TopicId, TopicName};

use crate::api::CommittedOffset;
use crate::group::Group;
use crate::state::GroupState;

/// A partition by its topic's name, as consumers know it.
pub(crate) type NamedPartition = (TopicName, PartitionIndex);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) committed: CommittedOffset,
    /// Which topic of that name it was. An offset must not outlive its topic into another of the same name.
    pub(crate) topic: TopicId,
    /// Where the commit lies in the offsets topic: of two, the later one counts, whichever was answered first.
    pub(crate) stored_at: Offset,
}

#[derive(Debug, Default)]
pub(crate) struct Offsets {
    entries: BTreeMap<NamedPartition, Entry>,
}

impl Offsets {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is committed, if the partition's topic is still the one that it was committed for.
    pub(crate) fn get(&self, partition: &NamedPartition, view: &View) -> Option<&CommittedOffset> {
        let entry = self.entries.get(partition)?;
        is_alive(partition, entry, view).then_some(&entry.committed)
    }

    pub(crate) fn contains(&self, partition: &NamedPartition) -> bool {
        self.entries.contains_key(partition)
    }

    pub(crate) fn iter(&self, view: &View) -> impl Iterator<Item = (&NamedPartition, &CommittedOffset)> {
        let alive = self.entries.iter().filter(|(partition, entry)| is_alive(partition, entry, view));
        alive.map(|(partition, entry)| (partition, &entry.committed))
    }

    pub(crate) fn partitions(&self) -> Vec<NamedPartition> {
        self.entries.keys().cloned().collect()
    }

    pub(crate) fn put(&mut self, partition: NamedPartition, entry: Entry) {
        let is_later = self.entries.get(&partition).is_none_or(|known| known.stored_at <= entry.stored_at);
        if is_later {
            self.entries.insert(partition, entry);
        }
    }

    /// The tombstone at `stored_at` is durable.
    pub(crate) fn remove(&mut self, partition: &NamedPartition, stored_at: Offset) {
        if self.entries.get(partition).is_some_and(|entry| entry.stored_at <= stored_at) {
            self.entries.remove(partition);
        }
    }

    /// Offsets of topics that are no more.
    pub(crate) fn orphaned(&self, view: &View) -> Vec<NamedPartition> {
        let gone = self.entries.iter().filter(|(partition, entry)| !is_alive(partition, entry, view));
        gone.map(|(partition, _)| partition.clone()).collect()
    }

    /// Offsets that `offsets.retention.minutes` has passed over (KIP-211): counted from when the group became
    /// empty, or from the commit where the group never had members. A group with members keeps what it has.
    pub(crate) fn expired(&self, group: &Group, wall_ms: i64, retention_ms: i64) -> Vec<NamedPartition> {
        let base = match (group.protocol_type(), group.state()) {
            (None, _) => None,
            (Some(_), GroupState::Empty) => Some(group.state_since_ms()),
            _ => return Vec::new(),
        };
        let is_over = |entry: &Entry| {
            let since = base.map_or(entry.committed.commit_ms, |empty| empty.max(entry.committed.commit_ms));
            wall_ms.saturating_sub(since) >= retention_ms
        };
        let over = self.entries.iter().filter(|(_, entry)| is_over(entry));
        over.map(|(partition, _)| partition.clone()).collect()
    }
}

fn is_alive((name, _): &NamedPartition, entry: &Entry, view: &View) -> bool {
    view.topic(name).is_some_and(|topic| topic.id == entry.topic)
}
