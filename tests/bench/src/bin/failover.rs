//! How long nobody can produce to a partition when its leader is killed, and when it is restarted in good order:
//! from the signal to the next acknowledged record.
//!
//! `cargo run --release -p bench --bin failover`

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bench::report;
use clap::Parser;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use testkit::{Cluster, wait};
use tokio::runtime::Runtime;

#[derive(Debug, Parser)]
struct Arguments {
    /// Failures of each kind
    #[arg(long, default_value_t = 20)]
    rounds: usize,
}

const TOPIC: &str = "failover";
const KILLED_MEDIAN_AIM_MS: f64 = 1000.0;
const KILLED_WORST_AIM_MS: f64 = 2000.0;
const RESTARTED_AIM_MS: f64 = 200.0;
const LEADER_WITHIN: Duration = Duration::from_secs(30);
/// What the hubs are configured to, which bounds the figures from below.
const TIMEOUTS: &str = "hub: election timeout 500 to 1000 ms, heartbeat 100 ms; client: metadata on error, retry back-off 20 to 100 ms";

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let mut cluster = Cluster::started(folder.path(), 3);
    cluster.create_topic(TOPIC, 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let producer = producer(&cluster.brokers())?;
    println!("{TIMEOUTS}");
    let killed = outages(arguments.rounds, &mut cluster, &runtime, &producer, true)?;
    let worst = killed.iter().copied().fold(0.0, f64::max);
    report::at_most("leader killed, median", "ms", report::median(&killed), KILLED_MEDIAN_AIM_MS);
    report::at_most("leader killed, worst", "ms", worst, KILLED_WORST_AIM_MS);
    let restarted = outages(arguments.rounds, &mut cluster, &runtime, &producer, false)?;
    let worst = restarted.iter().copied().fold(0.0, f64::max);
    report::at_most("leader restarted, median", "ms", report::median(&restarted), RESTARTED_AIM_MS);
    report::at_most("leader restarted, worst", "ms", worst, RESTARTED_AIM_MS);
    Ok(())
}

fn producer(brokers: &str) -> Result<FutureProducer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set("retry.backoff.ms", "20")
        .set("retry.backoff.max.ms", "100")
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "100")
        .set("topic.metadata.refresh.fast.interval.ms", "50")
        .set("message.timeout.ms", "60000")
        .create()?)
}

/// Milliseconds without an acknowledged record, once for each failure.
fn outages(
    rounds: usize,
    cluster: &mut Cluster,
    runtime: &Runtime,
    producer: &FutureProducer,
    killed: bool,
) -> Result<Vec<f64>> {
    let mut found = Vec::new();
    for _ in 0..rounds {
        let leader = wait::until("a leader", LEADER_WITHIN, || cluster.leader(TOPIC, 0));
        runtime.block_on(acknowledged(producer))?;
        let start = Instant::now();
        if killed {
            cluster.hub(leader).kill();
            runtime.block_on(acknowledged(producer))?;
            found.push(start.elapsed().as_secs_f64() * 1000.0);
        } else {
            let longest = longest_pause_of_stop(cluster, leader, runtime, producer)?;
            found.push(longest.as_secs_f64() * 1000.0);
        }
        cluster.hub(leader).start();
        cluster.wait_replicated();
    }
    Ok(found)
}

/// The longest time between two acknowledged records while a hub stops in good order.
fn longest_pause_of_stop(
    cluster: &mut Cluster,
    node: usize,
    runtime: &Runtime,
    producer: &FutureProducer,
) -> Result<Duration> {
    let process = cluster.hub(node).process().context("not started")?;
    process.signal(rustix::process::Signal::TERM);
    let mut longest = Duration::ZERO;
    while cluster.hub(node).process().is_some_and(testkit::Process::is_running) {
        let start = Instant::now();
        runtime.block_on(acknowledged(producer))?;
        longest = longest.max(start.elapsed());
    }
    Ok(longest)
}

async fn acknowledged(producer: &FutureProducer) -> Result<()> {
    let record = FutureRecord::to(TOPIC).key("k").payload("v");
    let sent: Result<_, (KafkaError, _)> = producer.send(record, LEADER_WITHIN).await;
    sent.map(drop).map_err(|(error, _)| error.into())
}
