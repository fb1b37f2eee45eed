//! A body that arrives in chunks.

use bytes::{Bytes, BytesMut};

use crate::wire::{Kind, ProtocolError};

pub(super) struct Assembly<H> {
    pub head: H,
    kind: Kind,
    length: usize,
    body: BytesMut,
}

impl<H> Assembly<H> {
    /// `length` is what the peer says: memory is taken for it only when it is within `length_max`.
    pub fn begin(kind: Kind, head: H, length: u32, length_max: usize) -> Result<Self, ProtocolError> {
        let bytes = length as usize;
        if bytes > length_max {
            return Err(ProtocolError::BodyTooLong { kind, length: u64::from(length) });
        }
        Ok(Self { head, kind, length: bytes, body: BytesMut::with_capacity(bytes) })
    }

    pub fn add(&mut self, chunk: &[u8]) -> Result<(), ProtocolError> {
        let length = self.body.len() + chunk.len();
        if length > self.length {
            return Err(ProtocolError::BodyTooLong { kind: self.kind, length: length as u64 });
        }
        self.body.extend_from_slice(chunk);
        Ok(())
    }

    /// The body, when it is as long as its head said.
    pub fn end(self) -> Result<(H, Bytes), ProtocolError> {
        if self.body.len() == self.length {
            Ok((self.head, self.body.freeze()))
        } else {
            Err(ProtocolError::Order { kind: self.kind })
        }
    }
}
