//! The Produce request, parsed around slices of the frame.
//!
//! ```text
//!   transactional id (3+) │ acks i16 │ timeout i32 │ [ topic name, or id (13+) │ [ index i32 │ records bytes ] ]
//! ```

use bytes::Bytes;

use crate::topics::TopicRef;
use crate::wire::{Reader, WireError};

/// How much of an acknowledgement the client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Acks {
    None,
    /// 1 and all are the same promise here: durable on a majority.
    Durable,
    Unknown,
}

#[derive(Debug)]
pub(super) struct Request {
    pub(super) transactional: bool,
    pub(super) acks: Acks,
    pub(super) timeout_ms: i32,
    pub(super) topics: Vec<TopicData>,
}

#[derive(Debug)]
pub(super) struct TopicData {
    pub(super) name: TopicRef,
    pub(super) partitions: Vec<PartitionData>,
}

#[derive(Debug)]
pub(super) struct PartitionData {
    pub(super) index: i32,
    /// A slice of the frame.
    pub(super) records: Option<Bytes>,
}

pub(super) fn parse(body: &mut Reader, version: i16) -> Result<Request, WireError> {
    let transactional = version >= 3 && body.nullable_string()?.is_some();
    let acks = match body.i16()? {
        0 => Acks::None,
        1 | -1 => Acks::Durable,
        _ => Acks::Unknown,
    };
    let timeout_ms = body.i32()?;
    let mut topics = Vec::new();
    for _ in 0..body.array()?.ok_or(WireError::Null)? {
        topics.push(parse_topic(body, version)?);
    }
    body.skip_tagged_fields()?;
    Ok(Request { transactional, acks, timeout_ms, topics })
}

fn parse_topic(body: &mut Reader, version: i16) -> Result<TopicData, WireError> {
    let name = if version >= 13 { TopicRef::Id(body.uuid()?) } else { TopicRef::Name(body.string()?) };
    let mut partitions = Vec::new();
    for _ in 0..body.array()?.ok_or(WireError::Null)? {
        let index = body.i32()?;
        let records = body.nullable_bytes()?;
        body.skip_tagged_fields()?;
        partitions.push(PartitionData { index, records });
    }
    body.skip_tagged_fields()?;
    Ok(TopicData { name, partitions })
}
