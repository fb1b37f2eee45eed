//! `run`: the agent itself.

use std::sync::Arc;
use std::time::Duration;

use program::Failure;
use schemas::DeviceId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::common::{Access, access, open_buffer, runtime};
use super::{RunArgs, load, text};
use crate::buffer::Buffer;
use crate::config::Config;
use crate::control::Server;
use crate::data_dir::DataDir;
use crate::destination::Destination;
use crate::device_id;
use crate::pipeline::{Batching, Supervisor};
use crate::time::Clock;
use crate::uplink::{UplinkConfig, UplinkStatus, Uplinks};

/// How long inputs and batchers may take to end.
const STOP_MAX: Duration = Duration::from_secs(8);

pub fn execute(args: &RunArgs) -> Result<(), Failure> {
    let flags = vec![
        ("hub", text(args.hub.as_ref())),
        ("device_id", text(args.device_id.as_ref())),
        ("topic", text(args.topic.as_ref())),
        ("buffer_bytes", text(args.buffer_bytes)),
        ("linger_ms", text(args.linger_ms)),
        ("host_interval_ms", text(args.host_interval_ms)),
        ("host_input", args.no_host_input.then(|| "false".to_owned())),
    ];
    let config = load(&args.common, flags)?;
    let dir = DataDir::create(&config.data_dir).map_err(Failure::usage)?;
    let device = device_id::fix(&dir, config.device_id.as_ref()).map_err(Failure::usage)?;
    program::logging::start();
    let runtime = runtime()?;
    let result = runtime.block_on(run(&dir, &device, &config));
    // A thread that reads standard input cannot be woken; the process does not wait for it.
    runtime.shutdown_background();
    result
}

async fn run(dir: &DataDir, device: &DeviceId, config: &Config) -> Result<(), Failure> {
    let Access::Own(_lock) = access(dir).await? else {
        return Err(Failure::usage(format!("{}: an agent runs on it already", dir.root().display())));
    };
    let terminated = program::signals::termination().map_err(Failure::run)?;
    let buffer = open_buffer(dir, device, config)?;
    let clock = Arc::new(Clock::of_this_machine());
    let known =
        buffer.snapshot().boots.iter().find(|(boot, _)| *boot == clock.boot()).map(|(_, offset)| *offset);
    if let Some(offset) = known {
        clock.learn(offset);
    }
    tracing::info!(%device, data_dir = %dir.root().display(), "the agent runs");
    let agent = Agent::start(dir, device, config, &buffer, &clock).await?;
    let ended = agent.until(terminated).await;
    let closed = buffer.close().await;
    ended?;
    closed.map_err(Failure::run)?;
    tracing::info!("the agent has stopped; what is not shipped is in the buffer");
    Ok(())
}

fn uplink_config(config: &Config) -> UplinkConfig {
    let inputs = config.inputs.iter().map(|input| input.destination.clone());
    UplinkConfig {
        hubs: config.hubs.clone(),
        destinations: std::iter::once(Destination::from(config.topic.clone())).chain(inputs).collect(),
        trust_hub_time: config.trust_hub_time,
        options: config.uplink.clone(),
    }
}

/// The tasks of a running agent.
struct Agent {
    supervisor: Supervisor,
    uplink_stop: CancellationToken,
    uplink: tokio::task::JoinHandle<Result<(), crate::uplink::UplinkError>>,
    server_stop: CancellationToken,
}

impl Agent {
    async fn start(
        dir: &DataDir,
        device: &DeviceId,
        config: &Config,
        buffer: &Buffer,
        clock: &Arc<Clock>,
    ) -> Result<Self, Failure> {
        let (status, statuses) = watch::channel(UplinkStatus::default());
        let (config_of_uplink, sent) = (uplink_config(config), dir.sent());
        let uplinks =
            Uplinks::new(config_of_uplink, device.clone(), buffer.clone(), clock.clone(), status, sent);
        let uplinks = uplinks.map_err(Failure::usage)?;
        let server = Server::bind(dir, device.clone(), buffer.clone(), statuses).map_err(Failure::usage)?;
        let server_stop = CancellationToken::new();
        tokio::spawn(server.run(server_stop.clone()));

        let batching = Batching {
            device: device.clone(),
            boot: clock.boot(),
            linger: config.linger,
            buffer: buffer.clone(),
        };
        let mut supervisor = Supervisor::new(batching, clock.clone());
        supervisor.apply(config.inputs.clone(), &config.sensors).await;

        let uplink_stop = CancellationToken::new();
        let uplink = tokio::spawn(uplinks.run(uplink_stop.clone()));
        Ok(Self { supervisor, uplink_stop, uplink, server_stop })
    }

    /// Runs until the signal, or until the buffer fails; then stops what reads before what ships.
    async fn until(mut self, terminated: impl Future<Output = &'static str>) -> Result<(), Failure> {
        let ended = tokio::select! {
            signal = terminated => {
                tracing::info!(signal, "stopping");
                None
            }
            ended = &mut self.uplink => Some(ended),
        };
        if tokio::time::timeout(STOP_MAX, self.supervisor.stop()).await.is_err() {
            tracing::warn!("an input did not end in time");
        }
        self.uplink_stop.cancel();
        let ended = match ended {
            Some(ended) => ended,
            None => (&mut self.uplink).await,
        };
        self.server_stop.cancel();
        ended.map_err(Failure::run)?.map_err(Failure::run)
    }
}
