//! A fleet that measures all the while, and its one hub, which is killed, started again, and away for a while: every
//! record of every agent is in the log once and in order, the agents come back over time, and the hub's memory stays
//! bounded.
//!
//! `FLEET_AGENTS` says how many there are, each a process of its own.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use e2e::numbered::{assert_once_in_order, gaps, json_lines, of_device};
use testkit::{Agent, Hub, kafka, wait};

const AGENTS: usize = 100;
/// Each agent is given a record so often.
const EVERY: Duration = Duration::from_secs(1);
/// What agents have shipped by then is no backlog any more.
const TOGETHER: Duration = Duration::from_secs(3);
/// For so long the hub is away: by then every agent waits for its longest between two attempts.
const AWAY: Duration = Duration::from_secs(20);
const STARTED_WITHIN: Duration = Duration::from_secs(300);
const BACK_WITHIN: Duration = Duration::from_secs(60);
const SHIPPED_WITHIN: Duration = Duration::from_secs(180);
const BUFFER_BYTES: &str = "8388608";

const SLICE: Duration = Duration::from_millis(500);
/// No more of the fleet than this share is let in within a slice: the first wait of an agent on a local network is
/// spread over 2 s, and a busy machine takes some of that away.
const SHARE_MAX: f64 = 0.75;
/// The hub's anonymous memory: what it needs itself, and what it has for a connection with its batches on the way.
const MEMORY_MAX: u64 = 32 << 20;
const MEMORY_PER_AGENT_MAX: u64 = 64 << 10;

fn agents() -> usize {
    std::env::var("FLEET_AGENTS").map_or(AGENTS, |text| text.parse().unwrap())
}

fn name(number: usize) -> String {
    format!("pump-{number}")
}

struct Fleet {
    hub: Hub,
    /// Killed when it is dropped.
    agents: Vec<Agent>,
    memory_most: u64,
}

impl Fleet {
    /// A hub with agents that are connected, and where each takes lines.
    fn start(folder: &Path, count: usize) -> (Self, Vec<ChildStdin>) {
        let config = folder.join("agent.toml");
        fs::write(&config, "profile = \"lan\"\n[[inputs]]\nkind = \"stdin\"\nformat = \"json-lines\"\n")
            .unwrap();
        let hub = Hub::started(folder);
        let mut agents: Vec<Agent> = (0..count)
            .map(|number| {
                Agent::new(folder, &name(number), &hub.mqtt_url())
                    .with_argument("--config")
                    .with_argument(config.to_str().unwrap())
                    .with_variable("HEADWATER_BUFFER_BYTES", BUFFER_BYTES)
            })
            .collect();
        let inputs = agents.iter_mut().map(Agent::start_fed).collect();
        let mut fleet = Self { hub, agents, memory_most: 0 };
        let comes = fleet.watch(STARTED_WITHIN);
        println!("{count} agents are connected {:.1} s after the last was started", comes.last_s());
        (fleet, inputs)
    }

    /// Watches how they come, until all are there.
    fn watch(&mut self, deadline: Duration) -> Comes {
        let begin = Instant::now();
        let mut comes = Comes { of: self.agents.len(), seen: vec![(Duration::ZERO, 0)] };
        wait::until("every agent to be connected", deadline, || {
            let connected = self.connected()?;
            comes.seen.push((begin.elapsed(), connected));
            self.look_at_memory();
            (connected == comes.of).then_some(())
        });
        comes
    }

    fn connected(&self) -> Option<usize> {
        let (_, text) = self.hub.get("/metrics").filter(|(status, _)| *status == 200)?;
        text.lines().find_map(|line| line.strip_prefix("headwater_mqtt_agents ")?.parse().ok())
    }

    fn look_at_memory(&mut self) -> u64 {
        let bytes = self.hub.process().unwrap().anonymous_bytes();
        self.memory_most = self.memory_most.max(bytes);
        bytes
    }

    /// The hub, which is gone, is started; all agents come back, over time, and are together for a while.
    fn come_back(&mut self, what: &str) {
        self.hub.spawn();
        let comes = self.watch(BACK_WITHIN);
        let share = comes.share_most();
        println!(
            "{what}: all are back after {:.1} s, at most {:.0} % of them within {SLICE:?}",
            comes.last_s(),
            share * 100.0
        );
        assert!(share <= SHARE_MAX, "{what}: they came together: {:?}", comes.seen);
        wait::pause(TOGETHER);
        self.look_at_memory();
    }

    /// Waits until the log has so many records, or more.
    fn wait_stored(&mut self, records: i64) {
        let since = Instant::now();
        wait::until("every record in the log", SHIPPED_WITHIN, || {
            self.look_at_memory();
            let ends = kafka::watermarks(&self.hub.brokers(), "telemetry");
            let stored: i64 = ends.iter().map(|(_, low, high)| high - low).sum();
            (stored >= records).then_some(())
        });
        println!(
            "{records} records are in the log {:.1} s after the last was measured",
            since.elapsed().as_secs_f64()
        );
    }
}

/// How many were connected when, since the first look.
struct Comes {
    of: usize,
    seen: Vec<(Duration, usize)>,
}

impl Comes {
    fn last_s(&self) -> f64 {
        self.seen.last().unwrap().0.as_secs_f64()
    }

    /// The largest part of them that came within a slice, as far as the looks tell; two looks in a row count as one
    /// moment.
    fn share_most(&self) -> f64 {
        let within = |(index, (from, before)): (usize, &(Duration, usize))| {
            let later = self.seen.iter().enumerate().skip(index + 1);
            let last = later.take_while(|(at, (to, _))| *at == index + 1 || *to - *from <= SLICE).last();
            last.map_or(0, |(_, (_, after))| after - before)
        };
        self.seen.iter().enumerate().map(within).max().unwrap_or_default() as f64 / self.of as f64
    }
}

/// Gives every agent a record a second until it is told to stop; answers how many each has got.
fn feed(inputs: &mut [ChildStdin], stop: &AtomicBool) -> i64 {
    let begin = Instant::now();
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        let line = json_lines(next..next + 1);
        inputs.iter_mut().for_each(|input| input.write_all(line.as_bytes()).unwrap());
        next += 1;
        wait::pause((EVERY * u32::try_from(next).unwrap()).saturating_sub(begin.elapsed()));
    }
    next
}

#[test]
fn a_fleet_comes_back_to_its_hub_over_time_and_loses_nothing() {
    let count = agents();
    let folder = tempfile::tempdir().unwrap();
    let (mut fleet, mut inputs) = Fleet::start(folder.path(), count);
    let stop = AtomicBool::new(false);
    let each = std::thread::scope(|scope| {
        let feeder = scope.spawn(|| feed(&mut inputs, &stop));
        let _stop = StopAtEnd(&stop);
        wait::pause(TOGETHER);
        for round in 1..=2 {
            fleet.hub.kill();
            fleet.come_back(&format!("hub killed ({round})"));
        }
        assert!(fleet.hub.stop().unwrap().success());
        wait::pause(AWAY);
        fleet.come_back(&format!("hub away for {AWAY:?}"));
        stop.store(true, Ordering::Relaxed);
        feeder.join().unwrap()
    });
    fleet.wait_stored(each * count as i64);
    let messages = kafka::read_all(&fleet.hub.brokers(), "telemetry", SHIPPED_WITHIN);
    let sent: Vec<i64> = (0..each).collect();
    for device in (0..count).map(name) {
        assert_once_in_order(&of_device(&messages, &device), &sent, &[]);
        assert_eq!(gaps(&messages, &device), (0, 0), "{device}");
    }
    let (now, most) = (fleet.look_at_memory(), fleet.memory_most);
    println!(
        "the hub's anonymous memory: {:.1} MB at most, {:.1} MB in the end",
        most as f64 / 1e6,
        now as f64 / 1e6
    );
    assert!(most <= MEMORY_MAX + MEMORY_PER_AGENT_MAX * count as u64, "{most} bytes");
}

/// A test that fails does not wait for its feeder for ever.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
