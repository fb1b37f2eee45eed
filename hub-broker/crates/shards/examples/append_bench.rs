//! How many batches the shards take, durably.
//!
//! `cargo run --release -p shards --example append_bench -- [THREADS] [WINDOW] [SECONDS] [DIR]`
//!
//! THREADS threads each keep WINDOW appends in flight, over 16 partitions, first with batches of 100 bytes, then of
//! 16 KiB. DIR is made and removed; the default is a directory below the current one, so that it lies on a disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use schemas::{BatchBuilder, BuilderOptions, Compression, PartitionId, PartitionIndex, ShardId, TopicId};
use shards::*;
use uuid::Uuid;

const PARTITIONS: u16 = 16;

struct NoMetadata;

impl StateMachine for NoMetadata {
    fn apply(&mut self, _at: AppliedAt, _command: &Bytes) -> Result<Bytes, UnknownCommand> {
        Ok(Bytes::new())
    }

    fn snapshot(&self) -> Bytes {
        Bytes::new()
    }

    fn restore(&mut self, _snapshot: &Bytes) -> Result<(), RestoreError> {
        Ok(())
    }
}

/// Appends of one thread that wait for their answer.
#[derive(Default)]
struct Window {
    in_flight: Mutex<usize>,
    changed: Condvar,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (threads, window, seconds) = (number(4)?, number(100)?, number(5)?);
    let dir = arguments.next().map_or_else(|| PathBuf::from("append-bench-data"), PathBuf::from);
    println!("{threads} threads, window {window}, {PARTITIONS} partitions, {seconds} s each");
    for record_bytes in [20, 16 * 1024 - 96] {
        measure(&dir, threads, window, Duration::from_secs(seconds), record_bytes).await?;
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

async fn measure(dir: &Path, threads: u64, window: u64, time: Duration, record: usize) -> anyhow::Result<()> {
    let shards = Shards::start_alone(Config::new(dir), Box::new(NoMetadata))?;
    for n in 0..PARTITIONS {
        let command = PartitionCommand::Open { partition: partition(n), options: LogOptions::default() };
        shards.command(ShardId(n), command).await?;
    }
    let mut builder =
        BatchBuilder::new(BuilderOptions { compression: Compression::None, ..Default::default() });
    builder.push(1, None, Some(&vec![7; record]), &[])?;
    let batch = builder.finish()?;
    let stored = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let run = |thread: u64| {
        let (shards, batch, stored) = (shards.clone(), batch.clone(), stored.clone());
        std::thread::spawn(move || {
            append_until(&shards, &batch, &stored, thread, window as usize, begun + time);
        })
    };
    let handles: Vec<_> = (0..threads).map(run).collect();
    for handle in handles {
        handle.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let count = stored.load(Ordering::Relaxed) as f64;
    let megabytes = count * batch.len() as f64 / 1e6;
    let (size, rate) = (batch.len(), count / seconds);
    println!("{size:>6} bytes: {rate:>9.0} batches/s, {:>7.1} MB/s", megabytes / seconds);
    shards.shutdown().await;
    Ok(())
}

fn append_until(
    shards: &Shards,
    batch: &Bytes,
    stored: &Arc<AtomicU64>,
    thread: u64,
    window: usize,
    end: Instant,
) {
    let open = Arc::new(Window::default());
    let mut next = thread as u16;
    while Instant::now() < end {
        let mut in_flight = open.in_flight.lock();
        while *in_flight >= window {
            open.changed.wait(&mut in_flight);
        }
        *in_flight += 1;
        drop(in_flight);
        next = (next + 1) % PARTITIONS;
        let append = Append {
            partition: partition(next),
            origin: Origin::Kafka,
            batch: batch.clone(),
            expected_term: None,
        };
        let (open, stored) = (open.clone(), stored.clone());
        let done = move |result: Result<Appended, AppendError>| {
            stored.fetch_add(u64::from(result.is_ok()), Ordering::Relaxed);
            *open.in_flight.lock() -= 1;
            open.changed.notify_one();
        };
        shards.append(ShardId(next), append, Box::new(done));
    }
    let mut in_flight = open.in_flight.lock();
    while *in_flight > 0 {
        open.changed.wait(&mut in_flight);
    }
}

fn partition(n: u16) -> PartitionId {
    PartitionId { topic: TopicId(Uuid::from_u128(1)), index: PartitionIndex(i32::from(n)) }
}
