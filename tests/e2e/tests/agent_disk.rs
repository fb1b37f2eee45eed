//! An agent whose disk fails: it says which file, ends instead of guessing, loses nothing that it said to have stored, and
//! is well again when the disk is. What the disk cannot read any more, a gap stands for.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use e2e::numbered::{assert_once_in_order, gaps, json_lines, large_json_lines, of_device};
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use testkit::disk::Disk;
use testkit::kafka::Message;
use testkit::{Agent, Hub, kafka, strace, tools, wait};

const WITHIN: Duration = Duration::from_secs(60);
const DEVICE: &str = "meter-1";
const MEBI: u64 = 1 << 20;

/// Its exit code.
fn ended(agent: &mut Agent) -> Option<i32> {
    agent.process().unwrap().wait(WITHIN).code()
}

fn assert_last_line(agent: &Agent, words: &[&str]) {
    let said = agent.printed();
    let last = said.lines().last().unwrap();
    assert!(words.iter().all(|word| last.contains(word)), "{last}");
}

fn shipped(hub: &Hub) -> Vec<Message> {
    kafka::read_all(&hub.brokers(), "telemetry", WITHIN)
}

#[test]
fn an_agent_whose_disk_fails_a_write_says_so_ends_and_has_everything_when_the_disk_is_well() {
    if !strace::can_inject("an agent whose disk fails a write") {
        return;
    }
    for calls in ["fdatasync", "pwrite64,pwritev"] {
        let folder = tempfile::tempdir().unwrap();
        let mut hub = Hub::new(folder.path());
        let agent = || Agent::new(folder.path(), DEVICE, &hub.mqtt_url());
        let (mut worse, mut agent) = (
            agent().with_program(&strace::started(
                "edge-agent",
                "fsync,fdatasync,pwrite64,pwritev",
                "error=EIO",
            )),
            agent(),
        );
        agent.start();
        wait::until("the agent", WITHIN, || agent.status().filter(|status| status.contains("uplink")));
        assert!(agent.ingest_lines(&json_lines(0..100)).status.success());

        let log = folder.path().join("strace.log");
        let injected = strace::inject(agent.process().unwrap(), calls, "error=EIO", &[], &log);
        let answer = agent.ingest_lines(&json_lines(100..200));
        // A record of the agent's own may have ended it before: then what is handed in is stored without it.
        let is_stored = answer.status.success();
        assert!(is_stored || answer.status.code() == Some(1), "{answer:?}");
        assert_eq!(ended(&mut agent), Some(1), "{calls}");
        drop(injected);
        assert_last_line(&agent, &["the buffer failed: ", "/buffer/data.mdb: Input/output error"]);

        // It is started again and again, and the disk is not well yet.
        for _ in 0..2 {
            let before = agent.printed().lines().count();
            worse.start();
            assert_eq!(ended(&mut worse), Some(2), "{calls}");
            assert_last_line(&agent, &["edge-agent: ", "Input/output error"]);
            assert!(agent.printed().lines().count() < before + 5, "{}", agent.printed());
        }
        hub.start();
        agent.start();
        agent.wait_shipped(WITHIN);
        let found = of_device(&shipped(&hub), DEVICE);
        let stored = if is_stored { 200 } else { 100 };
        assert_once_in_order(&found, &(0..stored).collect::<Vec<_>>(), &(stored..200).collect::<Vec<_>>());
        assert!(agent.stop().unwrap().success());
    }
}

#[test]
fn a_write_that_fails_in_the_middle_of_a_salvage_costs_nothing() {
    if !strace::can_inject("a salvage whose disk fails a write") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::new(folder.path());
    let mut agent = Agent::new(folder.path(), DEVICE, &hub.mqtt_url());
    // Some commits of a salvage.
    let count = 120_000;
    assert!(agent.ingest_lines(&large_json_lines(0..count)).status.success());
    let data = folder.path().join(DEVICE);
    fs::rename(data.join("buffer"), data.join("buffer.damaged")).unwrap();
    let program = strace::started("edge-agent", "fdatasync", "error=EIO:when=3");
    let mut failing = Agent::new(folder.path(), DEVICE, &hub.mqtt_url()).with_program(&program);
    failing.start();
    assert_eq!(ended(&mut failing), Some(2), "{}", agent.printed());
    assert_last_line(&agent, &["/buffer.new: Input/output error", "the next start goes on with it"]);
    assert!(data.join("buffer.damaged").exists());
    hub.start();
    agent.start();
    agent.wait_shipped(WITHIN);
    let messages = shipped(&hub);
    assert_once_in_order(&of_device(&messages, DEVICE), &(0..count).collect::<Vec<_>>(), &[]);
    assert_eq!(gaps(&messages, DEVICE).0, 0);
}

/// Cuts the disk shorter until not all of a file can be read. Answers whether that came to pass.
fn lose_a_part_of(file: &Path, disk: &Disk, mebibytes: u64) -> bool {
    (mebibytes / 4..mebibytes).rev().any(|rest| {
        disk.lose_behind(rest * MEBI);
        fadvise(File::open(file).unwrap(), 0, None, Advice::DontNeed).unwrap();
        fs::read(file).is_err()
    })
}

#[test]
fn what_an_agents_disk_cannot_read_is_a_gap_and_the_rest_is_shipped() {
    let test = "an agent whose disk cannot read";
    if tools::find("mkfs.ext4", test).is_none() || !tools::is_root(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::ext4(folder.path(), 64);
    let mut hub = Hub::new(folder.path());
    let log = folder.path().join("agent.log");
    let mut agent = Agent::new(disk.path(), DEVICE, &hub.mqtt_url()).with_log(&log);
    // What the file system itself needs is in front.
    let filler = disk.path().join("filler");
    fallocate(File::create(&filler).unwrap(), FallocateFlags::empty(), 0, 32 * MEBI).unwrap();
    let count = 120_000;
    agent.start();
    wait::until("the agent", WITHIN, || agent.status());
    assert!(agent.ingest_lines(&large_json_lines(0..count)).status.success());
    agent.kill();
    fs::remove_file(filler).unwrap();
    disk.restore_power();
    let file = disk.path().join(DEVICE).join("buffer/data.mdb");
    assert!(lose_a_part_of(&file, &disk, 64), "all of it can be read");

    hub.start();
    agent.start();
    wait::until("what cannot be read", WITHIN, || {
        agent.printed().contains("pages of the damaged buffer cannot be read").then_some(())
    });
    agent.wait_shipped(WITHIN);
    let messages = shipped(&hub);
    let found = of_device(&messages, DEVICE);
    assert_once_in_order(&found, &[], &(0..count).collect::<Vec<_>>());
    let (lost, unknown) = gaps(&messages, DEVICE);
    println!("{} records read, {lost} lost", found.len());
    assert!(lost > 0 && found.len() > 1000, "{lost} lost, {} read", found.len());
    // The newest may be among what is lost: nobody knows how many those are.
    assert!(unknown == 1 && found.len() as u64 + lost <= count as u64);
    assert!(agent.ingest_lines(&json_lines(count..count + 100)).status.success(), "it goes on");
    agent.wait_shipped(WITHIN);
    assert_eq!(of_device(&shipped(&hub), DEVICE).len(), found.len() + 100);
}
