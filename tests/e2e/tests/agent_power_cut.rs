//! The power fails under an agent that five inputs feed: what it took is in the log once and in order, and with
//! `durability = relaxed` what it took more than the README's few seconds ago.
//!
//! `POWER_CUTS` says how often.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::numbered::{assert_once_in_order, json_lines, of_device};
use e2e::seed;
use rand::Rng;
use rand::rngs::StdRng;
use testkit::disk::Disk;
use testkit::{Agent, Hub, kafka, tools, wait};

const CUTS: usize = 3;
const INPUTS: usize = 5;
const DISK_MEBIBYTES: u64 = 192;
const BUFFER_BYTES: &str = "8388608";
const WITHIN: Duration = Duration::from_secs(120);
/// A relaxed buffer syncs after 5 s; the rest is for a machine that is busy.
const RELAXED_LOSS_MAX: Duration = Duration::from_secs(8);
/// Nobody listens there.
const NO_HUB: &str = "mqtt://127.0.0.1:9";

fn cuts() -> usize {
    std::env::var("POWER_CUTS").map_or(CUTS, |text| text.parse().unwrap())
}

fn topic(input: usize) -> String {
    format!("input-{input}")
}

/// What one input fed: numbers, and when they were answered as taken.
#[derive(Default)]
struct Fed {
    taken: Vec<(std::ops::Range<i64>, Instant)>,
    unsure: Vec<i64>,
}

/// Feeds numbers until one is not taken or it is told to stop.
fn feed(agent: &Agent, input: usize, stop: &AtomicBool, mut random: StdRng) -> Fed {
    let mut fed = Fed::default();
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let numbers = next..next + random.gen_range(1..40);
        next = numbers.end;
        if agent.ingest_lines_to(&topic(input), &json_lines(numbers.clone())).status.success() {
            fed.taken.push((numbers, Instant::now()));
        } else {
            fed.unsure.extend(numbers);
            break;
        }
        wait::pause(Duration::from_millis(random.gen_range(0..60)));
    }
    fed
}

/// What was taken for longer than `loss_max` before the cut, and what may be there besides.
fn judged(fed: Fed, cut: Instant, loss_max: Duration) -> (Vec<i64>, Vec<i64>) {
    let (mut kept, mut unsure) = (Vec::new(), fed.unsure);
    for (numbers, at) in fed.taken {
        if at + loss_max < cut { kept.extend(numbers) } else { unsure.extend(numbers) }
    }
    (kept, unsure)
}

/// One device that loses its power and comes back; answers what each input fed.
fn round(
    disk: &Disk,
    hub: &Hub,
    device: &str,
    durability: &str,
    random: &mut StdRng,
) -> Vec<(Vec<i64>, Vec<i64>)> {
    let agent_at = |hub: &str| {
        Agent::new(disk.path(), device, hub)
            .with_log(&disk.path().with_file_name("agents.log"))
            .with_variable("HEADWATER_BUFFER_BYTES", BUFFER_BYTES)
            .with_variable("HEADWATER_BUFFER__DURABILITY", durability)
            .with_argument("--linger-ms")
            .with_argument("20")
    };
    let is_relaxed = durability == "relaxed";
    let url = if random.gen_bool(0.5) { hub.mqtt_url() } else { NO_HUB.to_owned() };
    let mut agent = agent_at(&url);
    agent.start();
    wait::until("the agent to run", WITHIN, || agent.data_dir().join("agent.sock").exists().then_some(()));
    let stop = AtomicBool::new(false);
    let time = Duration::from_millis(random.gen_range(300..3000));
    let time = if is_relaxed { time + RELAXED_LOSS_MAX } else { time };
    let seeds: Vec<StdRng> = (0..INPUTS).map(|_| rand::SeedableRng::seed_from_u64(random.r#gen())).collect();
    let (fed, cut) = std::thread::scope(|scope| {
        let stop = &stop;
        let inputs = seeds.into_iter().enumerate().map(|(input, seed)| {
            let agent = agent_at(&url);
            scope.spawn(move || feed(&agent, input, stop, seed))
        });
        let inputs: Vec<_> = inputs.collect();
        wait::pause(time);
        let cut = Instant::now();
        disk.cut_power();
        stop.store(true, Ordering::Relaxed);
        agent.kill();
        let fed: Vec<Fed> = inputs.into_iter().map(|input| input.join().unwrap()).collect();
        (fed, cut)
    });
    disk.restore_power();
    if is_relaxed {
        boot_anew(&disk.path().join(device));
    }
    let mut agent = agent_at(&hub.mqtt_url());
    agent.start();
    agent.wait_shipped(WITHIN);
    agent.kill();
    std::fs::remove_dir_all(agent.data_dir()).unwrap();
    let loss_max = if is_relaxed { RELAXED_LOSS_MAX } else { Duration::ZERO };
    fed.into_iter().map(|fed| judged(fed, cut, loss_max)).collect()
}

/// This machine has not booted since: the agent is told that it runs in another boot than the one before.
fn boot_anew(data_dir: &Path) {
    let marker = data_dir.join("marker");
    let mut told: serde_json::Value = serde_json::from_slice(&std::fs::read(&marker).unwrap()).unwrap();
    assert!(told["relaxed"].is_string(), "{told}");
    told["relaxed"] = "00000000-0000-4000-8000-000000000000".into();
    std::fs::write(&marker, told.to_string()).unwrap();
}

fn cut_and_count(durability: &str) {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::ext4(folder.path(), DISK_MEBIBYTES);
    let hub = Hub::started(folder.path());
    for input in 0..INPUTS {
        let created = hub.tool(&["topic", "create", &topic(input), "--partitions", "4"]).status().unwrap();
        assert!(created.success());
    }
    let mut random = seed::generator();
    let mut rounds = Vec::new();
    for number in 0..cuts() {
        let device = format!("meter-{durability}-{number}");
        rounds.push((device.clone(), round(&disk, &hub, &device, durability, &mut random)));
    }
    let (mut kept_count, mut found_count, mut unsure_count) = (0, 0, 0);
    for input in 0..INPUTS {
        let messages = kafka::read_all(&hub.brokers(), &topic(input), WITHIN);
        for (device, fed) in &rounds {
            let (kept, unsure) = &fed[input];
            let found = of_device(&messages, device);
            assert_once_in_order(&found, kept, unsure);
            kept_count += kept.len();
            found_count += found.len();
            unsure_count += unsure.len();
        }
    }
    println!(
        "{} cuts, {durability}: {kept_count} records had to be there, {unsure_count} might, {found_count} are",
        cuts()
    );
}

fn can_cut(test: &str) -> bool {
    tools::is_root(test) && ["mkfs.ext4", "xfs_io"].iter().all(|program| tools::find(program, test).is_some())
}

#[test]
fn what_five_inputs_fed_is_there_after_a_power_cut() {
    if can_cut("power cuts of an agent with five inputs") {
        cut_and_count("strict");
    }
}

#[test]
fn a_relaxed_agent_loses_no_more_than_it_says() {
    if can_cut("power cuts of a relaxed agent") {
        cut_and_count("relaxed");
    }
}
