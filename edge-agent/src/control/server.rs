//! The socket of a running agent.

use std::fs;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use schemas::limits::AGENT_BATCH_BYTES_MAX;
use schemas::{DeviceId, RawBatch, TopicName};
use thiserror::Error;
use tokio::io::{AsyncBufRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::protocol::{AppendAnswer, Ask, LineError, Request, VERSION, read_line};
use crate::buffer::{Appended, Buffer, WriteError, durable};
use crate::data_dir::DataDir;
use crate::desired::Standing;
use crate::destination::Destination;
use crate::inputs::Roster;
use crate::limits::CONTROL_PIPELINE;
use crate::status::Status;
use crate::time::Clock;
use crate::uplink::UplinkStatus;

#[derive(Debug, Error)]
#[error("{}: {source}", path.display())]
pub struct ServerError {
    path: std::path::PathBuf,
    source: io::Error,
}

/// Answers what other commands ask.
pub struct Server {
    listener: UnixListener,
    shared: Arc<Shared>,
}

struct Shared {
    device: DeviceId,
    buffer: Buffer,
    clock: Arc<Clock>,
    uplink: watch::Receiver<UplinkStatus>,
    inputs: Roster,
    desired: watch::Receiver<Option<Standing>>,
}

#[derive(Debug, Error)]
enum RequestError {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("the request is not understood: {0}")]
    Json(#[from] serde_json::Error),
    #[error("version {0} of the protocol is not spoken here")]
    Version(u32),
    #[error("a batch of {0} bytes is too large")]
    TooLarge(usize),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the buffer is closed")]
    Closed,
}

/// What the next answer will be.
enum Answer {
    Ready(Vec<u8>),
    Append(oneshot::Receiver<Result<Appended, WriteError>>),
}

impl Server {
    /// Listens in a data directory whose lock the caller holds.
    pub fn bind(
        dir: &DataDir,
        device: DeviceId,
        buffer: Buffer,
        clock: Arc<Clock>,
        uplink: watch::Receiver<UplinkStatus>,
        inputs: Roster,
        desired: watch::Receiver<Option<Standing>>,
    ) -> Result<Self, ServerError> {
        let bind = || -> io::Result<UnixListener> {
            // What an agent that was killed left behind; no other one runs, for we hold the lock.
            match fs::remove_file(dir.socket()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let (_held, path) = dir.short_socket()?;
            UnixListener::bind(path)
        };
        let listener = bind().map_err(|source| ServerError { path: dir.socket(), source })?;
        let shared = Shared { device, buffer, clock, uplink, inputs, desired };
        Ok(Self { listener, shared: Arc::new(shared) })
    }

    pub async fn run(self, shutdown: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let shared = self.shared.clone();
                    let shutdown = shutdown.clone();
                    tokio::spawn(async move {
                        tokio::select! {
                            () = shutdown.cancelled() => {}
                            result = serve(stream, &shared) => {
                                if let Err(error) = result {
                                    tracing::debug!(%error, "a client of the agent's socket was dropped");
                                }
                            }
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the agent's socket cannot accept");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn serve(mut stream: UnixStream, shared: &Shared) -> Result<(), RequestError> {
    let (reading, writing) = stream.split();
    let (answers, queue) = mpsc::channel(CONTROL_PIPELINE);
    let ask = requests(BufReader::new(reading), answers, shared);
    let tell = write_answers(BufWriter::new(writing), queue);
    tokio::try_join!(ask, tell)?;
    Ok(())
}

async fn requests(
    mut source: impl AsyncBufRead + Unpin,
    answers: mpsc::Sender<Answer>,
    shared: &Shared,
) -> Result<(), RequestError> {
    while let Some(line) = read_line(&mut source).await? {
        let request: Request = serde_json::from_slice(&line)?;
        if !(1..=VERSION).contains(&request.version) {
            return Err(RequestError::Version(request.version));
        }
        let answer = match request.ask {
            Ask::Status => {
                let uplink = shared.uplink.borrow().clone();
                let status = Status::of(&shared.device, &shared.buffer, &shared.clock, Some(uplink));
                let status = status.with_inputs(shared.inputs.health());
                let status = status.with_desired(shared.desired.borrow().clone());
                Answer::Ready(serde_json::to_vec(&status)?)
            }
            Ask::Append { topic, priority, boot, bytes } => {
                if bytes > AGENT_BATCH_BYTES_MAX {
                    return Err(RequestError::TooLarge(bytes));
                }
                let mut batch = vec![0; bytes];
                source.read_exact(&mut batch).await?;
                match (checked(batch.into()), TopicName::try_from(topic)) {
                    (Ok(batch), Ok(topic)) => {
                        let destination = Destination { topic, priority };
                        let answer = shared.buffer.append(&destination, boot, batch).await;
                        Answer::Append(answer.map_err(|_| RequestError::Closed)?)
                    }
                    (Err(error), _) => Answer::Ready(refusal(error)?),
                    (_, Err(error)) => Answer::Ready(refusal(error.to_string())?),
                }
            }
        };
        if answers.send(answer).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// A batch from another process is checked before it gets its stream.
fn checked(batch: Bytes) -> Result<Bytes, String> {
    let raw = RawBatch::parse(batch).map_err(|error| error.to_string())?;
    raw.verify_crc().map_err(|error| error.to_string())?;
    Ok(raw.into_bytes())
}

fn refusal(error: String) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&AppendAnswer::Error { error })
}

async fn write_answers(
    mut sink: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Answer>,
) -> Result<(), RequestError> {
    while let Some(answer) = queue.recv().await {
        let mut line = match answer {
            Answer::Ready(line) => line,
            Answer::Append(receiver) => match durable(receiver).await {
                Ok(appended) => serde_json::to_vec(&AppendAnswer::Stored { dropped: appended.dropped })?,
                Err(WriteError::Full) => serde_json::to_vec(&AppendAnswer::Full { full: true })?,
                Err(error) => refusal(error.to_string())?,
            },
        };
        line.push(b'\n');
        sink.write_all(&line).await?;
        sink.flush().await?;
    }
    Ok(())
}
