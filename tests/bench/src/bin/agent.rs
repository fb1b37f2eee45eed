//! From a full buffer into the log: an agent that was away ships its backlog.
//!
//! `cargo run --release -p bench --bin agent`

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bench::memory::Memory;
use bench::report;
use clap::Parser;
use rdkafka::consumer::Consumer as _;
use testkit::{Agent, Hub, kafka, wait};

#[derive(Debug, Parser)]
struct Arguments {
    /// Records in the buffer, in thousands
    #[arg(long, default_value_t = 5000)]
    thousands: u64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

const AIM: f64 = 300_000.0;
const TOPIC: &str = "telemetry";
const PARTITIONS: i32 = 4;
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
const SHIPPED_WITHIN: Duration = Duration::from_secs(300);
/// 2026-01-01, in ms.
const FIRST_MS: u64 = 1_767_225_600_000;
/// An odd number whose multiples look like noise (Knuth, The Art of Computer Programming, 6.4).
const NOISE: u64 = 0x9E37_79B9_7F4A_7C15;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let records = arguments.thousands * 1000;
    let file = tempfile::tempdir()?;
    let rows = rows(file.path(), records)?;
    let mut rates = Vec::new();
    for _ in 0..arguments.rounds {
        rates.push(round(&rows, records)?);
    }
    report::at_least("agent to log from a full buffer", "records/s", &rates, AIM);
    Ok(())
}

/// A CSV with a temperature about every second. The digits are noise, so that they compress no better than a sensor's.
fn rows(folder: &Path, records: u64) -> Result<PathBuf> {
    let path = folder.join("rows.csv");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
    file.write_all(b"time,temperature\n")?;
    let mut row = String::new();
    for number in 0..records {
        let noise = number.wrapping_mul(NOISE) >> 32;
        row.clear();
        writeln!(row, "{},{}.{:04}", FIRST_MS + number * 1000 + noise % 97, 15 + noise % 11, noise % 9973)?;
        file.write_all(row.as_bytes())?;
    }
    file.flush()?;
    Ok(path)
}

fn round(rows: &Path, records: u64) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let hub = Hub::started(folder.path());
    let created = hub.tool(&["topic", "create", TOPIC, "--partitions", &PARTITIONS.to_string()]).output()?;
    ensure!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let mut agent = Agent::new(folder.path(), "full", &hub.mqtt_url());
    let start = Instant::now();
    let ingested = agent.ingest_file(rows);
    ensure!(ingested.status.success(), "{}", String::from_utf8_lossy(&ingested.stderr));
    let printed = String::from_utf8_lossy(&ingested.stdout).into_owned();
    ensure!(printed.contains(" 0 dropped"), "a gap would count as the records that it stands for: {printed}");
    let into_buffer = records as f64 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    agent.start();
    let consumer = kafka::consumer(&hub.brokers());
    let stored = |partition| {
        let bounds = consumer.fetch_watermarks(TOPIC, partition, ANSWERED_WITHIN);
        bounds.map_or(0, |(low, high)| (high - low).unsigned_abs())
    };
    wait::until("the backlog in the log", SHIPPED_WITHIN, || {
        ((0..PARTITIONS).map(stored).sum::<u64>() >= records).then_some(())
    });
    let rate = records as f64 / start.elapsed().as_secs_f64();
    if let Some(process) = agent.process() {
        let memory = Memory::of(process.id())?;
        println!(
            "into the buffer {into_buffer:.0} records/s, into the log {rate:.0} records/s; \
             the agent's memory: anonymous {:.1} MB, peak {:.1} MB with the buffer's mapped pages",
            memory.anonymous_mb, memory.peak_mb
        );
    }
    Ok(rate)
}
