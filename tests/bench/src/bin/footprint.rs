//! What hub and agent need when nothing happens, what a load makes of it, and how long the hub takes to start with
//! nothing and with much in its data directory.
//!
//! `cargo run --release -p bench --bin footprint`

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bench::memory::Memory;
use bench::{load, report};
use clap::Parser;
use testkit::{Agent, Hub, Process, wait};

#[derive(Debug, Parser)]
struct Arguments {
    /// MiB of records in the data directory of the second start
    #[arg(long, default_value_t = 2048)]
    data_mib: u64,
    /// Starts of each kind
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

const HUB_ANONYMOUS_MB_AIM: f64 = 40.0;
const AGENT_ANONYMOUS_MB_AIM: f64 = 10.0;
const RECORD_BYTES: usize = 1024;
const TOPIC: &str = "footprint";
const PARTITIONS: &str = "16";
/// Until what a start or a load took in passing has been given back.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    println!("start-up with an empty data directory: {}", empty_starts(arguments.rounds)?);
    let mut hub = Hub::started(folder.path());
    let mut agent = Agent::new(folder.path(), "idle", &hub.mqtt_url());
    agent.start();
    wait::pause(SETTLED_AFTER);
    let idle = memory(hub.process())?;
    report::at_most("idle hub, anonymous memory", "MB", idle.anonymous_mb, HUB_ANONYMOUS_MB_AIM);
    println!("idle hub, peak: {:.1} MB", idle.peak_mb);
    let idle = memory(agent.process())?;
    report::at_most("idle agent, anonymous memory", "MB", idle.anonymous_mb, AGENT_ANONYMOUS_MB_AIM);
    println!("idle agent, peak: {:.1} MB", idle.peak_mb);
    agent.stop();
    fill(&hub, arguments.data_mib)?;
    let loaded = memory(hub.process())?;
    println!(
        "hub after {} MiB through Kafka: anonymous {:.1} MB, peak {:.1} MB",
        arguments.data_mib, loaded.anonymous_mb, loaded.peak_mb
    );
    for (what, killed) in [("after a stop", false), ("after a kill", true)] {
        let times = full_starts(&mut hub, arguments.rounds, killed)?;
        println!("start-up with {} MiB {what}: {times}", arguments.data_mib);
    }
    Ok(())
}

fn memory(process: Option<&mut Process>) -> Result<Memory> {
    Memory::of(process.context("not started")?.id())
}

/// Milliseconds from the start of the process until `/readyz` says yes.
fn started(hub: &mut Hub) -> f64 {
    let start = Instant::now();
    hub.start();
    start.elapsed().as_secs_f64() * 1000.0
}

fn empty_starts(rounds: usize) -> Result<String> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let folder = tempfile::tempdir()?;
        times.push(started(&mut Hub::new(folder.path())));
    }
    Ok(milliseconds(&times))
}

fn full_starts(hub: &mut Hub, rounds: usize, killed: bool) -> Result<String> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        if killed {
            // So that there is something to replay.
            load::produce(&hub.brokers(), TOPIC, 50_000, RECORD_BYTES)?;
            hub.kill();
        } else {
            hub.stop();
        }
        times.push(started(hub));
    }
    Ok(milliseconds(&times))
}

fn milliseconds(times: &[f64]) -> String {
    format!("{:.0} ms", report::median(times))
}

fn fill(hub: &Hub, mib: u64) -> Result<()> {
    let created = hub.tool(&["topic", "create", TOPIC, "--partitions", PARTITIONS]).output()?;
    anyhow::ensure!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    load::produce(&hub.brokers(), TOPIC, mib << 10, RECORD_BYTES)?;
    let size = directory_bytes(&hub.data_dir().join("log"))?;
    println!("segments: {} MiB", size >> 20);
    Ok(())
}

fn directory_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += if found.is_dir() { directory_bytes(&entry.path())? } else { found.len() };
    }
    Ok(bytes)
}
