//! The payloads of frames.

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use super::{Reason, fields::Fields};
use crate::{
    Parcel, ParcelBody,
    limits::{BEAT_CONTEXT_BYTES_MAX, REASON_BYTES_MAX},
};

/// In front of every message: whose it is, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageHead {
    pub group: u32,
    pub from: u64,
    pub to: u64,
    pub length: u32,
}

impl MessageHead {
    pub const BYTES: usize = 24;

    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.group.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.from.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.to.to_le_bytes());
        bytes[20..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    fn take(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self { group: fields.u32()?, from: fields.u64()?, to: fields.u64()?, length: fields.u32()? })
    }

    /// The head and what is behind it.
    pub fn decode(payload: &[u8]) -> Option<(Self, &[u8])> {
        let mut fields = Fields(payload);
        Some((Self::take(&mut fields)?, fields.0))
    }

    pub fn parcel(self, body: Bytes) -> Parcel {
        Parcel { group: self.group, from: self.from, to: self.to, body: ParcelBody::Message(body) }
    }
}

/// In front of a request's body; its kind is the frame's channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub id: u64,
    pub length: u32,
}

impl RequestHead {
    pub const BYTES: usize = 12;

    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    pub fn decode(payload: &[u8]) -> Option<(Self, &[u8])> {
        let mut fields = Fields(payload);
        Some((Self { id: fields.u64()?, length: fields.u32()? }, fields.0))
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok = 0,
    Refused = 1,
    UnknownKind = 2,
    Overloaded = 3,
    /// The handler gave no answer, or there was no room for it.
    None = 4,
}

impl Status {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Ok,
            1 => Self::Refused,
            2 => Self::UnknownKind,
            3 => Self::Overloaded,
            4 => Self::None,
            _ => return None,
        })
    }
}

/// In front of an answer's body; the request's kind is the frame's channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerHead {
    pub id: u64,
    pub status: Status,
    pub length: u32,
}

impl AnswerHead {
    pub const BYTES: usize = 13;

    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8] = self.status as u8;
        bytes[9..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    pub fn decode(payload: &[u8]) -> Option<(Self, &[u8])> {
        let mut fields = Fields(payload);
        let (id, status) = (fields.u64()?, Status::of(fields.u8()?)?);
        Some((Self { id, status, length: fields.u32()? }, fields.0))
    }
}

/// Appends one beat; its context is at most [`BEAT_CONTEXT_BYTES_MAX`] long.
pub(crate) fn put_beat(out: &mut BytesMut, parcel: &Parcel) {
    let ParcelBody::Beat { response, term, commit, context } = &parcel.body else { return };
    debug_assert!(context.len() <= BEAT_CONTEXT_BYTES_MAX);
    out.put_u32_le(parcel.group);
    out.put_u64_le(parcel.from);
    out.put_u64_le(parcel.to);
    out.put_u64_le(*term);
    out.put_u64_le(*commit);
    out.put_u8(u8::from(*response));
    out.put_u8(context.len() as u8);
    out.put_slice(context);
}

fn take_beat(fields: &mut Fields<'_>) -> Option<Parcel> {
    let (group, from, to) = (fields.u32()?, fields.u64()?, fields.u64()?);
    let (term, commit) = (fields.u64()?, fields.u64()?);
    let response = match fields.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let length = usize::from(fields.u8()?);
    let context = Bytes::copy_from_slice(fields.bytes(length)?);
    Some(Parcel { group, from, to, body: ParcelBody::Beat { response, term, commit, context } })
}

/// Adds a frame's beats to `parcels`.
pub(crate) fn beats(payload: &[u8], parcels: &mut Vec<Parcel>) -> Option<()> {
    let mut fields = Fields(payload);
    while !fields.is_empty() {
        parcels.push(take_beat(&mut fields)?);
    }
    Some(())
}

/// Appends one small message.
pub(crate) fn put_message(out: &mut BytesMut, head: MessageHead, body: &[u8]) {
    out.put_slice(&head.encode());
    out.put_slice(body);
}

/// Adds a frame's small messages to `parcels`. Each has bytes of its own: who keeps one keeps no other.
pub(crate) fn messages(payload: &[u8], parcels: &mut Vec<Parcel>) -> Option<()> {
    let mut fields = Fields(payload);
    while !fields.is_empty() {
        let head = MessageHead::take(&mut fields)?;
        let body = fields.bytes(head.length as usize)?;
        parcels.push(head.parcel(Bytes::copy_from_slice(body)));
    }
    Some(())
}

pub(crate) fn cluster(payload: &[u8]) -> Option<Uuid> {
    let mut fields = Fields(payload);
    let cluster = fields.uuid()?;
    fields.is_empty().then_some(cluster)
}

pub(crate) fn put_goodbye(out: &mut BytesMut, reason: Reason, text: &str) {
    out.put_u8(reason.code());
    out.put_u16_le(text.len() as u16);
    out.put_slice(text.as_bytes());
}

pub(crate) fn goodbye(payload: &[u8]) -> Option<(Reason, String)> {
    let mut fields = Fields(payload);
    Some((Reason::of(fields.u8()?), fields.text(REASON_BYTES_MAX)?))
}
