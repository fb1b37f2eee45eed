//! What the agent takes of a device, as it is built for devices: how large it is, its share of a processor and its
//! memory, beside collectd at the same work; then its memory with a full buffer.
//!
//! `deploy/cross x86_64 && cargo run --release -p bench --bin edge_footprint`

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench::collectd::{self, Collectd};
use bench::fed_agent::{FedAgent, NO_HUB, NOISE, temperature};
use bench::loaded::Loaded;
use bench::memory::Memory;
use bench::{cpu, report};
use clap::Parser;
use testkit::{Hub, binaries, wait};

#[derive(Debug, Parser)]
struct Arguments {
    /// How long processor time is counted, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The size of the buffer that is filled, in MiB
    #[arg(long, default_value_t = 256)]
    buffer_mib: u64,
    /// The agent's program  [default: the one that deploy/cross built for this processor]
    #[arg(long)]
    agent: Option<PathBuf>,
}

const PROGRAM_MB_AIM: f64 = 4.0;
const ANONYMOUS_MB_AIM: f64 = 8.0;
const PERCENT_AIM: f64 = 1.0;
/// Sensors that are measured once a second.
const SENSORS: u64 = 100;
/// Until what a start took in passing has been given back.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
const STARTED_WITHIN: Duration = Duration::from_secs(60);
const SHIPPED_WITHIN: Duration = Duration::from_secs(600);
/// How often memory is looked at while a backlog is shipped, and how often whether it has been.
const LOOK: Duration = Duration::from_millis(10);
const LOOKS_PER_STATUS: usize = 20;
const LINES_AT_ONCE: u64 = 10_000;
/// What a line of the filler takes in the buffer, about.
const FILLER_BYTES: u64 = 110;

/// An agent that reads the machine every second, and records from its standard input.
struct Agent {
    program: PathBuf,
    data_dir: PathBuf,
    fed: FedAgent,
}

impl Agent {
    fn start(program: &Path, folder: &Path, hub: &str, buffer_mib: u64) -> Result<Self> {
        let data_dir = folder.join("agent");
        let settings = format!(
            "hub = {hub:?}\ndevice_id = \"footprint\"\ndata_dir = {data_dir:?}\nbuffer_bytes = {}\n\
             [[inputs]]\nkind = \"host\"\ninterval_ms = 1000\n",
            buffer_mib << 20
        );
        let fed = FedAgent::start(program, folder, &settings)?;
        let agent = Self { program: program.to_owned(), data_dir, fed };
        wait::until("the agent to run", STARTED_WITHIN, || agent.buffered().ok());
        Ok(agent)
    }

    fn id(&self) -> u32 {
        self.fed.id()
    }

    fn put(&mut self, sensor: u64, value: &str) -> Result<()> {
        self.fed.put(&format!("sensor-{sensor}"), value)
    }

    /// Records in its buffer.
    fn buffered(&self) -> Result<u64> {
        let mut command = Command::new(&self.program);
        let output = command.args(["status", "--json", "--data-dir"]).arg(&self.data_dir).output()?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        status["buffer"]["records"].as_u64().context("no records in the status")
    }

    /// Fills its buffer until something has to be dropped. The values are noise that does not compress.
    fn fill(&self, buffer_mib: u64) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["ingest", "--device-id", "footprint", "--data-dir"]).arg(&self.data_dir).arg("-");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().context("a piped standard input")?;
        let (mut lines, mut noise) = (String::new(), 1_u64);
        for _ in 0..(buffer_mib << 20) * 3 / 2 / FILLER_BYTES / LINES_AT_ONCE {
            lines.clear();
            for _ in 0..LINES_AT_ONCE {
                lines.push_str("{\"noise\": \"");
                for _ in 0..12 {
                    noise = (noise ^ (noise >> 29)).wrapping_mul(NOISE).wrapping_add(1);
                    write!(lines, "{noise:016x}")?;
                }
                lines.push_str("\"}\n");
            }
            input.write_all(lines.as_bytes())?;
        }
        drop(input);
        let output = child.wait_with_output()?;
        let printed = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success() && !printed.contains(" 0 dropped"), "it is not full: {printed}");
        Ok(())
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let built = format!("{}-unknown-linux-gnu/edge/edge-agent", std::env::consts::ARCH);
    let program = arguments.agent.clone().or_else(|| binaries::find(&built));
    let program =
        program.with_context(|| format!("build it first: deploy/cross {}", std::env::consts::ARCH))?;
    beside_collectd(&program, Duration::from_secs(arguments.seconds))?;
    full_buffer(&program, &arguments)
}

fn beside_collectd(program: &Path, time: Duration) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let hub = Hub::started(folder.path());
    let mut agent = Agent::start(program, folder.path(), &hub.mqtt_url(), 64)?;
    let mut collectd = Collectd::start(folder.path())?;
    feed(&mut agent, Some(&mut collectd), SETTLED_AFTER)?;
    let used = |agent: &Agent, collectd: &Collectd| -> Result<_> {
        Ok((cpu::seconds(agent.id())?, cpu::seconds(collectd.id())?))
    };
    let (start, before) = (Instant::now(), used(&agent, &collectd)?);
    feed(&mut agent, Some(&mut collectd), time)?;
    let (passed, after) = (start.elapsed().as_secs_f64(), used(&agent, &collectd)?);
    let percent = |before: f64, after: f64| (after - before) / passed * 100.0;

    let (size, beside) =
        (Loaded::by(agent.id(), None)?, Loaded::by(collectd.id(), Some(Path::new(collectd::PLUGINS)))?);
    let mb = |bytes: u64| bytes as f64 / 1e6;
    report::at_most("agent, program", "MB", mb(size.own), PROGRAM_MB_AIM);
    println!("collectd, program and loaded plugins: {:.1} MB", mb(beside.own));
    println!(
        "shared libraries beside that: agent {:.1} MB, collectd {:.1} MB",
        mb(size.shared),
        mb(beside.shared)
    );
    let work = format!("{SENSORS} values a second, and the machine every second");
    report::at_most(&format!("agent, {work}: of a core"), "%", percent(before.0, after.0), PERCENT_AIM);
    println!("collectd, the same: {:.1} %", percent(before.1, after.1));
    let (ours, theirs) = (Memory::of(agent.id())?, Memory::of(collectd.id())?);
    report::at_most("agent, the same: anonymous memory", "MB", ours.anonymous_mb, ANONYMOUS_MB_AIM);
    println!("collectd, the same: {:.1} MB", theirs.anonymous_mb);
    println!("peaks, with files' pages: agent {:.1} MB, collectd {:.1} MB", ours.peak_mb, theirs.peak_mb);
    Ok(())
}

/// Has every sensor measured once a second, spread evenly.
fn feed(agent: &mut Agent, mut collectd: Option<&mut Collectd>, time: Duration) -> Result<()> {
    let (start, pause) = (Instant::now(), Duration::from_secs(1) / u32::try_from(SENSORS)?);
    let mut number = 0_u64;
    while start.elapsed() < time {
        let value = temperature(number);
        let sensor = number % SENSORS;
        agent.put(sensor, &value)?;
        if let Some(collectd) = &mut collectd {
            collectd.put(sensor, &value)?;
        }
        number += 1;
        wait::pause((start + pause * u32::try_from(number)?).saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Memory while nothing more fits, after a start with all of it, and while it is shipped.
fn full_buffer(program: &Path, arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mib = arguments.buffer_mib;
    let mut agent = Agent::start(program, folder.path(), NO_HUB, mib)?;
    agent.fill(mib)?;
    feed(&mut agent, None, SETTLED_AFTER)?;
    let records = agent.buffered()?;
    let full = Memory::of(agent.id())?;
    let what = format!("agent with a full buffer of {mib} MiB ({records} records), 100 more a second");
    report::at_most(&what, "MB", full.anonymous_mb, ANONYMOUS_MB_AIM);
    println!("its peak, with files' pages: {:.1} MB", full.peak_mb);
    drop(agent);

    let hub = Hub::started(folder.path());
    let agent = Agent::start(program, folder.path(), &hub.mqtt_url(), mib)?;
    let (start, mut most) = (Instant::now(), Memory::of(agent.id())?.anonymous_mb);
    report::at_most("agent just started with it", "MB", most, ANONYMOUS_MB_AIM);
    while agent.buffered()? > SENSORS {
        ensure!(start.elapsed() < SHIPPED_WITHIN, "it is not shipped");
        for _ in 0..LOOKS_PER_STATUS {
            most = most.max(Memory::of(agent.id())?.anonymous_mb);
            wait::pause(LOOK);
        }
    }
    report::at_most("agent, the most while it is shipped", "MB", most, ANONYMOUS_MB_AIM);
    Ok(())
}
