//! What one write carries: whole frames as slices, large payloads uncopied.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};

use crate::{
    limits::{INLINE_BYTES_MAX, SLICES_MAX},
    wire::{FRAME_HEADER_BYTES, FrameHeader, Kind},
};

#[derive(Default)]
pub(crate) struct Batch {
    slices: VecDeque<Bytes>,
    /// Headers and small payloads that are not a slice yet.
    open: BytesMut,
    bytes: usize,
    frames: u64,
}

/// Where a frame begins whose payload is being put into `open`.
pub(super) struct Begun(usize);

impl Batch {
    /// Bytes that are ready already.
    pub fn of(bytes: Bytes) -> Self {
        let length = bytes.len();
        Self { slices: VecDeque::from([bytes]), open: BytesMut::new(), bytes: length, frames: 0 }
    }

    /// Bytes that are still to be written.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Begins a frame with a small payload, which is appended to what is returned.
    pub(super) fn begin(&mut self) -> (Begun, &mut BytesMut) {
        let begun = Begun(self.open.len());
        self.open.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        (begun, &mut self.open)
    }

    pub(super) fn end(&mut self, begun: &Begun, kind: Kind, channel: u8) {
        let (_, frame) = self.open.split_at_mut(begun.0);
        let (header, payload) = frame.split_at_mut(FRAME_HEADER_BYTES);
        let fields = FrameHeader { kind, flags: 0, channel, length: payload.len() };
        header.copy_from_slice(&fields.encode([payload, &[]]));
        self.bytes += FRAME_HEADER_BYTES + payload.len();
        self.frames += 1;
    }

    /// Adds a frame with the payload `head` and `body`.
    pub(super) fn add(&mut self, kind: Kind, flags: u8, channel: u8, head: &[u8], body: Bytes) {
        let length = head.len() + body.len();
        let header = FrameHeader { kind, flags, channel, length };
        self.open.extend_from_slice(&header.encode([head, &body]));
        self.open.extend_from_slice(head);
        if body.len() <= INLINE_BYTES_MAX {
            self.open.extend_from_slice(&body);
        } else {
            self.slices.push_back(self.open.split().freeze());
            self.slices.push_back(body);
        }
        self.bytes += FRAME_HEADER_BYTES + length;
        self.frames += 1;
    }

    /// Nothing is added after this.
    pub(super) fn seal(mut self) -> Self {
        if !self.open.is_empty() {
            self.slices.push_back(std::mem::take(&mut self.open).freeze());
        }
        self
    }

    /// The next bytes to write, for one `writev`.
    pub fn io_slices<'a>(&'a self, out: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let mut count = 0;
        for (place, slice) in out.iter_mut().zip(&self.slices) {
            *place = IoSlice::new(slice);
            count += 1;
        }
        count
    }

    /// `written` bytes are with the kernel.
    pub fn advance(&mut self, mut written: usize) {
        self.bytes -= written.min(self.bytes);
        while let Some(front) = self.slices.front_mut() {
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.slices.pop_front();
        }
    }
}
