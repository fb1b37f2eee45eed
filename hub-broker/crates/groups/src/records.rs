//! The records of `__consumer_offsets`, in Kafka's own formats (`OffsetCommitKey.json`, `OffsetCommitValue.json`,
//! `GroupMetadataKey.json`, `GroupMetadataValue.json` of its group coordinator). Big-endian; a string is its length
//! (i16, −1: null) and UTF-8, bytes are their length (i32) and themselves.
//!
//! ```text
//! key    1 | group string | topic string | partition i32                           an offset
//! value  3 | offset i64 | leader epoch i32 | metadata string | commit time i64
//!
//! key    2 | group string                                                          a group
//! value  3 | protocol type string | generation i32 | protocol string? | leader string? | state since i64
//!          | members: count i32, each: member id string | instance id string? | client id string
//!                                      | client host string | rebalance timeout i32 | session timeout i32
//!                                      | subscription bytes | assignment bytes
//! ```
//! The first number is the version, an i16, of which these are the ones that are written. A key without a value is
//! a tombstone.
//!
//! Beside an offset's value stands a record header, which Kafka's readers do not mind:
//!
//! ```text
//! topic-id   16 bytes, the UUID of the topic for which the offset was committed
//! ```
//! A topic that was deleted and made again has another id, and offsets of the old one do not apply to it. An offset
//! without the header may be of either, so it applies to none and is swept away.

mod codec;
#[cfg(test)]
mod tests;

use bytes::{Bytes, BytesMut};
use schemas::{Offset, PartitionIndex, TopicId, TopicName};
use thiserror::Error;
use uuid::Uuid;

use crate::api::CommittedOffset;
use codec::{Input, put_bytes, put_i16, put_i32, put_i64, put_nullable, put_string};

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
const OFFSET_VALUE: i16 = 3;
const GROUP_VALUE: i16 = 3;

/// The header of an offset's record.
pub(crate) const TOPIC_ID: &str = "topic-id";

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Offset { group: String, topic: TopicName, partition: PartitionIndex },
    Group { group: String },
}

/// A group as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupMetadata {
    pub(crate) protocol_type: String,
    pub(crate) generation: i32,
    pub(crate) protocol: Option<String>,
    pub(crate) leader: Option<String>,
    pub(crate) state_since_ms: i64,
    pub(crate) members: Vec<StoredMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredMember {
    pub(crate) member_id: String,
    pub(crate) group_instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    pub(crate) subscription: Bytes,
    pub(crate) assignment: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum DecodeError {
    /// Something that this release does not keep. It may be passed over.
    #[error("a key of unknown version {0}")]
    UnknownKey(i16),
    /// Something that it does keep, in a form that it cannot read. It must not be passed over.
    #[error("a value of unknown version {0}: written by a newer release")]
    UnknownValue(i16),
    #[error("a record that is not what was written")]
    Malformed,
}

impl Key {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Offset { group, topic, partition } => {
                put_i16(&mut out, OFFSET_KEY);
                put_string(&mut out, group);
                put_string(&mut out, topic.as_str());
                put_i32(&mut out, partition.0);
            }
            Self::Group { group } => {
                put_i16(&mut out, GROUP_KEY);
                put_string(&mut out, group);
            }
        }
        out.freeze()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Input(bytes);
        let key = match input.i16()? {
            OFFSET_KEY => Self::Offset {
                group: input.string()?,
                topic: input.string()?.try_into().map_err(|_| DecodeError::Malformed)?,
                partition: PartitionIndex(input.i32()?),
            },
            GROUP_KEY => Self::Group { group: input.string()? },
            version => return Err(DecodeError::UnknownKey(version)),
        };
        input.end()?;
        Ok(key)
    }
}

pub(crate) fn encode_offset(value: &CommittedOffset) -> Bytes {
    let mut out = BytesMut::new();
    put_i16(&mut out, OFFSET_VALUE);
    put_i64(&mut out, value.offset.0);
    put_i32(&mut out, value.leader_epoch);
    put_string(&mut out, &value.metadata);
    put_i64(&mut out, value.commit_ms);
    out.freeze()
}

pub(crate) fn decode_offset(bytes: &[u8]) -> Result<CommittedOffset, DecodeError> {
    let mut input = Input(bytes);
    input.version(OFFSET_VALUE)?;
    let value = CommittedOffset {
        offset: Offset(input.i64()?),
        leader_epoch: input.i32()?,
        metadata: input.string()?,
        commit_ms: input.i64()?,
    };
    input.end()?;
    Ok(value)
}

/// The topic of an offset's record, by its header [`TOPIC_ID`]; of a record without one, the id that no topic has.
pub(crate) fn decode_topic_id(header: Option<Option<&Bytes>>) -> Result<TopicId, DecodeError> {
    let Some(value) = header else { return Ok(TopicId(Uuid::nil())) };
    let id = value.and_then(|value| Uuid::from_slice(value).ok());
    id.map(TopicId).ok_or(DecodeError::Malformed)
}

impl GroupMetadata {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        put_i16(&mut out, GROUP_VALUE);
        put_string(&mut out, &self.protocol_type);
        put_i32(&mut out, self.generation);
        put_nullable(&mut out, self.protocol.as_deref());
        put_nullable(&mut out, self.leader.as_deref());
        put_i64(&mut out, self.state_since_ms);
        put_i32(&mut out, i32::try_from(self.members.len()).expect("members are bounded"));
        for member in &self.members {
            put_string(&mut out, &member.member_id);
            put_nullable(&mut out, member.group_instance_id.as_deref());
            put_string(&mut out, &member.client_id);
            put_string(&mut out, &member.client_host);
            put_i32(&mut out, member.rebalance_timeout_ms);
            put_i32(&mut out, member.session_timeout_ms);
            put_bytes(&mut out, &member.subscription);
            put_bytes(&mut out, &member.assignment);
        }
        out.freeze()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Input(bytes);
        input.version(GROUP_VALUE)?;
        let mut group = Self {
            protocol_type: input.string()?,
            generation: input.i32()?,
            protocol: input.nullable()?,
            leader: input.nullable()?,
            state_since_ms: input.i64()?,
            members: Vec::new(),
        };
        for _ in 0..input.i32()? {
            group.members.push(StoredMember {
                member_id: input.string()?,
                group_instance_id: input.nullable()?,
                client_id: input.string()?,
                client_host: input.string()?,
                rebalance_timeout_ms: input.i32()?,
                session_timeout_ms: input.i32()?,
                subscription: input.bytes()?,
                assignment: input.bytes()?,
            });
        }
        input.end()?;
        Ok(group)
    }
}
