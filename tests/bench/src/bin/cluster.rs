//! Three hubs with three replicas, every acknowledgement durable on a majority, against three brokers of Apache
//! Kafka 4.1 and three servers of NATS JetStream 2.14, both with their default settings, which acknowledge before
//! a disk has the records, and NATS once more with `sync_interval: always`.
//!
//! `cargo run --release -p bench --bin cluster`

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bench::apache_kafka::{Brokers, Jars};
use bench::native::{self, Load};
use bench::nats::{Programs, Servers, Sync};
use bench::{cpu, load, report};
use clap::Parser;
use testkit::{Cluster, wait};

#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds of each side, in turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measure the hubs alone
    #[arg(long)]
    alone: bool,
    /// Measure only what many partitions cost
    #[arg(long)]
    partitions: bool,
}

/// Bytes of a record, and how many of them are one round.
const LOADS: [(u32, u64); 2] = [(100, 2_000_000), (1024, 400_000)];
const PARTITIONS: usize = 16;
const MANY_PARTITIONS: usize = 1000;
const KAFKA_AIM: f64 = 1.5;
const NATS_AIM: f64 = 3.0;
const NATS_DURABLE_AIM: f64 = 100.0;
const NATIVE_AIM: f64 = 500_000.0;
const MANY_PARTITIONS_AIM: f64 = 0.9;
const IDLE_CPU_AIM: f64 = 3.0;
const NATS_MESSAGES: u64 = 400_000;
const NATS_DURABLE_MESSAGES: u64 = 10_000;
const NATS_CLIENTS: usize = 4;
/// Records in a batch where the number of partitions shall be the only difference.
const EQUAL_BATCH: u64 = 100;
const IDLE_FOR: Duration = Duration::from_secs(10);

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let mut cluster = Cluster::started(folder.path(), 3);
    if arguments.partitions {
        return partitions(&arguments, &cluster);
    }
    against_kafka(&arguments, &cluster, folder.path())?;
    // What the brokers never synced is written now and not beside the next measurement.
    rustix::fs::sync();
    let native = native(&arguments, &cluster)?;
    report::at_least("native client, 16 partitions, 100 bytes", "records/s", &native, NATIVE_AIM);
    if !arguments.alone {
        against_nats(&arguments, folder.path(), &native)?;
    }
    partitions(&arguments, &cluster)?;
    idle(&mut cluster)
}

fn against_kafka(arguments: &Arguments, cluster: &Cluster, folder: &std::path::Path) -> Result<()> {
    let jars = Jars::fetched()?;
    let brokers = if arguments.alone { None } else { Some(Brokers::start(&jars, folder, 3)?) };
    for (bytes, records) in LOADS {
        let topic = format!("bench-{bytes}");
        cluster.create_topic(&topic, PARTITIONS);
        if let Some(brokers) = &brokers {
            brokers.create(&jars, &topic, &PARTITIONS.to_string())?;
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        // The first round of each side warms up and does not count.
        for round in 0..=arguments.rounds {
            let rate = jars.produce(&cluster.brokers(), &topic, records, bytes)?;
            ours.extend((round > 0).then_some(rate));
            if let Some(brokers) = &brokers {
                let rate = jars.produce(&brokers.addresses(), &topic, records, bytes)?;
                theirs.extend((round > 0).then_some(rate));
            }
        }
        let what = format!("produce acks=all, 3 replicas, {PARTITIONS} partitions, {bytes} bytes");
        report::compare(&what, "records/s", &ours, ("Apache Kafka", &theirs), KAFKA_AIM);
    }
    Ok(())
}

fn native(arguments: &Arguments, cluster: &Cluster) -> Result<Vec<f64>> {
    cluster.create_topic("native", PARTITIONS);
    rates(arguments.rounds, LOADS[0].1, || load::produce(&cluster.brokers(), "native", LOADS[0].1, 100))
}

/// Records a second of each round but the first.
fn rates(rounds: usize, records: u64, mut produce: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let mut rates = Vec::new();
    for round in 0..=rounds {
        let start = Instant::now();
        produce()?;
        rates.extend((round > 0).then_some(records as f64 / start.elapsed().as_secs_f64()));
    }
    Ok(rates)
}

fn against_nats(arguments: &Arguments, folder: &std::path::Path, ours: &[f64]) -> Result<()> {
    let programs = Programs::built()?;
    for (sync, messages, aim) in
        [(Sync::Default, NATS_MESSAGES, NATS_AIM), (Sync::Always, NATS_DURABLE_MESSAGES, NATS_DURABLE_AIM)]
    {
        let servers = Servers::start(&programs, folder, sync)?;
        let rates: Result<Vec<f64>> = (0..arguments.rounds)
            .map(|_| servers.publish(&programs, messages, LOADS[0].0, NATS_CLIENTS))
            .collect();
        let name = format!("NATS JetStream, sync {sync:?}");
        report::compare("100 bytes, 3 replicas", "messages/s", ours, (&name, &rates?), aim);
    }
    Ok(())
}

fn partitions(arguments: &Arguments, cluster: &Cluster) -> Result<()> {
    let (mut few, mut many) = (Vec::new(), Vec::new());
    cluster.create_topic("few", PARTITIONS);
    cluster.create_topic("many", MANY_PARTITIONS);
    for (topic, figures) in [("few", &mut few), ("many", &mut many)] {
        let load = Load { records: LOADS[0].1, record_bytes: 100, batch_records: EQUAL_BATCH };
        let produce = || native::produce(&cluster.brokers(), topic, load);
        figures.extend(rates(arguments.rounds, load.records, produce)?);
    }
    let what = format!("{MANY_PARTITIONS} partitions at batches of {EQUAL_BATCH}");
    report::compare(&what, "records/s", &many, ("16 partitions", &few), MANY_PARTITIONS_AIM);
    Ok(())
}

fn idle(cluster: &mut Cluster) -> Result<()> {
    wait::pause(IDLE_FOR);
    for node in cluster.nodes() {
        let process = cluster.hub(node).process().context("not started")?.id();
        let percent = cpu::percent(process, IDLE_FOR)?;
        let what = format!("idle hub {node} of 3 with {MANY_PARTITIONS} partitions, CPU");
        report::at_most(&what, "% of a core", percent, IDLE_CPU_AIM);
    }
    Ok(())
}
