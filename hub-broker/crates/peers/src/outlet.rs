//! The sending half of a connection: what waits, and whose turn it is to write.
//!
//! One at a time writes. Whoever brings something small while nobody writes does so at once, on its own thread, without
//! waiting; all else is the writer task's, which also takes over when the kernel has no room.

use std::{
    io::{self, IoSlice},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{net::TcpStream, sync::Notify, task::consume_budget};

use crate::{
    Limits,
    lanes::{Batch, Lanes},
    limits::{DIRECT_BYTES_MAX, SLICES_MAX},
    observe::Figures,
};

pub(crate) struct Outlet {
    state: Mutex<State>,
    /// The writer task is to go on.
    handed_over: Notify,
    idle: Notify,
}

struct State {
    lanes: Lanes,
    /// What is left of the batch that the task is to go on with.
    rest: Batch,
    is_writing: bool,
    /// When something was last given to the kernel.
    written_at: Instant,
    figures: Arc<Figures>,
}

impl Outlet {
    /// `greeting` goes first.
    pub fn new(limits: Limits, greeting: Bytes, figures: Arc<Figures>) -> Self {
        let handed_over = Notify::new();
        handed_over.notify_one();
        let state = State {
            lanes: Lanes::new(limits),
            rest: Batch::of(greeting),
            is_writing: true,
            written_at: Instant::now(),
            figures,
        };
        Self { state: Mutex::new(state), handed_over, idle: Notify::new() }
    }

    /// Lets `put` add something and sees to it that it is sent over `stream`; nothing is sent once that is closed.
    pub fn put<R>(&self, stream: &Weak<TcpStream>, put: impl FnOnce(&mut Lanes) -> R) -> R {
        let (result, batch) = {
            let mut state = self.state.lock();
            let result = put(&mut state.lanes);
            if state.is_writing || state.lanes.is_empty() {
                return result;
            }
            state.is_writing = true;
            if state.lanes.queued_bytes() > DIRECT_BYTES_MAX {
                state.written_at = Instant::now();
                drop(state);
                self.handed_over.notify_one();
                return result;
            }
            (result, state.lanes.next_batch())
        };
        if let Some(stream) = stream.upgrade() {
            self.write_now(&stream, batch);
        }
        result
    }

    /// Writes without waiting. What the kernel does not take, or what came meanwhile, is the task's.
    fn write_now(&self, stream: &TcpStream, mut batch: Batch) {
        let before = batch.bytes();
        // An error shows itself to the task again, which ends the connection.
        if let Ok(written) = write_some(stream, &batch) {
            batch.advance(written);
        }
        let mut state = self.state.lock();
        state.note(before, batch.frames());
        if batch.is_empty() && state.lanes.is_empty() {
            state.is_writing = false;
            drop(state);
            self.idle.notify_waiters();
            return;
        }
        state.rest = batch;
        drop(state);
        self.handed_over.notify_one();
    }

    /// The writer task: until the connection fails.
    pub async fn write(&self, stream: &TcpStream) -> io::Error {
        loop {
            self.handed_over.notified().await;
            if let Err(error) = self.write_all(stream).await {
                return error;
            }
        }
    }

    async fn write_all(&self, stream: &TcpStream) -> io::Result<()> {
        let mut batch = std::mem::take(&mut self.state.lock().rest);
        loop {
            while !batch.is_empty() {
                stream.writable().await?;
                match write_some(stream, &batch) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        batch.advance(written);
                        self.state.lock().written_at = Instant::now();
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => return Err(error),
                }
            }
            let Some(next) = self.next() else { return Ok(()) };
            batch = next;
            consume_budget().await;
        }
    }

    /// The next batch; none when nothing waits, and then nobody writes.
    fn next(&self) -> Option<Batch> {
        let mut state = self.state.lock();
        let batch = state.lanes.next_batch();
        if batch.is_empty() {
            state.is_writing = false;
            drop(state);
            self.idle.notify_waiters();
            return None;
        }
        state.note(batch.bytes(), batch.frames());
        Some(batch)
    }

    /// Until nothing waits any more.
    pub async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if !self.state.lock().is_writing {
                return;
            }
            idle.await;
        }
    }

    /// For how long nothing was given to the kernel though something waits, and for how long nothing was sent at all.
    pub fn pause(&self, now: Instant) -> Pause {
        let state = self.state.lock();
        let pause = now.saturating_duration_since(state.written_at);
        if state.is_writing { Pause::Stalled(pause) } else { Pause::Idle(pause) }
    }

    pub fn queued_bytes(&self) -> usize {
        self.state.lock().lanes.queued_bytes()
    }
}

/// For how long nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Nothing waits.
    Idle(Duration),
    /// Something waits.
    Stalled(Duration),
}

impl State {
    /// A batch counts as sent when its writing begins: the last one of a connection that fails may not have arrived.
    fn note(&mut self, bytes: usize, frames: u64) {
        self.written_at = Instant::now();
        self.figures.sent(bytes, frames);
    }
}

fn write_some(stream: &TcpStream, batch: &Batch) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = batch.io_slices(&mut slices);
    stream.try_write_vectored(&slices[..count])
}
