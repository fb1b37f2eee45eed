//! Simulates clusters from fresh seeds, one after another, until one breaks an invariant or the time is over.
//!
//! `cargo run --release -p sim -- --minutes 600`, or `--seed N` to see one again.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use sim::{Bug, Options, run};
use tracing_subscriber::EnvFilter;

#[derive(Debug, Parser)]
struct Arguments {
    /// Begin with this one
    #[arg(long)]
    seed: Option<u64>,
    /// Go on with so many seeds after that
    #[arg(long, requires = "seed", default_value_t = 1)]
    seeds: u64,
    /// Stop after so many minutes
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Virtual seconds of mischief in each simulation
    #[arg(long)]
    seconds: Option<u64>,
    /// Print what happens, as it happens; RUST_LOG says what the hubs are to say
    #[arg(long)]
    tell: bool,
    /// Go on after a violation
    #[arg(long)]
    keep_going: bool,
    /// Switch on a deliberate bug, with the mischief that brings it out
    #[arg(long)]
    bug: Option<Bug>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.tell {
        tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).without_time().init();
    }
    let end = Instant::now() + Duration::from_secs(arguments.minutes * 60);
    let mut outcome = ExitCode::SUCCESS;
    for count in 0.. {
        if Instant::now() >= end || arguments.seed.is_some() && count == arguments.seeds {
            break;
        }
        let seed = arguments.seed.map_or_else(rand::random, |first| first + count);
        if !simulate(&arguments, seed) {
            outcome = ExitCode::FAILURE;
            if !arguments.keep_going {
                break;
            }
        }
    }
    outcome
}

/// Whether everything held.
fn simulate(arguments: &Arguments, seed: u64) -> bool {
    let options = arguments.bug.map_or_else(|| Options::new(seed), |bug| bug.options(seed));
    let time_ms = arguments.seconds.map_or(options.time_ms, |seconds| seconds * 1000);
    let report = run(Options { time_ms, is_told: arguments.tell, ..options });
    println!(
        "seed {seed}: {} acknowledged, {} consumed, {} things went wrong, history {:08x}",
        report.acknowledged, report.consumed, report.mischief, report.history.0
    );
    let Some(failure) = report.failure() else { return true };
    println!("{failure}");
    false
}
