//! One connection: requests are read ahead, answers go out in their order.
//!
//! A request becomes a [`Pending`] answer as soon as it is read. Produce hands its batches on at that moment,
//! so batches of one connection keep their order and many can be on their way to the disk. Every other
//! request does its work only when its answer's turn has come, as on a broker that takes one request at a
//! time. What is read ahead is bounded in number and bytes, so a client that does not read its answers, or
//! a log that cannot keep up, stops the reading of its socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{error::Elapsed, timeout};
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Pending, RequestError};
use crate::dispatch;
use crate::frame::{FrameError, FrameReader};
use crate::limits::IN_FLIGHT_REQUESTS_MAX;
use crate::memory::Memory;
use crate::response::Chunks;
use crate::session::Session;

/// Why a connection ended before its client closed it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error("the client takes no bytes of its answer")]
    Stalled,
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The protocol's only way to tell a producer that wants no answers.
    #[error("a batch that wants no acknowledgement was refused: {0}")]
    Unacknowledged(String),
    #[error("the hub is stopping")]
    Stopping,
}

impl ConnectionError {
    /// Whether whoever runs the hub should know what this client sends.
    pub(crate) fn is_clients_fault(&self) -> bool {
        match self {
            Self::Frame(error) => matches!(error, FrameError::Length { .. } | FrameError::Stalled),
            Self::Request(_) | Self::Stalled | Self::Unacknowledged(_) => true,
            Self::Socket(_) | Self::Stopping => false,
        }
    }
}

impl From<Elapsed> for ConnectionError {
    fn from(_: Elapsed) -> Self {
        Self::Stalled
    }
}

struct Owed {
    answer: Pending,
    /// Given back when the answer is written.
    memory: Memory,
}

pub(crate) async fn run(
    socket: TcpStream,
    session: Arc<Session>,
    shutdown: CancellationToken,
) -> Result<(), ConnectionError> {
    socket.set_nodelay(true)?;
    let config = &session.context.config;
    let stall_timeout = config.stall_timeout;
    let (input, output) = socket.into_split();
    let shared = session.context.request_memory.clone();
    let frames = FrameReader::new(input, shared, config.idle_timeout, stall_timeout);
    let (owe, owed) = mpsc::channel(IN_FLIGHT_REQUESTS_MAX);
    let read = read_requests(frames, session, owe, shutdown.clone());
    let write = write_answers(output, owed, stall_timeout, shutdown);
    // The writer ends when the reader has and everything owed is written, or at its own error. The reader's
    // end ends the connection only when the client cannot want its answers any more.
    tokio::pin!(read, write);
    tokio::select! {
        written = &mut write => written,
        read = &mut read => match read {
            Ok(()) => write.await,
            Err(error) => Err(error),
        },
    }
}

async fn read_requests<R: tokio::io::AsyncRead + Unpin>(
    mut frames: FrameReader<R>,
    session: Arc<Session>,
    owe: mpsc::Sender<Owed>,
    shutdown: CancellationToken,
) -> Result<(), ConnectionError> {
    loop {
        let frame = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            frame = frames.next() => frame?,
        };
        let Some(frame) = frame else { return Ok(()) };
        // A place first: a request is begun only when its answer can be queued.
        let Ok(place) = owe.reserve().await else { return Ok(()) };
        let answer = dispatch::begin(&session, frame.bytes)?;
        place.send(Owed { answer, memory: frame.memory });
    }
}

async fn write_answers<W: AsyncWrite + Unpin>(
    mut output: W,
    mut owed: mpsc::Receiver<Owed>,
    stall_timeout: Duration,
    shutdown: CancellationToken,
) -> Result<(), ConnectionError> {
    while let Some(Owed { answer, memory }) = owed.recv().await {
        let answer = tokio::select! {
            // A long poll must not hold up a stop; a produce is answered when it is durable.
            () = shutdown.cancelled(), if !answer.is_durable_work() => return Err(ConnectionError::Stopping),
            answer = answer.answer => answer,
        };
        match answer? {
            Answer::None => {}
            Answer::Close(reason) => return Err(ConnectionError::Unacknowledged(reason)),
            Answer::Response(response) => {
                let mut chunks = response.into_chunks();
                write_all(&mut output, &mut chunks, stall_timeout).await?;
            }
        }
        drop(memory);
    }
    Ok(())
}

/// The timeout is for progress, not for the whole: a slow client may take as long as it takes.
async fn write_all<W: AsyncWrite + Unpin>(
    output: &mut W,
    chunks: &mut Chunks,
    stall_timeout: Duration,
) -> Result<(), ConnectionError> {
    while chunks.has_remaining() {
        if timeout(stall_timeout, output.write_buf(chunks)).await?? == 0 {
            return Err(ConnectionError::Stalled);
        }
    }
    Ok(())
}
