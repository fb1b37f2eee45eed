//! One file per command.

use clap::Parser;
use program::Failure;

#[derive(Parser)]
#[command(name = "edge-agent", version)]
pub struct Cli {}

pub fn execute(_cli: Cli) -> Result<(), Failure> {
    Ok(())
}
