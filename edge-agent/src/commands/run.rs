//! `run`: the agent itself.

use std::sync::Arc;

use program::Failure;
use schemas::DeviceId;

use super::common::{Access, access, open_clock, runtime};
use super::opening::Opening;
use super::{RunArgs, checked, read, text};
use crate::agent::{Agent, Ground, Load, Remote, Setup};
use crate::config::{Config, Settings};
use crate::data_dir::DataDir;
use crate::device_id;
use crate::inputs::Roster;
use crate::timekeeper::Timekeeper;

pub fn execute(args: &RunArgs) -> Result<(), Failure> {
    let (settings, config) = configured(args)?;
    let dir = DataDir::create(&config.data_dir).map_err(Failure::usage)?;
    program::logging::start();
    let device = device_id::fix(&dir, config.device_id.as_ref()).map_err(Failure::usage)?;
    let runtime = runtime()?;
    let again = args.clone();
    let load: Load = Box::new(move || configured(&again).map(|(settings, _)| settings));
    let result = runtime.block_on(run(dir, device, settings, load));
    // A thread that reads standard input cannot be woken; the process does not wait for it.
    runtime.shutdown_background();
    result
}

/// File, environment and flags, as they are now, and what they mean.
fn configured(args: &RunArgs) -> Result<(Settings, Config), Failure> {
    let flags = vec![
        ("hub", text(args.hub.as_ref())),
        ("device_id", text(args.device_id.as_ref())),
        ("topic", text(args.topic.as_ref())),
        ("buffer_bytes", text(args.buffer_bytes)),
        ("linger_ms", text(args.linger_ms)),
        ("host_interval_ms", text(args.host_interval_ms)),
        ("host_input", args.no_host_input.then(|| "false".to_owned())),
    ];
    let settings = read(&args.common, flags)?;
    let config = checked(&args.common, settings.clone())?;
    Ok((settings, config))
}

async fn run(dir: DataDir, device: DeviceId, settings: Settings, load: Load) -> Result<(), Failure> {
    let mut terminated = std::pin::pin!(program::signals::termination().map_err(Failure::run)?);
    let access = tokio::select! {
        // Another command has the buffer.
        _ = &mut terminated => return Ok(()),
        access = access(&dir) => access?,
    };
    let Access::Own(lock) = access else {
        return Err(Failure::usage(format!("{}: an agent runs on it already", dir.root().display())));
    };
    let lock = Arc::new(lock);
    let clock = open_clock(&dir);
    let mut remote = Remote::open(&dir, &settings.remote, clock.boot());
    let config = remote.over(&settings).map_err(Failure::usage)?;
    let opening = Opening::start(&dir, &device, &clock, &config, &lock);
    let Some(buffer) = opening.until(&mut terminated).await? else {
        remote.stopped();
        return Ok(());
    };
    let timekeeper = Timekeeper::start(clock.clone(), buffer.clone(), dir.time());
    tracing::info!(%device, data_dir = %dir.root().display(), "the agent runs");
    let ground = Ground { dir, device, buffer: buffer.clone(), clock, roster: Roster::default() };
    let agent = Agent::start(ground, Setup { file: settings, config, load, remote }).await?;
    let ended = agent.until(terminated).await;
    timekeeper.stop().await;
    let failure = buffer.failure();
    let closed = buffer.close().await;
    if let Some(why) = failure.get() {
        return Err(Failure::run(format!("the buffer failed: {why}; what was answered before is in it")));
    }
    ended?;
    closed.map_err(Failure::run)?;
    tracing::info!("the agent has stopped; what is not shipped is in the buffer");
    Ok(())
}
