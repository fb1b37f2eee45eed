//! Where batches go: to the running agent, or into the buffer.

use std::collections::VecDeque;
use std::sync::Arc;

use program::Failure;
use schemas::DeviceId;
use tokio::sync::oneshot;

use super::tally::Tally;
use crate::batcher::Built;
use crate::buffer::{Appended, Buffer, Stage, WriteError, durable};
use crate::commands::common::{Access, access, open_buffer};
use crate::config::Config;
use crate::control::{Client, ClientError};
use crate::data_dir::{DataDir, DataDirLock};
use crate::destination::Destination;
use crate::limits::CONTROL_PIPELINE;
use crate::time::Clock;

/// Where batches go.
pub(super) enum Sink {
    Agent {
        client: Client,
        waiting: VecDeque<u64>,
    },
    Own {
        buffer: Buffer,
        waiting: VecDeque<(u64, oneshot::Receiver<Result<Appended, WriteError>>)>,
        _lock: DataDirLock,
    },
}

impl Sink {
    pub async fn open(
        dir: &DataDir,
        device: &DeviceId,
        clock: &Arc<Clock>,
        config: &Config,
    ) -> Result<Self, Failure> {
        Ok(match access(dir).await? {
            Access::Agent(client) => Self::Agent { client, waiting: VecDeque::new() },
            Access::Opening(what) => {
                return Err(Failure::run(format!("the agent is {what}; nothing was taken, try again later")));
            }
            Access::Own(lock) => {
                let mut config = config.clone();
                // One that is there has what the agent's settings gave it, which this may not have been given.
                config.buffer.is_preallocated &= !dir.buffer().exists();
                let buffer = open_buffer(dir, device, clock, &config, Stage::default())?;
                Self::Own { buffer, waiting: VecDeque::new(), _lock: lock }
            }
        })
    }

    /// Hands a batch over; waits for the oldest where many are not durable yet.
    pub async fn append(
        &mut self,
        destination: &Destination,
        built: Built,
        tally: &mut Tally,
    ) -> Result<(), Failure> {
        let records = built.records as u64;
        match self {
            Self::Agent { client, waiting } => {
                waiting.push_back(records);
                let sent = client.append(destination, built.boot, built.batch).await;
                sent.map_err(|error| lost(&error, waiting, tally))?;
            }
            Self::Own { buffer, waiting, .. } => {
                let answer =
                    buffer.append(destination, built.boot, built.batch).await.map_err(Failure::run)?;
                waiting.push_back((records, answer));
            }
        }
        if self.waiting() >= CONTROL_PIPELINE { self.settle(tally).await } else { Ok(()) }
    }

    fn waiting(&self) -> usize {
        match self {
            Self::Agent { waiting, .. } => waiting.len(),
            Self::Own { waiting, .. } => waiting.len(),
        }
    }

    /// Waits until the oldest batch is durable.
    async fn settle(&mut self, tally: &mut Tally) -> Result<(), Failure> {
        let (records, dropped) = match self {
            Self::Agent { client, waiting } => {
                let Some(records) = waiting.front().copied() else { return Ok(()) };
                let dropped = match client.appended().await {
                    Err(error @ ClientError::Refused(_)) => {
                        waiting.pop_front();
                        return Err(Failure::run(error));
                    }
                    other => other.map_err(|error| lost(&error, waiting, tally))?,
                };
                waiting.pop_front();
                (records, dropped)
            }
            Self::Own { waiting, .. } => {
                let Some((records, answer)) = waiting.pop_front() else { return Ok(()) };
                match durable(answer).await {
                    Err(WriteError::Full) => (records, None),
                    appended => (records, Some(appended.map_err(Failure::run)?.dropped)),
                }
            }
        };
        match dropped {
            Some(dropped) => {
                tally.stored += records;
                tally.dropped += dropped;
            }
            None => tally.dropped += records,
        }
        Ok(())
    }

    /// Waits for everything that was handed over; answers the first failure.
    pub async fn finish(&mut self, tally: &mut Tally) -> Result<(), Failure> {
        let mut first = Ok(());
        while self.waiting() > 0 {
            let settled = self.settle(tally).await;
            first = first.and(settled);
        }
        first
    }

    pub async fn close(self) -> Result<(), Failure> {
        match self {
            Self::Agent { .. } => Ok(()),
            Self::Own { buffer, .. } => buffer.close().await.map_err(Failure::run),
        }
    }
}

/// Nothing more comes from the agent: what it has not confirmed may be stored or not.
fn lost(error: &ClientError, waiting: &mut VecDeque<u64>, tally: &mut Tally) -> Failure {
    tally.unconfirmed += waiting.drain(..).sum::<u64>();
    Failure::run(error)
}
