//! Reading a partition of `__consumer_offsets` from its beginning to its end.

use std::collections::HashMap;

use metadata::ConfigureTopicError;
use schemas::{BatchError, Offset, RawBatch, Record, Term};
use shards::{PartitionReader, ReadIndexError};
use thiserror::Error;

use crate::limits::LOAD_BYTES;
use crate::offsets::{Entry, Offsets};
use crate::records::{self, DecodeError, GroupMetadata, Key, TOPIC_ID};

/// A group as the log has it.
#[derive(Debug, Default)]
pub(crate) struct LoadedGroup {
    pub(crate) metadata: Option<GroupMetadata>,
    pub(crate) offsets: Offsets,
}

/// The groups of one partition, by id.
pub(crate) type LoadedGroups = HashMap<String, LoadedGroup>;

/// The partition cannot be read. Its groups stay closed rather than forget what they have committed.
#[derive(Debug, Error)]
pub(crate) enum LoadError {
    #[error("partition {0} of the offsets topic is not open")]
    NotOpen(i32),
    #[error(transparent)]
    NotConfirmed(#[from] ReadIndexError),
    #[error("the topics that offsets were committed for are not known yet: {0}")]
    Topics(#[from] ConfigureTopicError),
    #[error("this hub leads in term {term} by now")]
    OtherTerm { term: Term },
    #[error(transparent)]
    Read(#[from] partition_log::ReadError),
    #[error("batch at offset {offset}: {source}")]
    Batch { offset: Offset, source: BatchError },
    #[error("record in the batch at offset {offset}: {source}")]
    Record { offset: Offset, source: DecodeError },
    #[error("the reading task ended")]
    Ended,
}

impl LoadError {
    /// Nothing is wrong with the log: elections are going on.
    pub(crate) fn will_pass(&self) -> bool {
        matches!(self, Self::NotConfirmed(_) | Self::OtherTerm { .. } | Self::Topics(_))
    }
}

/// Reads everything that is committed now. Blocks on the disk.
pub(crate) fn load(reader: &PartitionReader) -> Result<LoadedGroups, LoadError> {
    let mut groups = HashMap::new();
    let mut from = reader.log_start();
    let end = reader.high_watermark();
    while from < end {
        let mut bytes = reader.read(from, LOAD_BYTES)?;
        let before = from;
        while let Some(batch) =
            RawBatch::split_first(&mut bytes).map_err(|source| LoadError::Batch { offset: from, source })?
        {
            replay(&mut groups, &batch)?;
            let header = batch.header();
            from = Offset(header.base_offset + header.offset_span());
        }
        if from == before {
            break;
        }
    }
    groups.retain(|_, group| group.metadata.is_some() || !group.offsets.is_empty());
    Ok(groups)
}

fn replay(groups: &mut LoadedGroups, batch: &RawBatch) -> Result<(), LoadError> {
    let offset = Offset(batch.header().base_offset);
    let broken = |source| LoadError::Batch { offset, source };
    for record in batch.records().map_err(broken)? {
        let record = record.map_err(broken)?;
        let Some(key) = &record.key else { continue };
        let key = match Key::decode(key) {
            Ok(key) => key,
            Err(error @ DecodeError::UnknownKey(_)) => {
                tracing::warn!(%offset, %error, "a record of the offsets topic is passed over");
                continue;
            }
            Err(source) => return Err(LoadError::Record { offset, source }),
        };
        apply(groups, key, &record, offset).map_err(|source| LoadError::Record { offset, source })?;
    }
    Ok(())
}

fn apply(groups: &mut LoadedGroups, key: Key, record: &Record, stored_at: Offset) -> Result<(), DecodeError> {
    let value = record.value.as_deref();
    match key {
        Key::Group { group } => {
            groups.entry(group).or_default().metadata = value.map(GroupMetadata::decode).transpose()?;
        }
        Key::Offset { group, topic, partition } => {
            let offsets = &mut groups.entry(group).or_default().offsets;
            let Some(value) = value else {
                offsets.remove(&(topic, partition), stored_at);
                return Ok(());
            };
            let committed = records::decode_offset(value)?;
            let id = records::decode_topic_id(record.header(TOPIC_ID))?;
            offsets.put((topic, partition), Entry { committed, topic: id, stored_at });
        }
    }
    Ok(())
}
