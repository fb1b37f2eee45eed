//! How long nobody can produce to a partition when its leader is killed, from the signal to the next acknowledged
//! record, and when it is restarted in good order: the longest time between two acknowledged records while it stops,
//! and over all of the restart, until the leaders are spread over the hubs again.
//!
//! `cargo run --release -p bench --bin failover`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench::report;
use clap::Parser;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};
use shards::limits::{ELECTION_TICKS, HEARTBEAT_TICKS};
use testkit::{Cluster, wait};
use tokio::runtime::Runtime;

#[derive(Debug, Parser)]
struct Arguments {
    /// Failures of each kind
    #[arg(long, default_value_t = 20)]
    rounds: usize,
}

const TOPIC: &str = "failover";
const HUBS: usize = 3;
const KILLED_MEDIAN_AIM_MS: f64 = 1000.0;
const KILLED_WORST_AIM_MS: f64 = 2000.0;
const STOPPED_AIM_MS: f64 = 200.0;
const LEADER_WITHIN: Duration = Duration::from_secs(30);
const SPREAD_WITHIN: Duration = Duration::from_secs(120);
/// What is left to go wrong once the leaders are spread again shows within this.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// Shards that a hub may lead fewer of than its share.
const SPREAD_SLACK: usize = 2;
const RETRY_FIRST_MS: &str = "20";
const RETRY_LONGEST_MS: &str = "100";
const METADATA_MS: &str = "50";

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let mut cluster = Cluster::started(folder.path(), HUBS);
    cluster.create_topic(TOPIC, 1);
    let producer = producer(&cluster.brokers())?;
    print_timeouts(folder.path());
    let killed = outages(arguments.rounds, &mut cluster, &producer)?;
    report::at_most("leader killed, median", "ms", report::median(&killed), KILLED_MEDIAN_AIM_MS);
    report::at_most("leader killed, worst", "ms", worst(&killed), KILLED_WORST_AIM_MS);
    let restarts: Result<Vec<Restart>> =
        (0..arguments.rounds).map(|_| restart(&mut cluster, &producer)).collect();
    let (stops, wholes): (Vec<f64>, Vec<f64>) =
        restarts?.iter().map(|restart| (millis(restart.stop), millis(restart.whole))).unzip();
    report::at_most("leader stopped, median", "ms", report::median(&stops), STOPPED_AIM_MS);
    report::at_most("leader stopped, worst", "ms", worst(&stops), STOPPED_AIM_MS);
    println!("leader stopped, started and leading again, median: {:.1} ms", report::median(&wholes));
    println!("leader stopped, started and leading again, worst: {:.1} ms", worst(&wholes));
    Ok(())
}

/// What the hubs and the client run with, which bounds the figures from below.
fn print_timeouts(folder: &std::path::Path) {
    let tick = shards::Config::new(folder).tick;
    let (shortest, heartbeat) = (tick * ELECTION_TICKS, tick * HEARTBEAT_TICKS);
    println!("hub: election timeout {shortest:?} to {:?}, heartbeat {heartbeat:?}", 2 * shortest);
    let hand_back = metadata::limits::HAND_BACK_AFTER;
    println!("hub: leadership is handed back after {hand_back:?}");
    println!(
        "client: metadata every {METADATA_MS} ms on errors, retries after {RETRY_FIRST_MS} to {RETRY_LONGEST_MS} ms"
    );
}

fn worst(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(0.0, f64::max)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn producer(brokers: &str) -> Result<FutureProducer> {
    Ok(ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set("retry.backoff.ms", RETRY_FIRST_MS)
        .set("retry.backoff.max.ms", RETRY_LONGEST_MS)
        .set("reconnect.backoff.ms", RETRY_FIRST_MS)
        .set("reconnect.backoff.max.ms", RETRY_LONGEST_MS)
        .set("topic.metadata.refresh.fast.interval.ms", METADATA_MS)
        .set("message.timeout.ms", "60000")
        .create()?)
}

/// Milliseconds from a leader's kill to the next acknowledged record, once for each kill.
fn outages(rounds: usize, cluster: &mut Cluster, producer: &FutureProducer) -> Result<Vec<f64>> {
    let runtime = runtime()?;
    let mut found = Vec::new();
    for _ in 0..rounds {
        let leader = wait::until("a leader", LEADER_WITHIN, || cluster.leader(TOPIC, 0));
        runtime.block_on(acknowledged(producer))?;
        let start = Instant::now();
        cluster.hub(leader).kill();
        runtime.block_on(acknowledged(producer))?;
        found.push(millis(start.elapsed()));
        cluster.hub(leader).start();
        cluster.wait_replicated();
    }
    Ok(found)
}

/// The longest times between two acknowledged records.
struct Restart {
    /// From the signal to the process's end.
    stop: Duration,
    /// From the signal until the leaders are spread again, and a little longer.
    whole: Duration,
}

fn restart(cluster: &mut Cluster, producer: &FutureProducer) -> Result<Restart> {
    cluster.wait_replicated();
    wait::until("the leaders to be spread", SPREAD_WITHIN, || is_spread(cluster).then_some(()));
    let leader = wait::until("a leader", LEADER_WITHIN, || cluster.leader(TOPIC, 0));
    let steady = Steady::start(producer.clone());
    wait::until("an acknowledged record", LEADER_WITHIN, || (steady.count() > 0).then_some(()));
    let begin = Instant::now();
    let ended = cluster.hub(leader).stop().context("the leader does not run")?;
    let stopped = Instant::now();
    ensure!(ended.success(), "hub {leader} did not stop well: {ended}");
    cluster.hub(leader).start();
    wait::until("leadership to be handed back", SPREAD_WITHIN, || {
        (cluster.leader(TOPIC, 0) == Some(leader) && is_spread(cluster)).then_some(())
    });
    wait::pause(AFTERWARDS);
    let end = Instant::now();
    let acknowledged = steady.finish()?;
    Ok(Restart { stop: longest(&acknowledged, begin, stopped), whole: longest(&acknowledged, begin, end) })
}

/// Every hub leads its share of the shards.
fn is_spread(cluster: &Cluster) -> bool {
    let Some(status) = cluster.status() else { return false };
    let groups = status["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
    let led_by = |node: usize| groups.iter().filter(|group| group["leader"] == node).count();
    cluster.nodes().all(|node| led_by(node) + SPREAD_SLACK >= groups.len() / HUBS)
}

/// The longest pause of those that touch this time; of one that began before, what lies behind its beginning.
fn longest(acknowledged: &[Instant], from: Instant, to: Instant) -> Duration {
    let pauses = acknowledged.windows(2).filter(|pair| pair[1] > from && pair[0] < to);
    pauses.map(|pair| pair[1] - pair[0].max(from)).max().unwrap_or_default()
}

/// Produces one record after another, and notes when each is acknowledged.
struct Steady {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: JoinHandle<Result<Vec<Instant>>>,
}

impl Steady {
    fn start(producer: FutureProducer) -> Self {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (stop.clone(), count.clone());
        let thread = std::thread::spawn(move || {
            let runtime = runtime()?;
            let mut times = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                runtime.block_on(acknowledged(&producer))?;
                times.push(Instant::now());
                counted.fetch_add(1, Ordering::Relaxed);
            }
            Ok(times)
        });
        Self { stop, count, thread }
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn finish(self) -> Result<Vec<Instant>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the producing thread ends well")
    }
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn acknowledged(producer: &FutureProducer) -> Result<()> {
    let record = FutureRecord::to(TOPIC).key("k").payload("v");
    let sent: Result<_, (KafkaError, _)> = producer.send(record, LEADER_WITHIN).await;
    sent.map(drop).map_err(|(error, _)| error.into())
}
