//! What the return of a hub costs the others' clients: a hub is away while much is written; the latencies of a
//! steady load while it is caught up are put beside those of quiet times, in which all three hubs are there: before the
//! hub goes away and after it is caught up, since a disk that others share is not the same for minutes. It says whether
//! the hub was sent entries of the others' write-ahead logs or copied snapshots: `HEADWATER_WAL_KEEP_BYTES` says how
//! much of the logs they keep.
//!
//! `cargo run --release -p bench --bin catch_up`

use std::time::{Duration, Instant};

use anyhow::Result;
use bench::probe::{Measured, Probe};
use bench::{load, report};
use clap::Parser;
use testkit::{Cluster, Hub, wait};

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

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// At the lowest rate at which a hub copies it takes nine minutes for 2 GiB.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(1800);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let mut cluster = Cluster::started(folder.path(), 3);
    cluster.create_topic("bulk", PARTITIONS);
    cluster.create_topic(PROBED, PROBED_PARTITIONS);
    let probe = Probe::start(&cluster.brokers(), PROBED, PROBED_PARTITIONS as i32)?;
    wait::pause(QUIET_FOR / 4);
    let before = measured_for(&probe, QUIET_FOR);
    cluster.hub(3).kill();
    load::produce(&cluster.brokers(), "bulk", arguments.mib << 10, RECORD_BYTES)?;
    println!("{} MiB were written while hub 3 was away", arguments.mib);
    wait::pause(QUIET_FOR / 4);
    let without = measured_for(&probe, QUIET_FOR);
    let start = Instant::now();
    cluster.hub(3).start();
    while !is_replicated(&cluster) {
        anyhow::ensure!(
            start.elapsed() < CAUGHT_UP_WITHIN,
            "the hub is not caught up after {CAUGHT_UP_WITHIN:?}"
        );
        wait::pause(LOOK_EVERY);
    }
    let (caught_up, took) = (probe.take(), start.elapsed());
    println!("caught up after {:.1} s", took.as_secs_f64());
    println!("{}", means(&cluster));
    wait::until("every hub to lead again", CAUGHT_UP_WITHIN, || leads_something(&cluster, 3).then_some(()));
    let after = measured_for(&probe, QUIET_FOR);
    for (name, measured) in [("before", &before), ("with two hubs", &without), ("after", &after)] {
        println!("quiet {name}: {}", told(measured));
    }
    let quiet = before.and(after);
    compare("acknowledged", &quiet, &caught_up, |it| &it.acknowledged);
    compare("consumed", &quiet, &caught_up, |it| &it.consumed);
    Ok(())
}

/// Asked seldom: each look is a program that starts, and takes the hubs' processors.
fn is_replicated(cluster: &Cluster) -> bool {
    cluster.status().and_then(|status| status.get("settled")?.as_bool()).unwrap_or(false)
}

fn leads_something(cluster: &Cluster, node: usize) -> bool {
    (0..PARTITIONS as i32).any(|partition| cluster.leader("bulk", partition) == Some(node))
}

fn measured_for(probe: &Probe, time: Duration) -> Measured {
    probe.take();
    wait::pause(time);
    probe.take()
}

fn told(measured: &Measured) -> String {
    let [p50, p99] = [0.5, 0.99].map(|share| report::quantile(&measured.acknowledged, share));
    format!("acknowledged within {p50:.2} ms (p50), {p99:.2} ms (p99)")
}

/// By what the hub was caught up.
fn means(cluster: &Cluster) -> String {
    let sum = |name| cluster.hubs().iter().map(|hub| counter(hub, name)).sum::<f64>();
    let read_mib = sum("headwater_wal_read_back_bytes_total") / f64::from(1 << 20);
    let copied_mib = sum("headwater_snapshot_received_bytes_total") / f64::from(1 << 20);
    let snapshots =
        cluster.hubs().last().map_or(0.0, |hub| counter(hub, "headwater_snapshots_installed_total"));
    format!(
        "by entries: {read_mib:.0} MiB read back from write-ahead logs; by snapshots: {snapshots:.0} since its start, {copied_mib:.0} MiB copied"
    )
}

/// What the hub's counter of this name shows; it has no labels.
fn counter(hub: &Hub, name: &str) -> f64 {
    let metrics = hub.get("/metrics").map_or_else(String::new, |(_, text)| text);
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or(0.0)
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
