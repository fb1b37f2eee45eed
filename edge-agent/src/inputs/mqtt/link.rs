//! A connection as packets.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::super::listener::Stream;
use super::wire::{WireError, split_packet};

/// A client that takes no answer for so long is left.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 4 << 10;

pub struct Link {
    stream: Stream,
    read: BytesMut,
}

#[derive(Debug, Error)]
pub enum LinkError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl Link {
    pub fn new(stream: Stream) -> Self {
        Self { stream, read: BytesMut::new() }
    }

    /// The next whole packet; `None` at the end. It may be given up, and goes on where it was.
    pub async fn next(&mut self) -> Result<Option<BytesMut>, LinkError> {
        loop {
            if let Some(packet) = split_packet(&mut self.read)? {
                return Ok(Some(packet));
            }
            self.read.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Ok(None);
            }
        }
    }

    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        timeout(WRITE_WITHIN, write).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}
