//! MQTT QoS 1, acknowledged durably, against Debian's mosquitto, which acknowledges without storing.
//!
//! `cargo run --release -p bench --bin mqtt`

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use bench::mqtt_load::{self, Load};
use bench::report;
use clap::Parser;
use testkit::process::Process;
use testkit::{Hub, ports, wait};

#[derive(Debug, Parser)]
struct Arguments {
    /// Publishers
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Bytes of a payload
    #[arg(long, default_value_t = 100)]
    payload_bytes: usize,
    /// Seconds of one round
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds of each side, in turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measure the hub alone
    #[arg(long)]
    alone: bool,
}

/// Window and the ratio that is aimed at.
const WINDOWS: [(u16, f64); 2] = [(100, 1.0), (1, 0.25)];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let hub = Hub::started(folder.path());
    let mosquitto = if arguments.alone { None } else { Some(Mosquitto::start(folder.path())?) };
    for (window, aim) in WINDOWS {
        let load = Load {
            connections: arguments.connections,
            window,
            payload_bytes: arguments.payload_bytes,
            time: Duration::from_secs(arguments.seconds),
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..arguments.rounds {
            ours.push(mqtt_load::run(hub.mqtt, load).context("headwater")?);
            if let Some(mosquitto) = &mosquitto {
                theirs.push(mqtt_load::run(mosquitto.address, load).context("mosquitto")?);
            }
        }
        let what = format!("QoS 1, {} connections, window {window}", load.connections);
        report::compare(&what, "publishes/s", &ours, ("mosquitto", &theirs), aim);
    }
    Ok(())
}

struct Mosquitto {
    address: std::net::SocketAddr,
    _process: Process,
}

impl Mosquitto {
    fn start(folder: &std::path::Path) -> Result<Self> {
        let address = ports::free();
        let config = folder.join("mosquitto.conf");
        std::fs::write(
            &config,
            format!(
                "listener {} {}\nallow_anonymous true\nmax_inflight_messages 0\nset_tcp_nodelay true\n",
                address.port(),
                address.ip()
            ),
        )?;
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(&config);
        let process = Process::start("mosquitto", &mut command, &folder.join("mosquitto.log"));
        wait::until("mosquitto", Duration::from_secs(10), || std::net::TcpStream::connect(address).ok());
        Ok(Self { address, _process: process })
    }
}
