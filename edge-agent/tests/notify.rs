//! What systemd hears of the agent: how long it may open its buffer, that it is ready, that it lives, that it stops.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[path = "../../tests/testkit/src/disk.rs"]
#[allow(dead_code, reason = "one of them is used")]
mod disk;
#[path = "../../tests/testkit/src/tools.rs"]
#[allow(dead_code, reason = "one of them is used")]
mod tools;

use std::time::{Duration, Instant};

use common::manager::{LONG, Manager};
use common::program::{Agent, ingest, status};
use disk::Disk;

const HUB: &str = "mqtt://127.0.0.1:1";

#[test]
fn systemd_hears_that_the_agent_is_ready_lives_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let watchdog = Duration::from_secs(2);
    for manager in [Manager::at(&folder.path().join("notify")), Manager::abstract_one()] {
        let mut agent = Agent::run_managed(folder.path(), HUB, &["--no-host-input"], &manager.name, watchdog);
        manager.hear("EXTEND_TIMEOUT_USEC");
        assert_eq!(manager.hear("READY"), "1");
        assert_eq!(status(folder.path())["running"], true);
        for _ in 0..3 {
            let since = Instant::now();
            assert_eq!(manager.hear("WATCHDOG"), "1");
            assert!(since.elapsed() < watchdog, "after {:?}", since.elapsed());
        }
        assert!(agent.stop().success());
        let last = std::iter::from_fn(|| manager.hear_within(LONG)).find(|said| said != "WATCHDOG=1");
        assert_eq!(last.as_deref(), Some("STOPPING=1"));
    }
}

#[test]
fn before_the_buffer_is_checked_systemd_is_asked_for_the_time_that_it_may_take() {
    let folder = tempfile::tempdir().unwrap();
    let manager = Manager::at(&folder.path().join("notify"));
    let run = || Agent::run_managed(folder.path(), HUB, &["--no-host-input"], &manager.name, LONG);
    let micros = || manager.hear("EXTEND_TIMEOUT_USEC").parse::<u64>().unwrap();
    let mut agent = run();
    let at_first = micros();
    manager.hear("READY");
    assert!(ingest(folder.path(), 0..1000).status.success());
    agent.kill();
    while manager.hear_within(Duration::from_millis(1)).is_some() {}
    // As long as one of a full buffer: what is behind its end is read by nobody.
    let file = std::fs::File::options().write(true).open(folder.path().join("buffer/data.mdb")).unwrap();
    file.set_len(64 << 20).unwrap();
    let mut agent = run();
    let more_s = (micros() - at_first) / 1_000_000;
    assert!((100..200).contains(&more_s), "{more_s} s more for 64 MiB");
    assert_eq!(manager.hear("READY"), "1");
    assert_eq!(status(folder.path())["buffer"]["records"], 1000);
    assert!(agent.stop().success());
}

#[test]
fn an_agent_whose_disk_hangs_is_not_said_to_live() {
    let name = "an_agent_whose_disk_hangs_is_not_said_to_live";
    let has_tools = ["mkfs.ext4", "xfs_io"].iter().all(|program| tools::find(program, name).is_some());
    if !has_tools || !tools::is_root(name) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::ext4(folder.path(), 64);
    let manager = Manager::at(&folder.path().join("notify"));
    let more = ["--host-interval-ms", "100", "--linger-ms", "0", "--buffer-bytes", "8388608"];
    let watchdog = Duration::from_secs(1);
    let mut agent = Agent::run_managed(disk.path(), HUB, &more, &manager.name, watchdog);
    manager.hear("EXTEND_TIMEOUT_USEC");
    manager.hear("READY");
    assert_eq!(manager.hear("WATCHDOG"), "1");
    let thawing = Thawing(&disk);
    disk.freeze();
    let since = Instant::now();
    while manager.hear_within(3 * watchdog).is_some() {
        // What else writes now and then would hang by itself after a minute.
        assert!(since.elapsed() < LONG / 3, "it is said to live all the time");
    }
    drop(thawing);
    assert_eq!(manager.hear("WATCHDOG"), "1", "the writer goes on");
    assert!(agent.stop().success());
}

/// A file system that stays frozen cannot be unmounted.
struct Thawing<'a>(&'a Disk);

impl Drop for Thawing<'_> {
    fn drop(&mut self) {
        self.0.thaw();
    }
}
