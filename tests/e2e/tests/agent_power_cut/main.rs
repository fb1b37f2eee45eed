//! The power fails under an agent that is fed in six ways, five of them inputs: what it took is in the log once and in
//! order, and with `durability = relaxed` what it took more than the README's few seconds ago. What comes after the cut
//! is there as well, which it were not if a sequence had been used twice. Without fsync the same loses records.
//!
//! `POWER_CUTS` says how often.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

mod ways;

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::numbered::{assert_once_in_order, gaps, of_device};
use e2e::seed;
use rand::Rng;
use rand::rngs::StdRng;
use testkit::disk::Disk;
use testkit::{Agent, Hub, kafka, tools, wait};
use ways::{KINDS, Kind, Place, Promise, Way};

const CUTS: usize = 3;
const DISK_MEBIBYTES: u64 = 192;
const BUFFER_BYTES: &str = "8388608";
const WITHIN: Duration = Duration::from_secs(120);
/// A relaxed buffer syncs after 5 s; the rest is for a machine that is busy.
const RELAXED_LOSS_MAX: Duration = Duration::from_secs(8);
/// From being written to being durable: a linger of 20 ms, and a machine that is busy.
const WRITTEN_LOSS_MAX: Duration = Duration::from_secs(2);
/// What is fed by each way after the power has come back.
const LATER: i64 = 20;
/// Nobody listens there.
const NO_HUB: &str = "mqtt://127.0.0.1:9";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durability {
    Strict,
    Relaxed,
    /// No disk is told to write anything.
    NoFsync,
}

impl Durability {
    fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Relaxed => "relaxed",
            Self::NoFsync => "no-fsync",
        }
    }

    /// How long before a cut what a way took may have been taken and be lost; none where nothing may.
    fn loss_max(self, promise: Promise) -> Option<Duration> {
        let synced = if self == Self::Relaxed { RELAXED_LOSS_MAX } else { Duration::ZERO };
        match promise {
            Promise::Kept => None,
            Promise::Answered => Some(synced),
            Promise::Written => Some(synced + WRITTEN_LOSS_MAX),
        }
    }

    /// A cut's moment.
    fn feeding_time(self, random: &mut StdRng) -> Duration {
        let time = Duration::from_millis(random.gen_range(300..4000));
        if self == Self::Relaxed { time + RELAXED_LOSS_MAX } else { time }
    }
}

fn cuts() -> usize {
    std::env::var("POWER_CUTS").map_or(CUTS, |text| text.parse().unwrap())
}

/// What was fed by one way: numbers, and when they were taken.
#[derive(Default)]
struct Fed {
    taken: Vec<(Range<i64>, Instant)>,
    unsure: Vec<i64>,
    next: i64,
}

/// Feeds numbers until some are not taken or it is told to stop.
fn feed(way: &mut dyn Way, stop: &AtomicBool, mut random: StdRng) -> Fed {
    let mut fed = Fed::default();
    while !stop.load(Ordering::Relaxed) {
        let numbers = fed.next..fed.next + random.gen_range(1..40);
        fed.next = numbers.end;
        if way.take(numbers.clone()) {
            fed.taken.push((numbers, Instant::now()));
        } else {
            fed.unsure.extend(numbers);
            break;
        }
        wait::pause(Duration::from_millis(random.gen_range(0..60)));
    }
    fed
}

/// A device that lost its power once.
struct Round {
    device: String,
    cut: Instant,
    /// In the order of `KINDS`.
    fed: Vec<Fed>,
}

impl Round {
    /// What of one way has to be there, and what may be.
    fn judged(&self, index: usize, durability: Durability) -> (Vec<i64>, Vec<i64>) {
        let fed = &self.fed[index];
        let loss_max = durability.loss_max(KINDS[index].promise());
        let (mut kept, mut unsure) = (Vec::new(), fed.unsure.clone());
        for (numbers, at) in &fed.taken {
            let is_kept = loss_max.is_none_or(|loss_max| *at + loss_max < self.cut);
            if is_kept { kept.extend(numbers.clone()) } else { unsure.extend(numbers.clone()) }
        }
        kept.extend(fed.next..fed.next + LATER);
        (kept, unsure)
    }

    /// How long before the cut the first was taken that is lost.
    fn oldest_lost(&self, index: usize, found: &HashSet<i64>) -> Option<Duration> {
        let taken = self.fed[index].taken.iter();
        let lost = taken.filter(|(numbers, _)| numbers.clone().any(|number| !found.contains(&number)));
        lost.map(|(_, at)| self.cut.saturating_duration_since(*at)).max()
    }
}

struct Bench<'a> {
    disk: &'a Disk,
    hub: &'a Hub,
    durability: Durability,
}

impl Bench<'_> {
    fn agent(&self, device: &str, hub: &str) -> Agent {
        let agent = Agent::new(self.disk.path(), device, hub)
            .with_log(&self.disk.path().with_file_name("agents.log"))
            .with_variable("HEADWATER_BUFFER_BYTES", BUFFER_BYTES)
            .with_argument("--linger-ms")
            .with_argument("20");
        match self.durability {
            Durability::Strict => agent,
            Durability::Relaxed => agent.with_variable("HEADWATER_BUFFER__DURABILITY", "relaxed"),
            Durability::NoFsync => agent.with_variable("HEADWATER_UNSAFE_NO_FSYNC", "true"),
        }
    }

    /// An agent that runs, with all of its ways in.
    fn start(&self, device: &str, hub: &str, start: usize) -> (Agent, Place) {
        let files = self.disk.path().with_file_name(device);
        std::fs::create_dir_all(&files).unwrap();
        let place = Place::new(&files.join(start.to_string()), &files.join("lines"));
        let settings = place.settings();
        let mut agent =
            self.agent(device, hub).with_argument("--config").with_argument(settings.to_str().unwrap());
        agent.start();
        wait::until("the agent to run", WITHIN, || {
            let status: serde_json::Value = serde_json::from_str(&agent.status()?).ok()?;
            (status["running"] == true).then_some(())
        });
        (agent, place)
    }

    /// One device that loses its power and comes back.
    fn round(&self, device: &str, random: &mut StdRng) -> Round {
        let is_connected = self.durability != Durability::NoFsync && random.gen_bool(0.5);
        let url = if is_connected { self.hub.mqtt_url() } else { NO_HUB.to_owned() };
        let (agent, place) = self.start(device, &url, 1);
        if self.durability == Durability::NoFsync {
            // What is lost are records, not the directory itself.
            let flushed = std::process::Command::new("sync").arg("-f").arg(self.disk.path()).status();
            assert!(flushed.unwrap().success());
        }
        let (cut, mut fed) = self.feed_and_cut(agent, &place, random);
        self.disk.restore_power();
        if self.durability == Durability::Relaxed {
            boot_anew(&self.disk.path().join(device));
        }
        drop(place);

        let (mut agent, place) = self.start(device, &self.hub.mqtt_url(), 2);
        for (kind, fed) in KINDS.into_iter().zip(&mut fed) {
            let numbers = fed.next..fed.next + LATER;
            let taken = place.open(kind, self.agent(device, NO_HUB)).take(numbers);
            assert!(taken, "{kind:?} takes nothing after the cut");
        }
        for (kind, fed) in KINDS.into_iter().zip(&fed) {
            self.wait_stored(&agent, device, kind, fed.next + LATER - 1);
        }
        agent.kill();
        std::fs::remove_dir_all(agent.data_dir()).unwrap();
        Round { device: device.to_owned(), cut, fed }
    }

    fn feed_and_cut(&self, mut agent: Agent, place: &Place, random: &mut StdRng) -> (Instant, Vec<Fed>) {
        let device = agent.data_dir().file_name().unwrap().to_str().unwrap().to_owned();
        let seeds = KINDS.map(|_| <StdRng as rand::SeedableRng>::seed_from_u64(random.r#gen()));
        let mut ways = KINDS.map(|kind| place.open(kind, self.agent(&device, NO_HUB)));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let stop = &stop;
            let feeding = ways.iter_mut().zip(seeds);
            let feeding: Vec<_> =
                feeding.map(|(way, seed)| scope.spawn(move || feed(way.as_mut(), stop, seed))).collect();
            wait::pause(self.durability.feeding_time(random));
            let cut = Instant::now();
            self.disk.cut_power();
            stop.store(true, Ordering::Relaxed);
            agent.kill();
            (cut, feeding.into_iter().map(|fed| fed.join().unwrap()).collect())
        })
    }

    fn wait_stored(&self, agent: &Agent, device: &str, kind: Kind, last: i64) {
        wait::until(&format!("{kind:?}'s number {last} to be in the log"), WITHIN, || {
            agent.wait_shipped(WITHIN);
            let messages = kafka::read_all(&self.hub.brokers(), kind.topic(), WITHIN);
            of_device(&messages, device).contains(&last).then_some(())
        });
    }
}

/// This machine has not booted since: the agent is told that it runs in another boot than the one before.
fn boot_anew(data_dir: &Path) {
    let marker = data_dir.join("marker");
    let mut told: serde_json::Value = serde_json::from_slice(&std::fs::read(&marker).unwrap()).unwrap();
    assert!(told["relaxed"].is_string(), "{told}");
    told["relaxed"] = "00000000-0000-4000-8000-000000000000".into();
    std::fs::write(&marker, told.to_string()).unwrap();
}

/// Cuts the power so often; answers how many records that had to be there are not.
fn cut_and_count(durability: Durability, cuts: usize) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::ext4(folder.path(), DISK_MEBIBYTES);
    let hub = Hub::started(folder.path());
    for kind in KINDS {
        let created = hub.tool(&["topic", "create", kind.topic(), "--partitions", "4"]).status().unwrap();
        assert!(created.success());
    }
    let mut random = seed::generator();
    let bench = Bench { disk: &disk, hub: &hub, durability };
    let rounds: Vec<Round> = (0..cuts)
        .map(|number| bench.round(&format!("meter-{}-{number}", durability.name()), &mut random))
        .collect();
    println!("{cuts} cuts, {}:", durability.name());
    KINDS.iter().enumerate().map(|(index, _)| judge(&hub, index, &rounds, durability)).sum()
}

/// Looks what came of one way; panics at what must not be, but for losses without fsync, which are counted.
fn judge(hub: &Hub, index: usize, rounds: &[Round], durability: Durability) -> usize {
    let kind = KINDS[index];
    let messages = kafka::read_all(&hub.brokers(), kind.topic(), WITHIN);
    let (mut kept_count, mut unsure_count, mut found_count, mut lost, mut gap_count) = (0, 0, 0, 0, 0);
    let mut oldest_lost = Duration::ZERO;
    for round in rounds {
        let (kept, unsure) = round.judged(index, durability);
        let found = of_device(&messages, &round.device);
        let (known, unknown) = gaps(&messages, &round.device);
        if durability != Durability::NoFsync {
            assert_once_in_order(&found, &kept, &unsure);
            assert_eq!(known, 0, "{kind:?} of {}: nothing was dropped", round.device);
        }
        if durability == Durability::Strict {
            assert_eq!(unknown, 0, "{kind:?} of {}: nothing is unknown", round.device);
        }
        let found: HashSet<i64> = found.into_iter().collect();
        oldest_lost = oldest_lost.max(round.oldest_lost(index, &found).unwrap_or_default());
        lost += kept.iter().filter(|number| !found.contains(number)).count();
        gap_count += unknown;
        (kept_count, unsure_count) = (kept_count + kept.len(), unsure_count + unsure.len());
        found_count += found.len();
    }
    println!(
        "  {kind:?}: {kept_count} records had to be there, {unsure_count} might, {found_count} are; {lost} lost; what \
         was lost was taken {oldest_lost:?} before the cut at most; {gap_count} gaps",
    );
    lost
}

fn can_cut(test: &str) -> bool {
    tools::is_root(test)
        && ["mkfs.ext4", "xfs_io", "mkfifo"].iter().all(|program| tools::find(program, test).is_some())
}

#[test]
fn what_five_inputs_and_ingest_took_is_there_after_a_power_cut() {
    if can_cut("power cuts of an agent with five inputs") {
        cut_and_count(Durability::Strict, cuts());
    }
}

#[test]
fn a_relaxed_agent_loses_no_more_than_it_says() {
    if can_cut("power cuts of a relaxed agent") {
        cut_and_count(Durability::Relaxed, cuts());
    }
}

#[test]
fn without_fsync_the_same_cuts_lose_records() {
    if can_cut("the control of an agent's power cuts") {
        assert!(cut_and_count(Durability::NoFsync, CUTS) > 0, "the test cannot fail");
    }
}
