//! An agent whose buffer takes long to be opened: what it says meanwhile, and how it is stopped.
//!
//! Whoever writes to an LMDB environment holds a mutex in its lock file: for as long as the test does, nobody else comes
//! through with it.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::manager::{LONG, Manager};
use common::program::{Agent, ingest, output, status, until};
use heed::{Env, EnvOpenOptions};

const HUB: &str = "mqtt://127.0.0.1:1";
const RECORDS: u64 = 1000;
/// systemd kills after 30 s (`TimeoutStopSec`).
const PROMPT: Duration = Duration::from_secs(10);

fn environment(dir: &Path) -> Env {
    #[expect(unsafe_code, reason = "LMDB's open; nobody changes the file but LMDB")]
    let env = unsafe { EnvOpenOptions::new().map_size(64 << 20).max_readers(16).open(dir) };
    env.unwrap()
}

/// A data directory whose agent was killed.
fn killed(dir: &Path) {
    let mut agent = Agent::run(dir, HUB, &["--no-host-input"]);
    agent.wait("the agent", |status| status["running"] == true);
    assert!(ingest(dir, 0..RECORDS).status.success());
    agent.kill();
}

fn children(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let children =
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default());
    children.flat_map(|ids| ids.split(' ').filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Starts an agent on a buffer that is held up, and answers it when it has said what it is at.
fn held_up(dir: &Path, said: &str) -> Agent {
    let manager = Manager::at(&dir.join("notify"));
    let agent = Agent::run_managed(dir, HUB, &["--no-host-input"], &manager.name, LONG);
    until("what systemd hears", || {
        let message = manager.hear_within(LONG)?;
        assert!(message.contains("EXTEND_TIMEOUT_USEC="), "{message}");
        message.contains(said).then_some(())
    });
    fs::remove_file(dir.join("notify")).unwrap();
    let told = status(dir);
    assert_eq!((&told["device_id"], &told["running"]), (&"pump-1".into(), &true.into()));
    assert!(told["opening"].as_str().unwrap().starts_with(said), "{told}");
    assert!(told["buffer"].is_null(), "nobody takes it for empty: {told}");
    let text = output(&["status", "--data-dir", dir.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&text.stdout).contains(&format!("running, {said}")), "{text:?}");
    let refused = ingest(dir, RECORDS..RECORDS + 1);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && why.contains(said), "{refused:?}");
    agent
}

/// SIGTERM ends it soon, and with it the child that checks.
fn stops_at_once(mut agent: Agent) {
    let children = children(agent.pid());
    assert_eq!(children.len(), 1);
    let since = Instant::now();
    assert!(agent.stop().success());
    assert!(since.elapsed() < PROMPT, "after {:?}", since.elapsed());
    until("the end of the check", || (!Path::new(&format!("/proc/{}", children[0])).exists()).then_some(()));
}

/// Nothing is held up any more.
fn goes_on(dir: &Path) {
    let mut agent = Agent::run(dir, HUB, &["--no-host-input"]);
    let status = agent.wait("the agent", |status| status["uplink"].is_object());
    assert_eq!(status["buffer"]["records"], RECORDS);
    assert!(agent.stop().success());
    assert_eq!(fs::read(dir.join("lock")).unwrap(), b"");
}

#[test]
fn an_agent_that_checks_its_buffer_says_so_and_is_stopped_at_once() {
    let folder = tempfile::tempdir().unwrap();
    killed(folder.path());
    let environment = environment(&folder.path().join("buffer"));
    let held = environment.write_txn().unwrap();
    stops_at_once(held_up(folder.path(), "opening the buffer: it is checked"));
    drop(held);
    goes_on(folder.path());
}

#[test]
fn an_agent_that_salvages_its_buffer_says_so_and_is_stopped_at_once() {
    let folder = tempfile::tempdir().unwrap();
    killed(folder.path());
    fs::rename(folder.path().join("buffer"), folder.path().join("buffer.damaged")).unwrap();
    // A salvage was begun before.
    let begun = folder.path().join("buffer.new");
    fs::create_dir(&begun).unwrap();
    let environment = environment(&begun);
    let mut txn = environment.write_txn().unwrap();
    let _: heed::Database<heed::types::Bytes, heed::types::Bytes> =
        environment.create_database(&mut txn, None).unwrap();
    txn.commit().unwrap();
    let held = environment.write_txn().unwrap();
    stops_at_once(held_up(folder.path(), "salvaging"));
    drop(held);
    goes_on(folder.path());
    assert!(!folder.path().join("buffer.damaged").exists());
}

#[test]
fn while_a_salvage_comes_on_systemd_is_asked_for_more_time() {
    let folder = tempfile::tempdir().unwrap();
    killed(folder.path());
    let damaged = folder.path().join("buffer.damaged");
    fs::rename(folder.path().join("buffer"), &damaged).unwrap();
    // Some minutes of reading.
    let file = fs::File::options().write(true).open(damaged.join("data.mdb")).unwrap();
    file.set_len(256 << 30).unwrap();
    let manager = Manager::at(&folder.path().join("notify"));
    let mut agent = Agent::run_managed(folder.path(), HUB, &["--no-host-input"], &manager.name, LONG);
    let said = std::iter::from_fn(|| manager.hear_within(LONG));
    let asked = said.filter(|said| said.starts_with("EXTEND_TIMEOUT_USEC=120000000\nSTATUS=salvaging"));
    assert_eq!(asked.take(3).count(), 3);
    let since = Instant::now();
    assert!(agent.stop().success());
    assert!(since.elapsed() < PROMPT, "after {:?}", since.elapsed());
    fs::File::options().write(true).open(damaged.join("data.mdb")).unwrap().set_len(1 << 20).unwrap();
    goes_on(folder.path());
}
