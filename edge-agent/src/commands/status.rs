//! `status`: asks the running agent, or looks into the buffer.

use std::io;

use program::Failure;
use program::output::line;

use super::common::{Access, access, open_buffer, open_clock, runtime};
use super::{StatusArgs, load};
use crate::buffer::Stage;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::desired::{Record, Standing};
use crate::device_id;
use crate::status::{Opening, Status};

pub fn execute(args: &StatusArgs) -> Result<(), Failure> {
    program::logging::start_quiet();
    let mut config = load(&args.common, vec![])?;
    // It only looks, and may have been given none of the agent's settings.
    config.buffer.is_preallocated = false;
    let dir = DataDir::existing(&config.data_dir).map_err(|error| match error.source.kind() {
        io::ErrorKind::NotFound => {
            Failure::usage(format!("{error} (no agent has used {} yet)", config.data_dir.display()))
        }
        _ => Failure::usage(error),
    })?;
    let (json, text) = match runtime()?.block_on(status(&dir, &config))? {
        Told::Status(status) => (serde_json::to_string(&status), status.to_text()),
        Told::Opening(opening) => (serde_json::to_string(&opening), opening.to_text()),
    };
    line(if args.json { json.map_err(Failure::run)? } else { text });
    Ok(())
}

/// What the agent remembers of settings from a hub.
fn standing(dir: &DataDir) -> Option<Standing> {
    let record = Record::read(&dir.remote()).ok()?;
    let in_force = record.in_force().map(|desired| desired.version);
    Some(Standing { verdict: record.verdict()?, in_force })
}

pub(super) enum Told {
    Status(Box<Status>),
    /// The agent has nothing to tell yet.
    Opening(Opening),
}

/// What the running agent says, or what is in the buffer.
pub(super) async fn status(dir: &DataDir, config: &Config) -> Result<Told, Failure> {
    let status = match access(dir).await? {
        Access::Agent(mut client) => client.status().await.map_err(Failure::run)?,
        Access::Opening(what) => {
            let device_id = device_id::fix(dir, None).map_err(Failure::usage)?;
            return Ok(Told::Opening(Opening { device_id, running: true, opening: what }));
        }
        Access::Own(_lock) => {
            let device = device_id::fix(dir, None).map_err(Failure::usage)?;
            let clock = open_clock(dir);
            let status = if dir.buffer().exists() || dir.damaged().exists() {
                let buffer = open_buffer(dir, &device, &clock, config, Stage::default())?;
                let status = Status::of(&device, &buffer, &clock, None);
                buffer.close().await.map_err(Failure::run)?;
                status
            } else {
                // To make one, how large and of whom, is the agent's.
                Status::without_buffer(&device, &clock)
            };
            status.with_desired(standing(dir))
        }
    };
    Ok(Told::Status(Box::new(status)))
}
