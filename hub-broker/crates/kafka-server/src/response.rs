//! A response on its way out: its length prefix, its header and its body as chunks that are never joined.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use fetch::Held;

/// A complete response.
pub(crate) struct Response {
    chunks: VecDeque<Bytes>,
    held: Held,
}

impl Response {
    /// `flexible_header`: response header version 1, with tagged fields.
    pub(crate) fn new(correlation_id: i32, flexible_header: bool, body: Vec<Bytes>) -> Self {
        let header_bytes = 4 + usize::from(flexible_header);
        let len = header_bytes + body.iter().map(Bytes::len).sum::<usize>();
        let mut head = BytesMut::with_capacity(4 + header_bytes);
        head.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
        head.put_i32(correlation_id);
        if flexible_header {
            head.put_u8(0);
        }
        let chunks = std::iter::once(head.freeze()).chain(body).collect();
        Self { chunks, held: Held::default() }
    }

    /// Keeps the fetch's share of memory until the response is written.
    pub(crate) fn holding(mut self, held: Held) -> Self {
        self.held = held;
        self
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    pub(crate) fn into_chunks(self) -> Chunks {
        Chunks { remaining: self.len_bytes(), chunks: self.chunks, _held: self.held }
    }
}

/// What is left to write.
pub(crate) struct Chunks {
    chunks: VecDeque<Bytes>,
    remaining: usize,
    _held: Held,
}

impl Buf for Chunks {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| chunk)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.len().min(self.chunks.len());
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining -= count;
        while let Some(front) = self.chunks.front_mut() {
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_leaves_as_length_header_and_body() {
        let body = vec![Bytes::from_static(b"ab"), Bytes::from_static(b"cde")];
        let mut chunks = Response::new(7, true, body).into_chunks();
        let mut out = Vec::new();
        while chunks.has_remaining() {
            // Three bytes at a time, to cross the borders of chunks.
            let step = chunks.chunk().len().min(3);
            out.extend_from_slice(&chunks.chunk()[..step]);
            chunks.advance(step);
        }
        assert_eq!(out, [0, 0, 0, 10, 0, 0, 0, 7, 0, b'a', b'b', b'c', b'd', b'e']);
    }

    #[test]
    fn advancing_over_several_chunks_drops_them() {
        let mut chunks = Response::new(7, false, vec![Bytes::from_static(b"abc")]).into_chunks();
        chunks.advance(9);
        assert_eq!((chunks.remaining(), chunks.chunk()), (2, &b"bc"[..]));
    }
}
