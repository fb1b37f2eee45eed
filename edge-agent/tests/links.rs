//! Connections as they are made: a backlog beside live records and alarms, answers in the wrong order, and what passes
//! between the fleet's owner and a device.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::fake_hub::{FakeHub, Inner};
use common::program::{Agent, ingest, status, try_within};
use common::world::{block_on, no_checker};
use common::{append, append_to, batch, device, noisy_batch, open, topic};
use edge_agent::buffer::Buffer;
use edge_agent::config::Settings;
use edge_agent::time::Clock;
use edge_agent::uplink::{
    Inbound, InboundKind, Mailbox, Outbound, UplinkConfig, UplinkStatus, Uplinks, Usage, mailbox,
};
use rustix::process::Signal;
use schemas::TopicName;
use schemas::mqtt::LOG_TOPICS_MAX;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

fn settings(folder: &Path, text: &str) -> String {
    let path = folder.join("agent.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn arrival(inner: &Inner, number: u64) -> Option<Instant> {
    let at = inner.hub.log.iter().position(|stored| *stored == number)?;
    inner.arrivals.get(at).copied()
}

/// Waits for a record and says how long after `since` it came.
fn reached(hub: &FakeHub, number: u64, since: Instant) -> Duration {
    let mut came = None;
    hub.wait("a record", |inner| {
        came = arrival(inner, number);
        came.is_some()
    });
    came.unwrap().saturating_duration_since(since)
}

#[test]
fn live_records_and_alarms_overtake_a_backlog_that_drains_at_its_rate() {
    const BACKLOG: u64 = 60_000;
    const RATE: u64 = 16_000;
    let (folder, hub) = (tempfile::tempdir().unwrap(), FakeHub::start());
    assert!(ingest(folder.path(), 0..BACKLOG).status.success());
    let config = settings(
        folder.path(),
        &format!(
            "linger_ms = 100\n[uplink]\ncatch_up = \"live-first\"\ncatch_up_bytes_per_second = {RATE}\n\
             [[inputs]]\nkind = \"stdin\"\nformat = \"json-lines\"\npriority = \"alarm\"\ntopic = \"alarms\"\n"
        ),
    );
    let (agent, mut alarms) = Agent::run_fed(folder.path(), &hub.url(), &["--config", &config]);
    hub.wait("the backlog", |inner| !inner.hub.log.is_empty());
    let split = agent.wait("the backlog apart", |status| status["lanes"][0]["is_backlog"] == true);
    assert_eq!(split["lanes"][0]["priority"], "telemetry");
    let mut late = Vec::new();
    for round in 0..5 {
        let live = 1_000_000 + round;
        let measured = Instant::now();
        assert!(ingest(folder.path(), live..live + 1).status.success());
        late.push(reached(&hub, live, measured));
        let alarm = 2_000_000 + round;
        let raised = Instant::now();
        writeln!(alarms, "{{\"time\": {}, \"n\": {alarm}}}", 1_700_000_000 + round).unwrap();
        alarms.flush().unwrap();
        late.push(reached(&hub, alarm, raised));
    }
    assert!(hub.inner().hub.log.iter().filter(|number| **number < BACKLOG).count() < BACKLOG as usize);
    assert!(late.iter().all(|wait| *wait < Duration::from_secs(2)), "{late:?}");
    hub.wait("the whole backlog", |inner| inner.hub.log.len() as u64 == BACKLOG + 10);
    agent.wait("an empty buffer", |status| status["buffer"]["records"] == 0);

    let inner = hub.inner();
    let part = |numbers: std::ops::Range<u64>| -> Vec<u64> {
        inner.hub.log.iter().copied().filter(|number| numbers.contains(number)).collect()
    };
    assert_eq!(part(0..BACKLOG), (0..BACKLOG).collect::<Vec<_>>(), "in order and once");
    assert_eq!(part(1_000_000..1_000_005), (1_000_000..1_000_005).collect::<Vec<_>>());
    assert_eq!(part(2_000_000..2_000_005), (2_000_000..2_000_005).collect::<Vec<_>>());
    assert!(inner.clients.contains(&"pump-1.alarms".to_owned()), "{:?}", inner.clients);
    let took = arrival(&inner, BACKLOG - 1).unwrap() - arrival(&inner, 0).unwrap();
    let meant = inner.payload_bytes as f64 / RATE as f64;
    println!(
        "backlog of {} bytes in {took:?}, meant were {meant:.1} s; late by {late:?}",
        inner.payload_bytes
    );
    assert!((meant * 0.6..meant * 1.3 + 1.0).contains(&took.as_secs_f64()), "{took:?}, meant were {meant} s");
    assert!(meant > 3.0, "too short to tell: {meant} s");
}

/// An uplink with a buffer in this process.
struct Running {
    _folder: tempfile::TempDir,
    buffer: Buffer,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(hub: &FakeHub, buffered: u64, filler: usize, mailbox: Option<Mailbox>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path(), 64 << 20, no_checker());
        block_on(async {
            for number in 0..buffered {
                append(&buffer, noisy_batch(number, filler)).await.unwrap();
            }
        });
        Self::over(hub, folder, buffer, mailbox)
    }

    fn over(hub: &FakeHub, folder: tempfile::TempDir, buffer: Buffer, mailbox: Option<Mailbox>) -> Self {
        let config = Settings { hub: hub.url(), ..Settings::default() }.validate().unwrap();
        let config = UplinkConfig {
            hubs: config.hubs,
            destinations: vec![topic().into()],
            trust_hub_time: false,
            options: config.uplink,
        };
        let clock = Arc::new(Clock::of_this_machine());
        let status = watch::channel(UplinkStatus::default()).0;
        let usage = Usage::open(folder.path().join("sent"));
        let uplinks = Uplinks::new(config, device(), buffer.clone(), clock, status, usage).unwrap();
        let uplinks = match mailbox {
            Some(mailbox) => uplinks.with_mailbox(mailbox),
            None => uplinks,
        };
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || block_on(uplinks.run(stopping)).unwrap());
        Self { _folder: folder, buffer, stop, thread: Some(thread) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

#[test]
fn more_topics_than_a_connection_names_reach_a_hub_that_takes_no_more() {
    let topics = LOG_TOPICS_MAX as u64 + 20;
    let (folder, hub) = (tempfile::tempdir().unwrap(), FakeHub::start());
    let buffer = open(folder.path(), 64 << 20, no_checker());
    block_on(async {
        for number in 0..topics {
            let topic = TopicName::try_from(format!("line-{number}").as_str()).unwrap();
            append_to(&buffer, &topic.into(), batch(number..number + 1, 0)).await.unwrap();
        }
    });
    let _running = Running::over(&hub, folder, buffer, None);
    hub.wait("every record", |inner| inner.hub.log.len() as u64 == topics);
    let mut stored = hub.inner().hub.log.clone();
    stored.sort_unstable();
    assert_eq!(stored, (0..topics).collect::<Vec<_>>(), "once each");
    assert_eq!(hub.inner().connections, 2, "one for each full set");
}

#[test]
fn answers_in_the_wrong_order_a_cut_and_a_smaller_window_hold_nothing_up() {
    const BATCHES: u64 = 200;
    let hub = FakeHub::start();
    hub.inner().answers_held = 7;
    hub.inner().cut_after = Some(60);
    let running = Running::start(&hub, BATCHES, 100 << 10, None);
    hub.wait("the cut", |inner| inner.cut_after.is_none());
    {
        // The window is half of it.
        let mut inner = hub.inner();
        (inner.receive_maximum, inner.answers_held) = (6, 3);
    }
    hub.cut();
    hub.wait("more after the cut", |inner| inner.hub.log.len() > 100);
    {
        let mut inner = hub.inner();
        (inner.receive_maximum, inner.answers_held) = (1, 1);
    }
    hub.cut();
    hub.wait("every record", |inner| inner.hub.log.len() as u64 == BATCHES);
    let inner = hub.inner();
    assert_eq!(inner.hub.log, (0..BATCHES).collect::<Vec<_>>());
    assert_eq!(inner.reused_ids, 0, "no packet id is used before it is answered");
    assert!(inner.connections >= 3, "{}", inner.connections);
    drop(inner);
    assert_eq!(running.buffer.snapshot().counters.moved_streams, 0);
}

#[test]
fn the_fleets_owner_reaches_a_device_and_is_answered() {
    let hub = FakeHub::start();
    let (mailbox, mut desk) = mailbox();
    let _running = Running::start(&hub, 0, 0, Some(mailbox));
    hub.wait("both subscriptions", |inner| inner.subscriptions.len() == 2);
    assert_eq!(hub.inner().subscriptions, ["headwater/v1/pump-1/desired", "headwater/v1/pump-1/commands"]);

    hub.publish("headwater/v1/pump-1/desired", 1, b"settings");
    hub.publish("headwater/v1/pump-1/commands", 2, b"flush");
    hub.publish("headwater/v1/pump-2/commands", 3, b"not ours");
    let came: Vec<Inbound> = (0..2).map(|_| desk.inbound.blocking_recv().unwrap()).collect();
    let inbound = |kind, text: &'static str| Inbound { kind, payload: Bytes::from_static(text.as_bytes()) };
    assert_eq!(came, [inbound(InboundKind::Desired, "settings"), inbound(InboundKind::Command, "flush")]);
    hub.wait("their acknowledgements", |inner| inner.acknowledged == 2);

    for answer in ["done", "again"] {
        desk.outbound.blocking_send(Outbound(Bytes::from_static(answer.as_bytes()))).unwrap();
    }
    hub.wait("the answers", |inner| inner.answers == ["done", "again"]);
}

#[test]
fn what_nobody_takes_is_not_acknowledged_and_does_not_hold_records_up() {
    let hub = FakeHub::start();
    let (mailbox, desk) = mailbox();
    let running = Running::start(&hub, 0, 0, Some(mailbox));
    hub.wait("the subscriptions", |inner| inner.subscriptions.len() == 2);
    for id in 1..=20 {
        hub.publish("headwater/v1/pump-1/commands", id, b"flush");
    }
    block_on(append(&running.buffer, noisy_batch(0, 10))).unwrap();
    hub.wait("the record", |inner| inner.hub.log == [0]);
    hub.wait("what the channel takes", |inner| inner.acknowledged == 16);
    drop(desk);
}

#[test]
fn a_batch_that_is_refused_for_good_is_set_aside_counted_and_told() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), FakeHub::start());
    hub.inner().hub.poison = Some(150);
    for n in 0..4 {
        assert!(ingest(folder.path(), n * 100..(n + 1) * 100).status.success());
    }
    let agent = Agent::run(folder.path(), &hub.url(), &["--no-host-input"]);
    hub.wait("the rest", |inner| inner.hub.log.len() == 300);
    let after = agent.wait("an empty buffer", |status| status["buffer"]["records"] == 0);
    assert_eq!((&after["records"]["quarantined"], &after["records"]["dropped"]), (&100.into(), &100.into()));
    let inner = hub.inner();
    assert_eq!((inner.hub.gaps, inner.hub.lost), (1, 100));
    assert_eq!(std::fs::read_dir(folder.path().join("quarantine")).unwrap().count(), 1);
    let log = std::fs::read_to_string(folder.path().join("agent.log")).unwrap();
    assert!(log.contains("set aside"), "{log}");
}

#[test]
fn an_agent_whose_session_was_taken_leaves_the_other_alone_and_keeps_its_records() {
    let (one, other, hub) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), FakeHub::start());
    hub.inner().takes_over = true;
    let first = Agent::run(one.path(), &hub.url(), &["--no-host-input"]);
    hub.wait("the first", |inner| inner.connections == 1);
    let second = Agent::run(other.path(), &hub.url(), &["--no-host-input"]);
    first.wait("the take-over", |status| {
        status["uplink"]["last_error"].as_str().is_some_and(|why| why.contains("SessionTakenOver"))
    });
    assert!(ingest(&first.dir, 0..100).status.success());
    assert!(ingest(&second.dir, 1000..1100).status.success());
    hub.wait("what the second has", |inner| inner.hub.log.len() == 100);
    assert_eq!(hub.inner().hub.log, (1000..1100).collect::<Vec<_>>());
    assert_eq!(hub.inner().connections, 2);
    assert_eq!(status(&first.dir)["buffer"]["records"], 100);
}

#[test]
#[ignore = "takes three minutes"]
fn two_agents_of_one_name_are_both_told_and_neither_loses_a_record() {
    let (one, other, hub) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), FakeHub::start());
    hub.inner().takes_over = true;
    let agents = [one.path(), other.path()].map(|dir| Agent::run(dir, &hub.url(), &["--no-host-input"]));
    for (agent, from) in agents.iter().zip([0, 1000]) {
        assert!(ingest(&agent.dir, from..from + 100).status.success());
    }
    let is_told = |agent: &Agent| status(&agent.dir)["uplink"]["duplicate_identity"] == true;
    let began = Instant::now();
    let told = try_within(Duration::from_secs(180), || agents.iter().all(is_told).then(|| began.elapsed()));
    println!("both know after {told:?}");
    assert!(told.is_some(), "{} connections", hub.inner().connections);
    hub.wait("every record", |inner| inner.hub.log.len() == 200);
}

#[test]
fn when_the_months_bytes_are_used_up_records_wait_and_status_says_so() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), FakeHub::start());
    std::fs::write(folder.path().join("sent"), r#"{"version":1,"month":0,"bytes":2000000}"#).unwrap();
    let config = settings(folder.path(), "[uplink]\nbytes_per_month_max = 1000000\n");
    assert!(ingest(folder.path(), 0..10).status.success());
    let agent = Agent::run(folder.path(), &hub.url(), &["--no-host-input", "--config", &config]);
    let held = agent.wait("a reason", |status| status["uplink"]["held"].is_string());
    assert_eq!(held["uplink"]["only_alarms"], true);
    assert!(held["uplink"]["held"].as_str().unwrap().contains("this month's bytes"), "{held}");
    assert!(hub.inner().hub.log.is_empty());
}

#[test]
fn bytes_that_went_before_the_connections_were_made_anew_count_for_the_month() {
    let (folder, hub) = (tempfile::tempdir().unwrap(), FakeHub::start());
    let written = |ship_linger_ms: u64| {
        let uplink = format!("bytes_per_month_max = 1000000000\nship_linger_ms = {ship_linger_ms}");
        settings(folder.path(), &format!("[uplink]\n{uplink}\n"))
    };
    assert!(ingest(folder.path(), 0..2000).status.success());
    let config = written(10);
    let mut agent = Agent::run(folder.path(), &hub.url(), &["--no-host-input", "--config", &config]);
    hub.wait("every record", |inner| inner.hub.log.len() == 2000);
    let bytes = |status: &serde_json::Value| status["uplink"]["bytes_this_month"].as_u64().unwrap();
    // Else it would be sent again, and count as much as what was forgotten.
    let trimmed = agent.wait("an empty buffer", |status| status["buffer"]["bytes"] == 0);
    let before = bytes(&trimmed);
    assert!(before > 4000, "{trimmed}");
    let connections = hub.inner().connections;
    written(11);
    agent.signal(Signal::HUP);
    hub.wait("other connections", |inner| inner.connections > connections);
    agent.wait("what they sent, on top", |status| bytes(status) > before);
    assert!(agent.stop().success());
    let sent: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("sent")).unwrap()).unwrap();
    assert!(sent["bytes"].as_u64().unwrap() > before, "{sent}");
}
