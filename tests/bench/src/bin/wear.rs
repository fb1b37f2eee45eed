//! What an agent writes to the flash, counted by the block device of an ext4 of its own, for several rates of records
//! and lingers; a hub takes what it ships.
//!
//! `cargo run --release -p bench --bin wear` as root

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bench::fed_agent::{FedAgent, NO_HUB, temperature};
use clap::Parser;
use testkit::disk::Disk;
use testkit::{Hub, binaries, wait};

#[derive(Debug, Parser)]
struct Arguments {
    /// How long is counted, in seconds: several of the longest linger
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// `strict` or `relaxed`
    #[arg(long, default_value = "strict")]
    durability: String,
    /// No hub takes anything: the buffer fills
    #[arg(long)]
    offline: bool,
}

const RATES: [u32; 3] = [1, 10, 100];
const LINGERS_S: [u64; 3] = [1, 10, 60];
const DISK_MEBIBYTES: u64 = 128;
const BUFFER_BYTES: u64 = 32 << 20;
/// Until the file system and the hub are past what comes once.
const SETTLED_AFTER: Duration = Duration::from_secs(10);
const DAY_S: f64 = 86_400.0;

/// One cell of the table: an agent on a disk of its own that reads records from its standard input.
struct Cell {
    rate: u32,
    /// Ends before its disk is unmounted.
    agent: FedAgent,
    disk: Disk,
    records: u64,
    written_before: u64,
}

impl Cell {
    fn start(folder: &Path, hub: &str, rate: u32, linger_s: u64, durability: &str) -> Result<Self> {
        let folder = folder.join(format!("{rate}-{linger_s}"));
        std::fs::create_dir_all(&folder)?;
        let disk = Disk::ext4(&folder, DISK_MEBIBYTES);
        let settings = format!(
            "hub = {hub:?}\ndevice_id = \"wear-{rate}-{linger_s}\"\ndata_dir = {:?}\nlinger_ms = {}\n\
             buffer_bytes = {BUFFER_BYTES}\n[buffer]\ndurability = {durability:?}\n",
            disk.path().join("agent"),
            linger_s * 1000,
        );
        let agent = FedAgent::start(&binaries::path("edge-agent"), &folder, &settings)?;
        Ok(Self { rate, agent, disk, records: 0, written_before: 0 })
    }

    /// Measures what is due after so long.
    fn feed(&mut self, passed: Duration) -> Result<()> {
        let due = (passed.as_secs_f64() * f64::from(self.rate)) as u64;
        while self.records < due {
            self.agent.put("temperature", &temperature(self.records))?;
            self.records += 1;
        }
        Ok(())
    }

    fn written(&self) -> Result<u64> {
        let synced = Command::new("sync").arg("-f").arg(self.disk.path()).status()?;
        ensure!(synced.success(), "sync failed");
        Ok(self.disk.bytes_written())
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let hub = Hub::started(folder.path());
    let url = if arguments.offline { NO_HUB.to_owned() } else { hub.mqtt_url() };
    let mut cells = Vec::new();
    for rate in RATES {
        for linger_s in LINGERS_S {
            cells.push(Cell::start(folder.path(), &url, rate, linger_s, &arguments.durability)?);
        }
    }
    let began = Instant::now();
    run(&mut cells, began, SETTLED_AFTER)?;
    for cell in &mut cells {
        cell.written_before = cell.written()?;
    }
    let counted_from = Instant::now();
    run(&mut cells, began, SETTLED_AFTER + Duration::from_secs(arguments.seconds))?;
    let lingers = LINGERS_S.map(|linger_s| format!(" linger {linger_s} s |")).concat();
    println!("durability {}, MB a day by the block device\n| records/s |{lingers}", arguments.durability);
    for row in cells.chunks(LINGERS_S.len()) {
        let mut line = format!("| {} |", row.first().map_or(0, |cell| cell.rate));
        for cell in row {
            let bytes = cell.written()? - cell.written_before;
            let a_day = bytes as f64 / counted_from.elapsed().as_secs_f64() * DAY_S / 1e6;
            line += &format!(" {a_day:.0} |");
        }
        println!("{line}");
    }
    Ok(())
}

/// Feeds all agents until so long after they began.
fn run(cells: &mut [Cell], began: Instant, until: Duration) -> Result<()> {
    while began.elapsed() < until {
        for cell in cells.iter_mut() {
            cell.feed(began.elapsed())?;
        }
        wait::pause(Duration::from_millis(10));
    }
    Ok(())
}
