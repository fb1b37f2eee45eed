//! Writing a response whose record bytes are shared, not copied.

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

/// Collects a response as chunks: what is written here, and byte strings that are only referred to.
#[derive(Debug)]
pub(crate) struct Writer {
    flexible: bool,
    chunks: Vec<Bytes>,
    tail: BytesMut,
}

impl Writer {
    pub(crate) fn new(flexible: bool) -> Self {
        Self { flexible, chunks: Vec::new(), tail: BytesMut::with_capacity(256) }
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.tail.put_i16(value);
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.tail.put_i32(value);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.tail.put_i64(value);
    }

    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.tail.put_slice(value.as_bytes());
    }

    pub(crate) fn string(&mut self, value: &str) {
        self.nullable_string(Some(value));
    }

    pub(crate) fn nullable_string(&mut self, value: Option<&str>) {
        let Some(value) = value else {
            return if self.flexible { self.varint(0) } else { self.i16(-1) };
        };
        // Strings here are names and messages of ours: none comes near 32 KiB.
        let len = i16::try_from(value.len()).unwrap_or(i16::MAX);
        if self.flexible {
            self.varint(u32::from(len.unsigned_abs()) + 1);
        } else {
            self.i16(len);
        }
        self.tail.put_slice(&value.as_bytes()[..usize::from(len.unsigned_abs())]);
    }

    pub(crate) fn array(&mut self, len: usize) {
        if self.flexible { self.varint(len_u32(len) + 1) } else { self.tail.put_u32(len_u32(len)) }
    }

    pub(crate) fn null_array(&mut self) {
        if self.flexible { self.varint(0) } else { self.tail.put_i32(-1) }
    }

    /// A byte string made of `parts`, none of which is copied.
    pub(crate) fn bytes(&mut self, parts: Vec<Bytes>) {
        self.array(parts.iter().map(Bytes::len).sum());
        for part in parts {
            self.chunks.push(self.tail.split().freeze());
            self.chunks.push(part);
        }
    }

    pub(crate) fn no_tagged_fields(&mut self) {
        self.tagged_fields(&[]);
    }

    /// The tagged fields that end a struct (KIP-482), by rising tag. Versions without them lose what they say.
    pub(crate) fn tagged_fields(&mut self, fields: &[(u32, Bytes)]) {
        if !self.flexible {
            return;
        }
        self.varint(len_u32(fields.len()));
        for (tag, value) in fields {
            self.varint(*tag);
            self.varint(len_u32(value.len()));
            self.tail.put_slice(value);
        }
    }

    /// What a tagged field holds: written by itself, since its length goes before it.
    pub(crate) fn field(write: impl FnOnce(&mut Self)) -> Bytes {
        let mut field = Self { flexible: true, chunks: Vec::new(), tail: BytesMut::new() };
        write(&mut field);
        field.tail.freeze()
    }

    pub(crate) fn finish(mut self) -> Vec<Bytes> {
        self.chunks.push(self.tail.freeze());
        self.chunks.retain(|chunk| !chunk.is_empty());
        self.chunks
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.tail.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.tail.put_u8((value & 0x7f) as u8);
    }
}

/// Responses are bounded far below 4 GiB by the limits on answers.
fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX - 1)
}
