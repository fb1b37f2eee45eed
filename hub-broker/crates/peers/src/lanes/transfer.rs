//! A body on its way in chunks.

use bytes::Bytes;

use super::batch::Batch;
use crate::{
    limits::FRAME_PAYLOAD_BYTES_MAX,
    wire::{FIRST, Kind, LAST},
};

/// The longest head in front of a body.
const HEAD_BYTES_MAX: usize = 24;

pub(super) struct Transfer {
    kind: Kind,
    channel: u8,
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    /// What is still to be sent.
    body: Bytes,
    is_begun: bool,
}

impl Transfer {
    pub fn new(kind: Kind, channel: u8, head: &[u8], body: Bytes) -> Self {
        let mut bytes = [0; HEAD_BYTES_MAX];
        bytes[..head.len()].copy_from_slice(head);
        Self { kind, channel, head: bytes, head_bytes: head.len(), body, is_begun: false }
    }

    /// Bytes that it takes in a queue.
    pub fn bytes(&self) -> usize {
        self.head_bytes + self.body.len()
    }

    pub fn is_begun(&self) -> bool {
        self.is_begun
    }

    pub fn is_one_frame(&self) -> bool {
        !self.is_begun && self.bytes() <= FRAME_PAYLOAD_BYTES_MAX
    }

    /// Puts the next chunk into `batch`; the bytes that it took off the queue, and whether it was the last.
    pub fn chunk(&mut self, batch: &mut Batch) -> (usize, bool) {
        let before = self.bytes();
        let head = if self.is_begun { &[][..] } else { &self.head[..self.head_bytes] };
        let chunk = self.body.split_to(self.body.len().min(FRAME_PAYLOAD_BYTES_MAX - head.len()));
        let is_last = self.body.is_empty();
        let flags = if self.is_begun { 0 } else { FIRST } | if is_last { LAST } else { 0 };
        batch.add(self.kind, flags, self.channel, head, chunk);
        self.is_begun = true;
        self.head_bytes = 0;
        (before - self.bytes(), is_last)
    }
}
