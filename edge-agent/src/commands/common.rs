//! What commands share: who has the buffer open.

use std::sync::Arc;
use std::time::Duration;

use program::Failure;
use schemas::DeviceId;
use tokio::time::Instant;

use crate::buffer::{Buffer, BufferOptions, Durability, Stage};
use crate::config::Config;
use crate::control::Client;
use crate::data_dir::{DataDir, DataDirLock};
use crate::device_id::keep_beside_records;
use crate::limits::BLOCKING_THREADS_MAX;
use crate::time::Clock;

/// How long a command waits for another one that has the buffer open.
const BUSY_MAX: Duration = Duration::from_secs(60);
/// How long it waits for an agent that opens its buffer.
const OPENING_MAX: Duration = Duration::from_secs(3);
const BUSY_POLL: Duration = Duration::from_millis(50);

/// The way to a buffer that may be in use.
pub enum Access {
    /// An agent runs and has it.
    Agent(Client),
    /// An agent runs and is at this, which takes long.
    Opening(String),
    /// Nobody has it; this process does from now on.
    Own(DataDirLock),
}

/// Finds the running agent, or takes the lock; waits for a moment where another command has it, or an agent begins.
pub async fn access(dir: &DataDir) -> Result<Access, Failure> {
    let begun = Instant::now();
    loop {
        if let Some(client) = Client::connect(dir).await.map_err(Failure::run)? {
            return Ok(Access::Agent(client));
        }
        if let Some(lock) = dir.try_lock().map_err(Failure::usage)? {
            return Ok(Access::Own(lock));
        }
        if begun.elapsed() >= OPENING_MAX
            && let Some(what) = dir.told()
        {
            return Ok(Access::Opening(what));
        }
        if begun.elapsed() >= BUSY_MAX {
            return Err(Failure::run(format!(
                "{}: another process has the buffer open",
                dir.root().display()
            )));
        }
        tokio::time::sleep(BUSY_POLL).await;
    }
}

/// The clock of this machine, with what an earlier run knew of it.
pub fn open_clock(dir: &DataDir) -> Arc<Clock> {
    let clock = Clock::of_this_machine();
    clock.read(&dir.time());
    Arc::new(clock)
}

/// Opens the buffer; the caller holds the lock.
pub fn open_buffer(
    dir: &DataDir,
    device: &DeviceId,
    clock: &Arc<Clock>,
    config: &Config,
    stage: Stage,
) -> Result<Buffer, Failure> {
    let buffer = &config.buffer;
    let options = BufferOptions {
        retention: buffer.retention(config.buffer_bytes),
        durability: if config.fsync { buffer.durability } else { Durability::Off },
        is_preallocated: buffer.is_preallocated,
        flash_bytes_per_day_max: buffer.flash_bytes_per_day_max,
        clock: clock.clone(),
        stage,
        ..BufferOptions::new(dir.clone(), device.clone(), config.topic.clone(), config.buffer_bytes)
    };
    let buffer = Buffer::open(&options).map_err(Failure::usage)?;
    keep_beside_records(dir, device);
    Ok(buffer)
}

/// One thread: these programs wait most of the time, and an idle agent is to stay small.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .map_err(Failure::run)
}
