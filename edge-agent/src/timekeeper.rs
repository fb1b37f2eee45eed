//! Keeps the time while the agent runs: looks at the clocks, asks the hardware clock where nobody else knows the time,
//! and makes durable what is known.
//!
//! What this boot's clock is goes into the buffer as soon as it is known, also without a hub: so what was measured
//! before that is stamped after a power cut too. What only the hardware clock told gives way to what a hub or the
//! kernel tells later, until something is shipped by it. The last known time is written when the time becomes known or is
//! corrected, every six hours, and at the end.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::buffer::Buffer;
use crate::limits::{CLOCK_LOOK, CLOCK_WRITE};
use crate::time::{Clock, HardwareCheck, Source};

/// Keeps the time until it is stopped.
pub struct Timekeeper {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Keeping {
    clock: Arc<Clock>,
    buffer: Buffer,
    /// Where the last known time is written down.
    file: PathBuf,
    /// `None` once it was judged.
    hardware: Option<HardwareCheck>,
    /// By whom the time was known when it was written down, with the offset, and when.
    written: Option<(Source, i64, Instant)>,
    has_failed: bool,
}

impl Timekeeper {
    pub fn start(clock: Arc<Clock>, buffer: Buffer, file: PathBuf) -> Self {
        let hardware = Some(HardwareCheck::default());
        let keeping = Keeping { clock, buffer, file, hardware, written: None, has_failed: false };
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(keeping.run(stop.clone())), stop }
    }

    /// Ends when the last known time is written down; the buffer must still be open.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

impl Keeping {
    async fn run(mut self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(CLOCK_LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let clock = self.clock.clone();
            tokio::select! {
                () = stop.cancelled() => break,
                _ = looks.tick() => {}
                () = clock.changed() => {}
            }
            self.look().await;
        }
        self.stamp_boot().await;
        self.write().await;
    }

    async fn look(&mut self) {
        if self.clock.known_offset().is_none() {
            self.ask_hardware();
        }
        if self.clock.known_offset().is_none() {
            return;
        }
        self.stamp_boot().await;
        if self.is_due() {
            self.write().await;
        }
    }

    fn ask_hardware(&mut self) {
        let (Some(check), Some(hardware_s)) = (&mut self.hardware, self.clock.hardware_s()) else { return };
        match check.look(self.clock.boot_ms(), hardware_s, self.clock.last_known_ms()) {
            None => return,
            Some(Ok(offset_ms)) => self.clock.recall(Source::HardwareClock, offset_ms),
            Some(Err(doubt)) => {
                tracing::warn!(%doubt, "the hardware clock is not believed");
                self.clock.doubt_hardware(doubt.to_string());
            }
        }
        self.hardware = None;
    }

    /// Makes durable what this boot's clock is. Where that fails it is tried again; a buffer that has failed ends the
    /// agent elsewhere.
    async fn stamp_boot(&self) {
        let stamping = self.buffer.snapshot().stamping(&self.clock, false);
        if let Some(amendment) = stamping
            && let Err(error) = self.buffer.amend(amendment).await
        {
            tracing::debug!(%error, "what this boot's clock is could not be made durable");
        }
    }

    /// Whether it was never written in this run, is another than was written, or long ago.
    fn is_due(&self) -> bool {
        let status = self.clock.status();
        match (self.written, status.source) {
            (Some((source, offset_ms, at)), Some(now)) => {
                let is_other = source != now
                    || self.clock.known_offset().is_some_and(|it| it.abs_diff(offset_ms) > 1000);
                is_other || at.elapsed() >= CLOCK_WRITE
            }
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }

    async fn write(&mut self) {
        let (Some(source), Some(offset_ms)) = (self.clock.status().source, self.clock.known_offset()) else {
            return;
        };
        let (clock, file) = (self.clock.clone(), self.file.clone());
        let written = tokio::task::spawn_blocking(move || clock.write(&file)).await;
        self.written = Some((source, offset_ms, Instant::now()));
        match written {
            Ok(Err(error)) if !self.has_failed => {
                tracing::warn!(%error, "the last known time cannot be written down");
                self.has_failed = true;
            }
            Ok(Err(_)) | Err(_) => {}
            Ok(Ok(())) => self.has_failed = false,
        }
    }
}
