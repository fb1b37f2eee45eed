//! Speaking to a running agent.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;
use uuid::Uuid;

use super::protocol::{AppendAnswer, Ask, LineError, Request, read_line};
use crate::data_dir::DataDir;
use crate::destination::Destination;
use crate::limits::{STATUS_WITHIN, STORED_WITHIN};
use crate::status::Status;

#[derive(Debug, Error)]
pub enum ClientError {
    #[error("the agent's socket: {0}")]
    Io(#[from] io::Error),
    #[error("the agent's answer: {0}")]
    Line(#[from] LineError),
    #[error("the agent's answer is not understood: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the agent ended before it answered")]
    Ended,
    #[error("the agent: {0}")]
    Refused(String),
    /// It may be stopped, or wait for a disk.
    #[error("the agent (pid {pid}) does not answer")]
    Silent { pid: i32 },
}

/// A connection to the agent of a data directory.
pub struct Client {
    stream: BufReader<UnixStream>,
    /// 0 where the system does not tell.
    pid: i32,
}

impl Client {
    /// Connects; `None` where no agent listens.
    pub async fn connect(dir: &DataDir) -> Result<Option<Self>, ClientError> {
        let (_held, path) = dir.short_socket()?;
        match UnixStream::connect(path).await {
            Ok(stream) => {
                let pid = stream.peer_cred().ok().and_then(|peer| peer.pid()).unwrap_or(0);
                Ok(Some(Self { stream: BufReader::new(stream), pid }))
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub async fn status(&mut self) -> Result<Status, ClientError> {
        self.send(Ask::Status, None, STATUS_WITHIN).await?;
        Ok(serde_json::from_slice(&self.answer(STATUS_WITHIN).await?)?)
    }

    /// Sends a batch; its answer is to be read with [`Client::appended`], in order.
    pub async fn append(
        &mut self,
        destination: &Destination,
        boot: Option<Uuid>,
        batch: Bytes,
    ) -> Result<(), ClientError> {
        let Destination { topic, priority } = destination;
        let ask = Ask::Append { topic: topic.to_string(), priority: *priority, boot, bytes: batch.len() };
        self.send(ask, Some(batch), STORED_WITHIN).await
    }

    /// Waits until the oldest batch that was sent is durable; answers how many records were dropped for it, `None`
    /// where it was dropped itself.
    pub async fn appended(&mut self) -> Result<Option<u64>, ClientError> {
        match serde_json::from_slice(&self.answer(STORED_WITHIN).await?)? {
            AppendAnswer::Stored { dropped } => Ok(Some(dropped)),
            AppendAnswer::Full { .. } => Ok(None),
            AppendAnswer::Error { error } => Err(ClientError::Refused(error)),
        }
    }

    async fn send(&mut self, ask: Ask, body: Option<Bytes>, within: Duration) -> Result<(), ClientError> {
        let mut message = serde_json::to_vec(&Request::new(ask))?;
        message.push(b'\n');
        message.extend(body.unwrap_or_default());
        let sent = timeout(within, self.stream.write_all(&message)).await;
        Ok(sent.map_err(|_| ClientError::Silent { pid: self.pid })??)
    }

    async fn answer(&mut self, within: Duration) -> Result<Vec<u8>, ClientError> {
        let line = timeout(within, read_line(&mut self.stream)).await;
        line.map_err(|_| ClientError::Silent { pid: self.pid })??.ok_or(ClientError::Ended)
    }
}
