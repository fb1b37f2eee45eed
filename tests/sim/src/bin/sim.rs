//! Simulates clusters from fresh seeds, one after another, until one breaks an invariant or the time is over.
//!
//! `cargo run --release -p sim -- --minutes 600`, or `--seed N` to see one again.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use sim::{Options, run};

#[derive(Debug, Parser)]
struct Arguments {
    /// Simulate this one only
    #[arg(long)]
    seed: Option<u64>,
    /// Stop after so many minutes
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Virtual seconds of each simulation
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let end = Instant::now() + Duration::from_secs(arguments.minutes * 60);
    let mut next = arguments.seed;
    loop {
        let seed = next.take().unwrap_or_else(rand::random);
        let options = Options { time_ms: arguments.seconds * 1000, ..Options::new(seed) };
        let report = run(options);
        println!(
            "seed {seed}: {} acknowledged, {} things went wrong, history {:08x}",
            report.acknowledged, report.mischief, report.history.0
        );
        if let Some((violation, tail)) = report.violation {
            println!("{tail}\nseed {seed}: {violation}");
            return ExitCode::FAILURE;
        }
        if arguments.seed.is_some() || Instant::now() >= end {
            return ExitCode::SUCCESS;
        }
    }
}
