//! Kafka produce with `acks=all` on 16 partitions, by Kafka's own load tool, against Apache Kafka 4.1 with its
//! default settings, which acknowledges before the disk has the records.
//!
//! `cargo run --release -p bench --bin kafka`

use anyhow::{Result, ensure};
use bench::apache_kafka::{Brokers, Jars};
use bench::report;
use clap::Parser;
use testkit::Hub;

#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds of each side, in turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long, default_value_t = 16)]
    partitions: usize,
    /// Measure the hub alone
    #[arg(long)]
    alone: bool,
}

/// Bytes of a record, and how many of them are one round.
const LOADS: [(u32, u64); 2] = [(100, 4_000_000), (1024, 800_000)];
const AIM: f64 = 1.0;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let jars = Jars::fetched()?;
    let hub = Hub::started(folder.path());
    let broker = if arguments.alone { None } else { Some(Brokers::start(&jars, folder.path(), 1)?) };
    let partitions = arguments.partitions.to_string();
    for (bytes, records) in LOADS {
        let topic = format!("bench-{bytes}");
        let created = hub.tool(&["topic", "create", &topic, "--partitions", &partitions]).output()?;
        ensure!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        if let Some(broker) = &broker {
            broker.create(&jars, &topic, &partitions)?;
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        // The first round of each side warms up and does not count.
        for round in 0..=arguments.rounds {
            let rate = jars.produce(&hub.brokers(), &topic, records, bytes)?;
            ours.extend((round > 0).then_some(rate));
            if let Some(broker) = &broker {
                let rate = jars.produce(&broker.addresses(), &topic, records, bytes)?;
                theirs.extend((round > 0).then_some(rate));
            }
        }
        let what = format!("produce acks=all, {partitions} partitions, {bytes} bytes");
        report::compare(&what, "records/s", &ours, ("Apache Kafka", &theirs), AIM);
    }
    Ok(())
}
