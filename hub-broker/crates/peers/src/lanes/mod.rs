//! What waits to be sent to one peer, and in which order it goes: urgent things first, then the chunks of large
//! messages and of requests and answers in turn. Knows no socket and no clock.

mod batch;
mod bulk;
mod groups;
mod messages;
mod transfer;
mod urgent;

use bytes::Bytes;
use uuid::Uuid;

pub(crate) use batch::Batch;

use crate::{
    Limits, Parcel, ParcelBody,
    limits::{BATCH_BYTES, BEAT_CONTEXT_BYTES_MAX, MESSAGE_BYTES_MAX, SMALL_BYTES_MAX},
    wire::{AnswerHead, Kind, MessageHead, Reason, RequestHead, Status},
};
use bulk::{Bulk, Channel};
use messages::Messages;
use transfer::Transfer;
use urgent::Urgent;

/// No room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

pub(crate) struct Lanes {
    urgent: Urgent,
    messages: Messages,
    bulk: Bulk,
    is_turn_of_bulk: bool,
    limits: Limits,
}

impl Lanes {
    pub fn new(limits: Limits) -> Self {
        Self {
            urgent: Urgent::default(),
            messages: Messages::default(),
            bulk: Bulk::default(),
            is_turn_of_bulk: true,
            limits,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.messages.is_empty() && self.bulk.is_empty()
    }

    /// Bytes that wait, without what is bounded by its nature.
    pub fn queued_bytes(&self) -> usize {
        self.urgent.bytes() + self.messages.bytes() + self.bulk.bytes()
    }

    pub fn parcel(&mut self, parcel: Parcel) -> Result<(), Full> {
        match parcel {
            Parcel { group, from, to, body: ParcelBody::Message(body) } => {
                if body.len() > MESSAGE_BYTES_MAX {
                    tracing::error!(
                        group,
                        bytes = body.len(),
                        "a message to another hub is too large to be sent"
                    );
                    return Err(Full);
                }
                self.message(MessageHead { group, from, to, length: body.len() as u32 }, body)
            }
            beat => self.beat(beat),
        }
    }

    fn beat(&mut self, beat: Parcel) -> Result<(), Full> {
        let ParcelBody::Beat { context, .. } = &beat.body else { return Err(Full) };
        if context.len() > BEAT_CONTEXT_BYTES_MAX || self.urgent.bytes() >= self.limits.urgent_bytes_max {
            return Err(Full);
        }
        self.urgent.beat(beat);
        Ok(())
    }

    /// A small message goes ahead of large ones, but those of one group keep their order: consensus takes a gap for a
    /// loss.
    fn message(&mut self, head: MessageHead, body: Bytes) -> Result<(), Full> {
        let is_small = body.len() <= SMALL_BYTES_MAX && !self.messages.has_of(head.group);
        let (waiting, most) = if is_small {
            (self.urgent.bytes(), self.limits.urgent_bytes_max)
        } else {
            (self.messages.bytes(), self.limits.message_bytes_max)
        };
        if waiting > 0 && waiting + body.len() > most {
            return Err(Full);
        }
        if is_small {
            self.urgent.message(head, body);
        } else {
            self.messages.push(head, body);
        }
        Ok(())
    }

    /// `body` is at most [`crate::REQUEST_BYTES_MAX`] long.
    pub fn request(&mut self, id: u64, kind: u8, body: Bytes) -> Result<(), Full> {
        if !self.has_bulk_room(body.len()) {
            return Err(Full);
        }
        let head = RequestHead { id, length: body.len() as u32 };
        let transfer = Transfer::new(Kind::Request, kind, &head.encode(), body);
        self.bulk.push(Channel { is_answer: false, kind }, transfer);
        Ok(())
    }

    /// `body` is at most [`crate::REQUEST_BYTES_MAX`] long. Where it finds no room, the peer hears that there is no
    /// answer: what it asked for may have been done.
    pub fn answer(&mut self, id: u64, kind: u8, status: Status, body: Bytes) {
        let (status, body) =
            if self.has_bulk_room(body.len()) { (status, body) } else { (Status::None, Bytes::new()) };
        let head = AnswerHead { id, status, length: body.len() as u32 };
        let transfer = Transfer::new(Kind::Answer, kind, &head.encode(), body);
        self.bulk.push(Channel { is_answer: true, kind }, transfer);
    }

    fn has_bulk_room(&self, bytes: usize) -> bool {
        bytes == 0 || self.bulk.bytes() == 0 || self.bulk.bytes() + bytes <= self.limits.bulk_bytes_max
    }

    pub fn notice(&mut self, kind: u8, body: Bytes) {
        self.urgent.notice(kind, body);
    }

    pub fn ping(&mut self) {
        self.urgent.ping();
    }

    pub fn cluster(&mut self, cluster: Uuid) {
        self.urgent.cluster(cluster);
    }

    pub fn goodbye(&mut self, reason: Reason, text: String) {
        self.urgent.goodbye(reason, text);
    }

    /// What the next write carries. Empty when nothing waits.
    pub fn next_batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        self.urgent.frames(&mut batch);
        loop {
            let is_more = self.chunk(&mut batch);
            if !is_more || batch.bytes() >= BATCH_BYTES {
                return batch.seal();
            }
        }
    }

    /// Puts one chunk of a large body into `batch`; false when none waits.
    fn chunk(&mut self, batch: &mut Batch) -> bool {
        self.is_turn_of_bulk = !self.is_turn_of_bulk;
        let is_bulk_first = self.is_turn_of_bulk;
        (is_bulk_first && self.bulk.chunk(batch))
            || self.messages.chunk(batch, self.urgent.groups())
            || self.bulk.chunk(batch)
    }
}
