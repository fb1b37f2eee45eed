//! What a peer sends, from bytes to whole things. Knows no socket and no clock; what waits is bounded: one message and
//! a few requests or answers, each up to its largest size.

mod assembly;

use std::collections::BTreeMap;

use bytes::{Buf, Bytes, BytesMut};
use uuid::Uuid;

use crate::{
    Parcel,
    limits::{MESSAGE_BYTES_MAX, NOTICE_BYTES_MAX, NOTICE_KINDS_MAX, OPEN_TRANSFERS_MAX, REQUEST_BYTES_MAX},
    wire::{
        self, AnswerHead, FRAME_HEADER_BYTES, FrameHeader, Kind, MessageHead, ProtocolError, RequestHead,
        Status,
    },
};
use assembly::Assembly;

/// Something whole that a peer sent, parcels apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Request {
        id: u64,
        kind: u8,
        body: Bytes,
    },
    Answer {
        id: u64,
        status: Status,
        body: Bytes,
    },
    Notice {
        kind: u8,
        body: Bytes,
    },
    Cluster(Uuid),
    /// Why the peer ends the connection, in its words.
    Goodbye(String),
}

/// What `take` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A frame that gave parcels, which were added, or a part of something.
    Frame,
    Whole(Received),
    /// The buffer holds no whole frame.
    Wait,
}

enum BulkHead {
    Request(RequestHead),
    Answer(AnswerHead),
}

#[derive(Default)]
pub(crate) struct Incoming {
    message: Option<Assembly<MessageHead>>,
    bulk: BTreeMap<(Kind, u8), Assembly<BulkHead>>,
}

impl Incoming {
    /// Takes one frame off `buffer`. Parcels are added to `parcels`.
    pub fn take(&mut self, buffer: &mut BytesMut, parcels: &mut Vec<Parcel>) -> Result<Step, ProtocolError> {
        let Some(header) = FrameHeader::decode(buffer)? else { return Ok(Step::Wait) };
        let end = FRAME_HEADER_BYTES + header.length;
        let payload = buffer.get(FRAME_HEADER_BYTES..end).unwrap_or_default();
        let step = self.frame(header, payload, parcels)?;
        buffer.advance(end);
        Ok(step)
    }

    fn frame(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        parcels: &mut Vec<Parcel>,
    ) -> Result<Step, ProtocolError> {
        let unreadable = ProtocolError::Unreadable { kind: header.kind };
        let whole = match header.kind {
            Kind::Beats => wire::beats(payload, parcels).map(|()| None).ok_or(unreadable)?,
            Kind::Messages => wire::messages(payload, parcels).map(|()| None).ok_or(unreadable)?,
            Kind::Message => {
                parcels.extend(self.message(header, payload)?);
                None
            }
            Kind::Request | Kind::Answer => self.bulk(header, payload)?,
            Kind::Notice => Some(notice(header.channel, payload).ok_or(unreadable)?),
            Kind::Ping => None,
            Kind::Cluster => Some(Received::Cluster(wire::cluster(payload).ok_or(unreadable)?)),
            Kind::Goodbye => {
                let (_, text) = wire::goodbye(payload).ok_or(unreadable)?;
                Some(Received::Goodbye(text))
            }
        };
        Ok(whole.map_or(Step::Frame, Step::Whole))
    }

    fn message(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<Parcel>, ProtocolError> {
        let kind = header.kind;
        let (mut assembly, chunk) = match (header.is_first(), self.message.take()) {
            (true, None) => {
                let (head, chunk) = MessageHead::decode(payload).ok_or(ProtocolError::Unreadable { kind })?;
                (Assembly::begin(kind, head, head.length, MESSAGE_BYTES_MAX)?, chunk)
            }
            (false, Some(assembly)) => (assembly, payload),
            _ => return Err(ProtocolError::Order { kind }),
        };
        assembly.add(chunk)?;
        if !header.is_last() {
            self.message = Some(assembly);
            return Ok(None);
        }
        let (head, body) = assembly.end()?;
        Ok(Some(head.parcel(body)))
    }

    fn bulk(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<Received>, ProtocolError> {
        let key = (header.kind, header.channel);
        let (mut assembly, chunk) = match (header.is_first(), self.bulk.remove(&key)) {
            (true, None) => begin_bulk(header.kind, payload)?,
            (false, Some(assembly)) => (assembly, payload),
            _ => return Err(ProtocolError::Order { kind: header.kind }),
        };
        assembly.add(chunk)?;
        if header.is_last() {
            let (head, body) = assembly.end()?;
            return Ok(Some(match head {
                BulkHead::Request(head) => Received::Request { id: head.id, kind: header.channel, body },
                BulkHead::Answer(head) => Received::Answer { id: head.id, status: head.status, body },
            }));
        }
        self.bulk.insert(key, assembly);
        if self.bulk.len() > OPEN_TRANSFERS_MAX {
            return Err(ProtocolError::TooManyOpen);
        }
        Ok(None)
    }
}

fn begin_bulk(kind: Kind, payload: &[u8]) -> Result<(Assembly<BulkHead>, &[u8]), ProtocolError> {
    let unreadable = ProtocolError::Unreadable { kind };
    let (head, length, chunk) = if kind == Kind::Request {
        let (head, chunk) = RequestHead::decode(payload).ok_or(unreadable)?;
        (BulkHead::Request(head), head.length, chunk)
    } else {
        let (head, chunk) = AnswerHead::decode(payload).ok_or(unreadable)?;
        (BulkHead::Answer(head), head.length, chunk)
    };
    Ok((Assembly::begin(kind, head, length, REQUEST_BYTES_MAX)?, chunk))
}

fn notice(kind: u8, payload: &[u8]) -> Option<Received> {
    let is_fine = kind < NOTICE_KINDS_MAX && payload.len() <= NOTICE_BYTES_MAX;
    is_fine.then(|| Received::Notice { kind, body: Bytes::copy_from_slice(payload) })
}
