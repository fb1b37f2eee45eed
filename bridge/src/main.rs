//! `bridge`: carries topics on. One pipeline reads topics as a consumer group, decodes, and writes to one sink.
//!
//! ```text
//! source (librdkafka) ─> flow (one batch under way a partition) ─> sink ─> commit
//! ```
//!
//! Invariants, said as absences: no offset is committed before the sink has the data; no partition waits for
//! another; no sink knows Kafka's offsets but as names for what it wrote.

mod args;
mod check;
mod flow;
mod pipeline;
mod record;
mod settings;
mod sinks;
mod source;

use std::process::ExitCode;

use clap::Parser;
use program::outcome::{Failure, report};

use crate::args::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return program::outcome::usage("bridge", &error),
    };
    report("bridge", run(&arguments.command))
}

fn run(command: &Command) -> Result<(), Failure> {
    // reqwest is built without a crypto library of its own; a second installation changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match command {
        Command::Run(arguments) => pipeline::run(&settings::read(arguments)?),
        Command::Check(arguments) => check::run(&settings::read(arguments)?),
    }
}
