//! The Fetch request.
//!
//! ```text
//!   replica i32 (to 14) │ wait i32 │ min bytes i32 │ max bytes i32 │ isolation i8
//!   │ session id i32, epoch i32 (7+)
//!   │ [ topic name, or id (13+) │ [ index i32 │ leader epoch i32 (9+) │ offset i64 │ last epoch i32 (12+)
//!                                 │ log start i64 (5+) │ max bytes i32 ] ]
//!   │ forgotten [ topic │ [ index i32 ] ] (7+) │ rack (11+)
//! ```

use bytes::Bytes;

use crate::topics::TopicRef;
use crate::wire::{Reader, WireError};

#[derive(Debug)]
pub(super) struct Request {
    pub(super) max_wait_ms: i32,
    pub(super) min_bytes: i32,
    pub(super) max_bytes: i32,
    pub(super) session_id: i32,
    pub(super) session_epoch: i32,
    pub(super) topics: Vec<TopicWanted>,
    /// Where the client stands; empty where it does not say.
    pub(super) rack: String,
}

#[derive(Debug)]
pub(super) struct TopicWanted {
    pub(super) name: TopicRef,
    pub(super) partitions: Vec<PartitionWanted>,
}

#[derive(Debug)]
pub(super) struct PartitionWanted {
    pub(super) index: i32,
    /// −1: the client does not know.
    pub(super) current_leader_epoch: i32,
    pub(super) offset: i64,
    pub(super) max_bytes: i32,
}

/// A request without a session; also what versions before sessions mean.
const NO_SESSION_EPOCH: i32 = -1;

pub(super) fn parse(body: &mut Reader, version: i16) -> Result<Request, WireError> {
    if version <= 14 {
        let _replica = body.i32()?;
    }
    let max_wait_ms = body.i32()?;
    let min_bytes = body.i32()?;
    let max_bytes = body.i32()?;
    // Without transactions, what is committed is what is stored.
    let _isolation = body.i8()?;
    let (session_id, session_epoch) =
        if version >= 7 { (body.i32()?, body.i32()?) } else { (0, NO_SESSION_EPOCH) };
    let mut topics = Vec::new();
    for _ in 0..body.array()?.ok_or(WireError::Null)? {
        topics.push(parse_topic(body, version)?);
    }
    if version >= 7 {
        skip_forgotten(body, version)?;
    }
    let rack = if version >= 11 { body.nullable_string()?.unwrap_or_default() } else { Bytes::new() };
    let rack = String::from_utf8(rack.into()).map_err(|_| WireError::NotUtf8)?;
    body.skip_tagged_fields()?;
    Ok(Request { max_wait_ms, min_bytes, max_bytes, session_id, session_epoch, topics, rack })
}

fn parse_topic(body: &mut Reader, version: i16) -> Result<TopicWanted, WireError> {
    let name = parse_name(body, version)?;
    let mut partitions = Vec::new();
    for _ in 0..body.array()?.ok_or(WireError::Null)? {
        partitions.push(parse_partition(body, version)?);
    }
    body.skip_tagged_fields()?;
    Ok(TopicWanted { name, partitions })
}

fn parse_partition(body: &mut Reader, version: i16) -> Result<PartitionWanted, WireError> {
    let index = body.i32()?;
    let current_leader_epoch = if version >= 9 { body.i32()? } else { -1 };
    let offset = body.i64()?;
    if version >= 12 {
        let _last_fetched_epoch = body.i32()?;
    }
    if version >= 5 {
        let _log_start = body.i64()?;
    }
    let max_bytes = body.i32()?;
    body.skip_tagged_fields()?;
    Ok(PartitionWanted { index, current_leader_epoch, offset, max_bytes })
}

/// Only a session has anything to forget.
fn skip_forgotten(body: &mut Reader, version: i16) -> Result<(), WireError> {
    for _ in 0..body.array()?.unwrap_or(0) {
        parse_name(body, version)?;
        for _ in 0..body.array()?.unwrap_or(0) {
            body.i32()?;
        }
        body.skip_tagged_fields()?;
    }
    Ok(())
}

fn parse_name(body: &mut Reader, version: i16) -> Result<TopicRef, WireError> {
    if version >= 13 { Ok(TopicRef::Id(body.uuid()?)) } else { Ok(TopicRef::Name(body.string()?)) }
}
