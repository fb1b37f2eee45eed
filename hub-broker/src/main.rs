//! `hub-broker`: arguments → settings → node, and the tools that talk to a running hub.

mod args;
mod node;
mod salvage;
mod settings;
mod tools;

use std::process::ExitCode;

use clap::Parser;
use program::outcome::{Failure, report};

use crate::args::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return program::outcome::usage("hub-broker", &error),
    };
    report("hub-broker", run(arguments.command))
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(arguments) => node::serve(&settings::read(&arguments)?),
        Command::Salvage(arguments) => salvage::run(&arguments),
        Command::Topic(command) => tools::topic::run(command),
        Command::Group(command) => tools::group::run(command),
        Command::Tail(arguments) => tools::tail::run(&arguments),
        Command::Cluster(command) => tools::cluster::run(command),
    }
}
