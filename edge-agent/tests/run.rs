//! The agent as a program against a hub on a socket: reconnect, resume, kill, stop.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::net::TcpListener;

use common::fake_hub::FakeHub;
use common::program::{Agent, ingest, status};

fn records(status: &serde_json::Value) -> u64 {
    status["buffer"]["records"].as_u64().unwrap()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn what_was_ingested_without_a_hub_is_shipped_when_there_is_one() {
    let (folder, hub) = (folder(), FakeHub::start());
    let output = ingest(folder.path(), 0..5000);
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "5000 records stored, 0 dropped\n");
    assert_eq!(records(&status(folder.path())), 5000);

    let mut agent = Agent::run(folder.path(), &hub.url(), &["--no-host-input"]);
    hub.wait("every record", |inner| inner.hub.log.len() == 5000);
    let drained = agent.wait("an empty buffer", |status| records(status) == 0);
    assert_eq!((&drained["running"], &drained["uplink"]["connected"]), (&true.into(), &true.into()));
    assert_eq!(drained["records"]["acknowledged"], 5000);
    assert!(agent.stop().success());
    let left = status(folder.path());
    assert_eq!((records(&left), &left["running"]), (0, &false.into()));
    assert_eq!(hub.inner().hub.log, (0..5000).collect::<Vec<_>>());
}

#[test]
fn rows_reach_a_running_agent_through_its_socket() {
    let (folder, hub) = (folder(), FakeHub::start());
    let agent = Agent::run(folder.path(), &hub.url(), &["--no-host-input"]);
    hub.wait("a connection", |inner| inner.connections == 1);
    for n in 0..5 {
        assert!(ingest(folder.path(), n * 100..(n + 1) * 100).status.success());
    }
    hub.wait("every record", |inner| inner.hub.log.len() == 500);
    agent.wait("an empty buffer", |status| records(status) == 0);
    assert_eq!(hub.inner().hub.log, (0..500).collect::<Vec<_>>());
    assert_eq!(hub.inner().hub.known_streams().len(), 1, "one start of the agent, one stream");
}

#[test]
fn a_connection_that_breaks_costs_nothing() {
    let (folder, hub) = (folder(), FakeHub::start());
    let agent = Agent::run(folder.path(), &hub.url(), &["--no-host-input"]);
    for round in 0..4 {
        hub.inner().cut_after = Some(1);
        assert!(ingest(folder.path(), round * 9000..(round + 1) * 9000).status.success());
        hub.wait("the cut", |inner| inner.cut_after.is_none());
    }
    hub.wait("every record", |inner| inner.hub.log.len() == 36_000);
    let drained = agent.wait("an empty buffer", |status| records(status) == 0);
    assert_eq!(hub.inner().hub.log, (0..36_000).collect::<Vec<_>>());
    assert_eq!(drained["uplink"]["reconnects"], 4);
}

#[test]
fn hubs_that_are_down_or_silent_are_passed_over() {
    let (folder, hub) = (folder(), FakeHub::start());
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // The system takes connections to it, and nobody ever answers them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let hubs = format!("mqtt://{down},mqtt://{},{}", silent.local_addr().unwrap(), hub.url());
    let agent = Agent::run(folder.path(), &hubs, &["--no-host-input"]);
    assert!(ingest(folder.path(), 0..500).status.success());
    hub.wait("every record", |inner| inner.hub.log.len() == 500);
    drop(agent);
}

#[test]
fn an_agent_that_loses_its_hub_goes_to_the_next() {
    let (folder, one, other) = (folder(), FakeHub::start(), FakeHub::start());
    let hubs = format!("{},{}", one.url(), other.url());
    let agent = Agent::run(folder.path(), &hubs, &["--no-host-input"]);
    let connected = agent.wait("a connection", |status| status["uplink"]["connected"] == true);
    let (lost, next) =
        if connected["uplink"]["hub"] == one.url().as_str() { (&one, &other) } else { (&other, &one) };
    lost.cut();
    next.wait("a connection", |inner| inner.connections == 1);
    assert!(ingest(folder.path(), 0..500).status.success());
    next.wait("every record", |inner| inner.hub.log.len() == 500);
    assert_eq!(lost.inner().connections, 1, "it stays where it is served");
}

#[test]
fn an_agent_that_is_killed_again_and_again_ships_everything_once() {
    let (folder, hub) = (folder(), FakeHub::start());
    let mut next = 0;
    let mut sure = Vec::new();
    for round in 0..6 {
        let mut agent = Agent::run(folder.path(), &hub.url(), &["--no-host-input"]);
        let connections = round + 1;
        hub.wait("a connection", |inner| inner.connections >= connections);
        for _ in 0..3 {
            let numbers = next..next + 700;
            if ingest(folder.path(), numbers.clone()).status.success() {
                sure.extend(numbers);
            }
            next += 700;
        }
        agent.kill();
    }
    let agent = Agent::run(folder.path(), &hub.url(), &["--no-host-input"]);
    hub.wait("a connection", |inner| inner.connections >= 7);
    agent.wait("an empty buffer", |status| records(status) == 0);
    let log = hub.inner().hub.log.clone();
    assert!(log.is_sorted_by(|one, other| one < other), "in order and once");
    assert_eq!(log, sure);
}

#[test]
fn two_agents_from_one_copied_directory_store_every_record_once() {
    let (one, other, hub) = (folder(), folder(), FakeHub::start());
    ingest(one.path(), 0..3000);
    for entry in ["device-id", "marker", "buffer/data.mdb"] {
        std::fs::create_dir_all(other.path().join("buffer")).unwrap();
        std::fs::copy(one.path().join(entry), other.path().join(entry)).unwrap();
    }
    let agents = [one.path(), other.path()].map(|dir| Agent::run(dir, &hub.url(), &["--no-host-input"]));
    for agent in &agents {
        agent.wait("an empty buffer", |status| records(status) == 0);
    }
    assert_eq!(hub.inner().hub.log, (0..3000).collect::<Vec<_>>());
}

#[test]
fn a_plain_broker_gets_nothing_and_status_says_why() {
    let (folder, hub) = (folder(), FakeHub::start());
    hub.inner().is_plain_broker = true;
    ingest(folder.path(), 0..10);
    let agent = Agent::run(folder.path(), &hub.url(), &["--no-host-input"]);
    let held = agent.wait("a reason", |status| status["uplink"]["held"].is_string());
    assert!(held["uplink"]["held"].as_str().unwrap().contains("telemetry"), "{held}");
    assert_eq!((records(&held), hub.inner().hub.log.len()), (10, 0));
}

#[test]
fn without_a_hub_status_says_so_and_the_records_wait() {
    let folder = folder();
    let agent =
        Agent::run(folder.path(), "mqtt://127.0.0.1:1", &["--host-interval-ms", "50", "--linger-ms", "0"]);
    let waiting = agent.wait("records of the host", |status| records(status) >= 3);
    assert_eq!(waiting["uplink"]["connected"], false);
    let refused = agent.wait("the reason", |status| status["uplink"]["last_error"].is_string());
    assert!(refused["uplink"]["last_error"].as_str().unwrap().contains("refused"), "{refused}");
}

#[test]
fn the_host_is_read_at_once_and_a_hub_on_this_machine_tells_the_time() {
    let clock = edge_agent::time::Clock::of_this_machine();
    let (folder, hub) = (folder(), FakeHub::start());
    // Later than this program's build.
    hub.inner().time_ms = Some(4_000_000_000_000);
    let more = ["--linger-ms", "0", "--host-interval-ms", "60000"];
    let mut agent = Agent::run(folder.path(), &hub.url(), &more);
    hub.wait("a record of the host", |inner| !inner.hub.log.is_empty());
    let shipped = agent.wait("an empty buffer", |status| records(status) == 0);
    if clock.stamp().is_wall() {
        eprintln!("skipped: this machine's clock is synchronised, so the hub's is not asked");
        return;
    }
    let times = hub.inner().hub.times.clone();
    assert!((times[0] - 4_000_000_000_000).abs() < 60_000, "{times:?}");
    assert!(hub.inner().hub.headers.is_empty(), "it is not untimed");
    assert_eq!((&shipped["clock"]["source"], &shipped["clock"]["jumps"]), (&"hub".into(), &0.into()));
    assert!(agent.stop().success());
    assert_eq!(status(folder.path())["clock"]["source"], "earlier-run", "it is kept for this boot");
}

#[test]
fn a_last_known_time_that_is_damaged_is_told_and_not_used() {
    let folder = folder();
    std::fs::write(folder.path().join("time"), "{\"version\":1}\n00000000\n").unwrap();
    let agent = Agent::run(folder.path(), "mqtt://127.0.0.1:1", &["--no-host-input"]);
    let known = agent.wait("its status", |status| status["running"] == true);
    assert!(known["clock"]["last_known_ms"].as_i64() > Some(1_700_000_000_000), "the build's time: {known}");
    let log = std::fs::read_to_string(folder.path().join("agent.log")).unwrap();
    assert!(log.contains("the last known time is not used") && log.contains("damaged"), "{log}");
}

#[test]
fn sigterm_makes_the_last_rows_durable() {
    let (folder, hub) = (folder(), FakeHub::start());
    // Where nothing else knows the time, the hub's lets the rows be stamped and shipped.
    hub.inner().time_ms = Some(4_000_000_000_000);
    let more = ["--linger-ms", "60000", "--host-interval-ms", "20"];
    let mut agent = Agent::run(folder.path(), &hub.url(), &more);
    agent.wait("a connection", |status| status["uplink"]["connected"] == true);
    assert!(agent.stop().success());
    hub.wait("the batch that was open", |inner| !inner.hub.log.is_empty());
    assert_eq!(records(&status(folder.path())), 0);
}
