//! Opening the buffer of an agent, which may take long: signals are heard meanwhile, and whoever waits hears why.

use std::fs;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use program::Failure;
use schemas::DeviceId;
use tokio::time::{Instant, interval_at, timeout};

use super::common::open_buffer;
use crate::buffer::{Buffer, DATA_FILE, Stage};
use crate::config::Config;
use crate::data_dir::{DataDir, DataDirLock};
use crate::inputs::beside::beside;
use crate::operations::Notify;
use crate::time::Clock;

/// How often it is told what is being done.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// What is opened within this is closed as it should be.
const OPENED_WITHIN: Duration = Duration::from_secs(1);

/// A buffer that a thread of its own opens. What it leaves when the process ends is what a power cut leaves.
pub(super) struct Opening {
    opened: Pin<Box<dyn Future<Output = Result<Buffer, Failure>>>>,
    lock: Arc<DataDirLock>,
    stage: Stage,
    notify: Notify,
}

impl Opening {
    pub fn start(
        dir: &DataDir,
        device: &DeviceId,
        clock: &Arc<Clock>,
        config: &Config,
        lock: &Arc<DataDirLock>,
    ) -> Self {
        let (stage, notify) = (Stage::default(), Notify::from_environment());
        notify.opening(buffer_file_bytes(dir));
        let (dir, device, clock, config) = (dir.clone(), device.clone(), clock.clone(), config.clone());
        let (held, told) = (lock.clone(), stage.clone());
        let open = move || {
            let opened = open_buffer(&dir, &device, &clock, &config, told);
            // Not before: nobody else may come to the buffer while this is at it.
            drop(held);
            opened
        };
        let opened = Box::pin(async { beside(open).await.map_err(Failure::run)? });
        Self { opened, lock: lock.clone(), stage, notify }
    }

    /// The buffer, or `None` where a signal came first.
    pub async fn until(
        mut self,
        terminated: impl Future<Output = &'static str>,
    ) -> Result<Option<Buffer>, Failure> {
        tokio::pin!(terminated);
        let mut told = Told::default();
        let mut looks = interval_at(Instant::now() + TELL_EVERY, TELL_EVERY);
        loop {
            tokio::select! {
                biased;
                signal = &mut terminated => return self.stop(signal).await.map(|()| None),
                opened = &mut self.opened => {
                    self.lock.tell("");
                    return opened.map(Some);
                }
                _ = looks.tick() => told.tell(&self),
            }
        }
    }

    async fn stop(mut self, signal: &'static str) -> Result<(), Failure> {
        tracing::info!(signal, "stopping");
        self.notify.stopping();
        match timeout(OPENED_WITHIN, &mut self.opened).await {
            Ok(opened) => opened?.close().await.map_err(Failure::run),
            Err(_) => {
                tracing::warn!(
                    "the agent has stopped while it was {}; the next start goes on with it",
                    self.stage
                );
                Ok(())
            }
        }
    }
}

/// What was told last.
#[derive(Default)]
struct Told {
    what: String,
    salvaged_bytes: u64,
}

impl Told {
    fn tell(&mut self, opening: &Opening) {
        let (what, salvaged_bytes) = (opening.stage.to_string(), opening.stage.salvaged_bytes());
        if what != self.what {
            opening.lock.tell(&what);
        }
        if what != self.what || salvaged_bytes != self.salvaged_bytes {
            opening.notify.still_opening(&what);
        }
        (self.what, self.salvaged_bytes) = (what, salvaged_bytes);
    }
}

/// What there may be to check or to salvage.
fn buffer_file_bytes(dir: &DataDir) -> u64 {
    let length = |dir: PathBuf| fs::metadata(dir.join(DATA_FILE)).map_or(0, |meta| meta.len());
    length(dir.buffer()).max(length(dir.damaged()))
}
