//! What the return of a hub costs the others' clients: a hub is away while much is written; the latencies of a
//! steady load while it is caught up are put beside those of quiet times.
//!
//! `cargo run --release -p bench --bin catch_up`

use std::time::{Duration, Instant};

use anyhow::Result;
use bench::probe::{Measured, Probe};
use bench::{load, report};
use clap::Parser;
use testkit::{Cluster, wait};

#[derive(Debug, Parser)]
struct Arguments {
    /// MiB that are written while the hub is away
    #[arg(long, default_value_t = 2048)]
    mib: u64,
}

const PARTITIONS: usize = 16;
const PROBED: &str = "probe";
const PROBED_PARTITIONS: usize = 4;
const RECORD_BYTES: usize = 1024;
const QUIET_FOR: Duration = Duration::from_secs(20);
/// Caught up, p99 is at most a quarter above that of quiet times.
const AIM: f64 = 1.25;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let mut cluster = Cluster::started(folder.path(), 3);
    cluster.create_topic("bulk", PARTITIONS);
    cluster.create_topic(PROBED, PROBED_PARTITIONS);
    cluster.hub(3).kill();
    load::produce(&cluster.brokers(), "bulk", arguments.mib << 10, RECORD_BYTES)?;
    println!("{} MiB were written while hub 3 was away", arguments.mib);
    let probe = Probe::start(&cluster.brokers(), PROBED, PROBED_PARTITIONS as i32)?;
    wait::pause(QUIET_FOR / 4);
    probe.take();
    wait::pause(QUIET_FOR);
    let quiet = probe.take();
    let start = Instant::now();
    cluster.hub(3).start();
    cluster.wait_replicated();
    let (caught_up, took) = (probe.take(), start.elapsed());
    println!("caught up after {:.1} s", took.as_secs_f64());
    compare("acknowledged", &quiet, &caught_up, |it| &it.acknowledged);
    compare("consumed", &quiet, &caught_up, |it| &it.consumed);
    Ok(())
}

fn compare(what: &str, quiet: &Measured, busy: &Measured, of: fn(&Measured) -> &Vec<f64>) {
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        let (before, during) = (report::quantile(of(quiet), share), report::quantile(of(busy), share));
        let aim = if name == "p99" { format!(" (aim at most {AIM})") } else { String::new() };
        println!(
            "{what}, {name}: quiet {before:.2} ms, while a hub is caught up {during:.2} ms, ratio {:.2}{aim}",
            during / before
        );
    }
}
