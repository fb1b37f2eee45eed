//! What is put into a hub-built batch, and what comes of it.

use schemas::Offset;

use crate::limits::{PLAIN_HEADER_OVERHEAD_BYTES, PLAIN_RECORD_OVERHEAD_BYTES};

/// One record to be. Borrowed: it is copied once, into the batch.
#[derive(Debug, Clone, Copy)]
pub struct PlainMessage<'a> {
    pub timestamp_ms: i64,
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl PlainMessage<'_> {
    /// What the message takes in a batch, at most.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len() + PLAIN_HEADER_OVERHEAD_BYTES)
            .sum();
        self.key.len() + self.value.len() + headers + PLAIN_RECORD_OVERHEAD_BYTES
    }
}

/// Where the messages of one call came to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainStored {
    /// The first message's offset; the others follow without holes.
    pub base_offset: Offset,
}
