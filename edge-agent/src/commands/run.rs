//! `run`: the agent itself.

use program::Failure;

use super::common::{Access, access, open_buffer, runtime};
use super::{RunArgs, load, text};
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::device_id;

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
    runtime()?.block_on(run(&dir, &device, config))
}

async fn run(dir: &DataDir, device: &schemas::DeviceId, config: Config) -> Result<(), Failure> {
    let Access::Own(_lock) = access(dir).await? else {
        return Err(Failure::usage(format!("{}: an agent runs on it already", dir.root().display())));
    };
    let buffer = open_buffer(dir, device, &config)?;
    buffer.close().await.map_err(Failure::run)
}
