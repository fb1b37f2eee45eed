//! One group commit while it is being put together: what one gathered write puts into the file.

use crate::{
    codec::{FRAME_HEADER_BYTES, FrameHeader, Generation, padding_bytes},
    frame::GroupId,
    limits::{PAGE_BYTES, PAYLOAD_INLINE_BYTES_MAX},
};
use bytes::Bytes;
use std::{collections::BTreeSet, io::IoSlice};

static ZEROS: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];

/// Headers, padding and small payloads lie in one buffer; larger payloads are written from where they are.
#[derive(Debug, Default)]
pub struct Gather {
    buffer: Vec<u8>,
    /// Each a payload that is written after the buffer's bytes up to the number.
    payloads: Vec<(usize, Bytes)>,
    payload_bytes: usize,
    frames: u64,
    groups: BTreeSet<GroupId>,
    last_group: Option<GroupId>,
}

impl Gather {
    /// Adds a frame of a group.
    pub fn push(&mut self, generation: Generation, header: &FrameHeader, payload: &Bytes) {
        if self.last_group != Some(header.group) {
            self.last_group = Some(header.group);
            self.groups.insert(header.group);
        }
        self.append(generation, header, payload);
    }

    /// Adds the frame that ends the group commit.
    pub fn push_commit(&mut self, generation: Generation, header: &FrameHeader, payload: &Bytes) {
        self.append(generation, header, payload);
    }

    fn append(&mut self, generation: Generation, header: &FrameHeader, payload: &Bytes) {
        self.frames += 1;
        self.buffer.extend_from_slice(&header.encode(generation, payload));
        if payload.len() <= PAYLOAD_INLINE_BYTES_MAX {
            self.buffer.extend_from_slice(payload);
        } else {
            self.payloads.push((self.buffer.len(), payload.clone()));
            self.payload_bytes += payload.len();
        }
        self.buffer.extend_from_slice(&[0; 8][..padding_bytes(payload.len())]);
    }

    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    pub fn bytes(&self) -> u64 {
        (self.buffer.len() + self.payload_bytes) as u64
    }

    pub fn frames(&self) -> u64 {
        self.frames
    }

    pub fn groups(&self) -> &BTreeSet<GroupId> {
        &self.groups
    }

    /// All bytes in order, and `fill` zeros behind them.
    pub fn slices(&self, fill: usize) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(2 * self.payloads.len() + 2);
        let mut start = 0;
        for (end, payload) in &self.payloads {
            slices.push(IoSlice::new(&self.buffer[start..*end]));
            slices.push(IoSlice::new(payload));
            start = *end;
        }
        slices.push(IoSlice::new(&self.buffer[start..]));
        if fill > 0 {
            slices.push(IoSlice::new(&ZEROS[..fill]));
        }
        slices
    }

    pub fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(FRAME_HEADER_BYTES * 4096);
        self.payloads.clear();
        self.payloads.shrink_to(4096);
        self.payload_bytes = 0;
        self.frames = 0;
        self.groups.clear();
        self.last_group = None;
    }
}
