//! The socket and its two buffers.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use crate::limits::{READ_BYTES_MAX, READ_BYTES_MIN};
use crate::wire::{WireError, frame};

/// How much of the output is kept allocated when it has been written.
const OUTPUT_KEPT_BYTES: usize = 16 * 1024;

pub struct Io<S> {
    stream: S,
    input: BytesMut,
    read_bytes: usize,
    pub output: Vec<u8>,
    written: usize,
    /// When the client was last heard, or last could not have been.
    pub heard: Instant,
    /// When something was last written, or nothing was left to write.
    pub wrote: Instant,
}

/// What a step brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Moved,
    EndOfStream,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    pub fn new(stream: S) -> Self {
        let now = Instant::now();
        Self {
            stream,
            input: BytesMut::new(),
            read_bytes: READ_BYTES_MIN,
            output: Vec::new(),
            written: 0,
            heard: now,
            wrote: now,
        }
    }

    #[must_use]
    pub fn pending_output(&self) -> usize {
        self.output.len() - self.written
    }

    /// Writes what is waiting and, if it may, reads; returns as soon as either got on. Dropping it loses nothing.
    pub async fn step(&mut self, may_read: bool) -> io::Result<Step> {
        poll_fn(|cx| {
            let wrote = self.poll_write(cx)?;
            let read = if may_read { self.poll_read(cx)? } else { Poll::Pending };
            match (wrote, read) {
                (_, Poll::Ready(step)) => Poll::Ready(Ok(step)),
                (Poll::Ready(()), Poll::Pending) => Poll::Ready(Ok(Step::Moved)),
                (Poll::Pending, Poll::Pending) => Poll::Pending,
            }
        })
        .await
    }

    /// Ready when something was written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, io::Error> {
        if self.pending_output() == 0 {
            return Ok(Poll::Pending);
        }
        let waiting = &self.output[self.written..];
        match Pin::new(&mut self.stream).poll_write(cx, waiting) {
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(bytes)) => {
                self.written += bytes;
                self.wrote = Instant::now();
                if self.pending_output() == 0 {
                    self.written = 0;
                    self.output.clear();
                    self.output.shrink_to(OUTPUT_KEPT_BYTES);
                }
                Ok(Poll::Ready(()))
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<Poll<Step>, io::Error> {
        self.input.reserve(self.read_bytes);
        match poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input) {
            Poll::Ready(Ok(0)) => Ok(Poll::Ready(Step::EndOfStream)),
            Poll::Ready(Ok(read)) => {
                self.heard = Instant::now();
                self.adapt(read);
                Ok(Poll::Ready(Step::Moved))
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// Busy connections get large reads, idle ones hold little memory.
    fn adapt(&mut self, read: usize) {
        if read >= self.read_bytes {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        } else if read < self.read_bytes / 4 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
        }
    }

    /// All whole packets that have been read. An error only comes when none stands before it.
    pub fn take_packets(&mut self, packet_bytes_max: usize) -> Result<Option<Bytes>, WireError> {
        let mut end = 0;
        loop {
            match frame::next(&self.input[end..], packet_bytes_max) {
                Ok(Some(frame)) => end += frame.bytes(),
                Err(error) if end == 0 => return Err(error),
                Ok(None) | Err(_) => break,
            }
        }
        Ok((end > 0).then(|| self.input.split_to(end).freeze()))
    }

    /// The first whole packet.
    pub fn take_packet(
        &mut self,
        packet_bytes_max: usize,
    ) -> Result<Option<(frame::Frame, Bytes)>, WireError> {
        let found = frame::next(&self.input, packet_bytes_max)?;
        Ok(found.map(|frame| (frame, self.input.split_to(frame.bytes()).freeze())))
    }

    /// Writes everything that is waiting.
    pub async fn flush(&mut self) -> io::Result<()> {
        while self.pending_output() > 0 {
            self.step(false).await?;
        }
        Ok(())
    }

    /// Tells the client that nothing more will come.
    pub async fn shutdown(&mut self) {
        // The client may be gone already, which is what is wanted.
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut self.stream).await;
    }
}
