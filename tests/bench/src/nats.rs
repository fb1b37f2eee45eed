//! NATS JetStream as Go's modules have it: three servers, a stream with three replicas in files, its own load tool.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use testkit::process::Process;
use testkit::{ports, wait};

const SERVER: &str = "github.com/nats-io/nats-server/v2@v2.14.0";
const TOOL: &str = "github.com/nats-io/natscli/nats@v0.5.1";
const STARTED_WITHIN: Duration = Duration::from_secs(60);
const REPLICAS: usize = 3;

/// The programs, built once into the build folder.
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    pub fn built() -> Result<Self> {
        let folder = std::path::absolute(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/nats"))?;
        for (program, module) in [("nats-server", SERVER), ("nats", TOOL)] {
            if !folder.join(program).exists() {
                println!("building {module} …");
                let status = Command::new("go").args(["install", module]).env("GOBIN", &folder).status();
                ensure!(
                    status.context("go is needed to build NATS")?.success(),
                    "go install {module} failed"
                );
            }
        }
        Ok(Self { folder })
    }
}

/// How JetStream syncs what it acknowledges.
#[derive(Clone, Copy, Debug)]
pub enum Sync {
    /// Every two minutes, as it comes.
    Default,
    /// Before every acknowledgement.
    Always,
}

/// Three servers that form a cluster.
pub struct Servers {
    addresses: Vec<SocketAddr>,
    _processes: Vec<Process>,
}

impl Servers {
    pub fn start(programs: &Programs, folder: &Path, sync: Sync) -> Result<Self> {
        let interval = match sync {
            Sync::Default => "",
            Sync::Always => "sync_interval: always",
        };
        let listeners: Vec<_> = (0..REPLICAS).map(|_| (ports::free(), ports::free())).collect();
        let routes: Vec<String> =
            listeners.iter().map(|(_, route)| format!("nats-route://{route}")).collect();
        let mut processes = Vec::new();
        for (number, (address, route)) in (1..).zip(&listeners) {
            let config = folder.join(format!("nats-{sync:?}-{number}.conf"));
            let store = folder.join(format!("nats-{sync:?}-{number}"));
            std::fs::write(
                &config,
                format!(
                    "server_name: n{number}\nlisten: \"{address}\"\n\
                     jetstream {{ store_dir: \"{}\"\n{interval} }}\n\
                     cluster {{ name: bench\nlisten: \"{route}\"\nroutes: [{}] }}\n",
                    store.display(),
                    routes.join(", ")
                ),
            )?;
            let mut command = Command::new(programs.folder.join("nats-server"));
            command.arg("--config").arg(&config);
            processes.push(Process::start("nats", &mut command, &folder.join("nats.log")));
        }
        let servers =
            Self { addresses: listeners.into_iter().map(|it| it.0).collect(), _processes: processes };
        for address in &servers.addresses {
            wait::until("NATS", STARTED_WITHIN, || TcpStream::connect(address).ok());
        }
        // A stream can be made once the servers have elected their leader.
        wait::until("JetStream", STARTED_WITHIN, || servers.publish(programs, 100, 100, 1).ok());
        Ok(servers)
    }

    /// Publishes into a stream with three replicas in files: acknowledged messages a second.
    pub fn publish(&self, programs: &Programs, messages: u64, bytes: u32, clients: usize) -> Result<f64> {
        let urls: Vec<String> = self.addresses.iter().map(|address| format!("nats://{address}")).collect();
        let output = Command::new(programs.folder.join("nats"))
            .args(["--server", &urls.join(","), "--no-context", "bench", "js", "pub", "async", "bench"])
            .args(["--create", "--purge", "--storage", "file", "--replicas", &REPLICAS.to_string()])
            .args(["--maxbytes", "8GB", "--no-progress", "--batch", "500"])
            .args(["--msgs", &messages.to_string(), "--size", &bytes.to_string()])
            .args(["--clients", &clients.to_string()])
            .output()
            .context("nats")?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        // "… stats: 141,234 msgs/sec ~ 13 MiB/sec …": the line over all clients stands last or alone.
        let rate = printed
            .lines()
            .filter_map(rate_of)
            .fold(None, |best: Option<f64>, rate| Some(best.map_or(rate, |best| best.max(rate))));
        match rate {
            Some(rate) if output.status.success() => Ok(rate),
            _ => bail!("nats bench: {printed}{}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}

fn rate_of(line: &str) -> Option<f64> {
    let (before, _) = line.split_once(" msgs/sec")?;
    before.rsplit(' ').next()?.replace(',', "").parse().ok()
}
