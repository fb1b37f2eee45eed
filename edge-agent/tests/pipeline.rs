//! From a sink to the buffer: what is told to whoever waits, and who is held up by whom.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::program::until;
use common::world::block_on;
use common::{device, options, topic};
use edge_agent::buffer::{Buffer, BufferOptions, Caps, Policy, Retention};
use edge_agent::config::{
    ExecConfig, ExecRun, FormatConfig, InputConfig, InputKind, RowFormat, SensorRule, Settings,
};
use edge_agent::destination::{Destination, Priority};
use edge_agent::inputs::{Filter, Health, NotStored, Roster, Row, RowSink, Source, queue};
use edge_agent::pipeline::{Batching, Supervisor, Tuning};
use edge_agent::time::Clock;
use schemas::{Measurement, Value};
use tokio_util::sync::CancellationToken;

const CAP: u64 = 1 << 20;

fn buffer(folder: &Path, policy: Policy, bulk: Option<u64>) -> Buffer {
    let caps = Caps { bulk, ..Caps::default() };
    let retention = Retention { policy, caps, ..Retention::up_to(CAP) };
    Buffer::open(&BufferOptions { retention, ..options(folder, CAP, None) }).unwrap()
}

fn batching(buffer: &Buffer, linger_ms: u64) -> Batching {
    let boot = Clock::of_this_machine().boot();
    let tuning = Tuning::new(Duration::from_millis(linger_ms));
    Batching { device: device(), boot, tuning, buffer: buffer.clone() }
}

/// A sink whose rows are batched for this priority.
fn sink(batching: &Batching, priority: Priority) -> RowSink {
    filtered(batching, priority, Filter::default())
}

fn filtered(batching: &Batching, priority: Priority, filter: Filter) -> RowSink {
    let destination = Destination { topic: topic(), priority };
    let (rows, inbox) = queue(4);
    tokio::spawn(batching.clone().run(
        destination.clone(),
        inbox,
        rows.waited_for(),
        CancellationToken::new(),
    ));
    let source = Source {
        name: "test".into(),
        destination,
        tags: Vec::new(),
        health: Health::default(),
        is_trial: false,
    };
    RowSink::new(source, filter, Arc::new(Clock::of_this_machine()), rows, Arc::default())
}

fn row(name: &str, value: impl Into<Value>) -> Row {
    Row::now(vec![Measurement { name: name.into(), unit: None, value: value.into() }])
}

/// A record of so many bytes that nothing compresses.
fn noise(bytes: usize, seed: u64) -> Row {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    row("noise", Value::Bytes((0..bytes).map(|_| next()).collect()))
}

#[test]
fn rows_are_stored_when_they_are_in_the_buffer() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let buffer = buffer(folder.path(), Policy::DropOldest, None);
        let sink = sink(&batching(&buffer, 1), Priority::Telemetry);
        sink.store((0..500).map(|n| row("n", n))).await.unwrap();
        assert_eq!(buffer.snapshot().records(), 500);
        assert_eq!(sink.store(Vec::new()).await, Ok(()), "nothing is stored already");
    });
}

#[test]
fn whoever_waits_for_a_row_that_is_not_stored_is_told_why() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let buffer = buffer(folder.path(), Policy::DropNewest, None);
        let sink = sink(&batching(&buffer, 1), Priority::Telemetry);
        let refused = sink.store(vec![row("good", 1), row(&"x".repeat(2000), 1)]).await.unwrap_err();
        assert!(matches!(&refused, NotStored::Refused(why) if why.contains("longer than")), "{refused}");
        assert_eq!((buffer.snapshot().records(), sink.source().health.view().bad), (1, 1), "the good one is");
        let mut last = Ok(());
        for seed in 0..40 {
            last = sink.store(vec![noise(60 << 10, seed)]).await;
        }
        assert_eq!(last, Err(NotStored::Full));
        buffer.close().await.unwrap();
        assert_eq!(sink.store(vec![row("late", 1)]).await, Err(NotStored::Closed));
    });
}

#[test]
fn what_was_not_stored_is_no_reason_to_leave_the_same_out_when_it_comes_again() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let buffer = buffer(folder.path(), Policy::DropNewest, None);
        let rules = "[[inputs]]\nkind = \"host\"\n[[sensors]]\nmatch = \"noise\"\ndeadband = 0\n";
        let rules = toml::from_str::<Settings>(rules).unwrap().validate().unwrap().sensors;
        let sink = filtered(&batching(&buffer, 1), Priority::Telemetry, Filter::new(rules));
        let store = async |seed| sink.store(vec![noise(60 << 10, seed)]).await;
        let mut seed = 0;
        while store(seed).await.is_ok() {
            assert_eq!(store(seed).await, Ok(()), "one stands for both");
            seed += 1;
        }
        assert_eq!(buffer.snapshot().records(), seed);
        assert_eq!(store(seed).await, Err(NotStored::Full), "none stands for it");
        // The same without anybody who waits.
        sink.send(noise(60 << 10, seed)).await.unwrap();
        while buffer.snapshot().counters.dropped < 3 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_destination_that_is_full_and_blocks_holds_up_no_other() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let buffer = buffer(folder.path(), Policy::Block, Some(CAP / 4));
        let batching = batching(&buffer, 1);
        let (bulk, alarms) = (sink(&batching, Priority::Bulk), sink(&batching, Priority::Alarm));
        let pressing = tokio::spawn(async move {
            for seed in 0.. {
                bulk.send(noise(60 << 10, seed)).await.unwrap();
            }
        });
        while buffer.snapshot().records() < 3 {
            tokio::task::yield_now().await;
        }
        for n in 0..20 {
            alarms.store(vec![row("smoke", n)]).await.unwrap();
        }
        assert!(!pressing.is_finished());
        assert_eq!(buffer.snapshot().counters.dropped, 0);
        pressing.abort();
    });
}

/// A command that prints a line, writes its process id into a file, and stays.
fn staying(folder: &Path, name: &str, tag: &str) -> InputConfig {
    let script = format!("echo 'm v=1'; echo $$ >> {}/{name}; exec sleep 1000", folder.display());
    InputConfig {
        name: name.into(),
        destination: Destination { topic: topic(), priority: Priority::Telemetry },
        tags: vec![("t".into(), tag.into())],
        kind: InputKind::Exec(ExecConfig {
            program: "sh".into(),
            arguments: vec!["-c".into(), script],
            run: ExecRun::ForEver,
            format: FormatConfig::plain(RowFormat::LineProtocol),
        }),
    }
}

async fn starts(folder: &Path, name: &str, count: usize) -> Vec<String> {
    loop {
        let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        let pids: Vec<String> = text.lines().map(str::to_owned).collect();
        if text.ends_with('\n') && pids.len() >= count {
            return pids;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn runs(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|command| command.contains("sleep"))
}

#[test]
fn other_settings_start_and_end_only_the_inputs_that_they_concern() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path();
        let buffer = buffer(&dir.join("data"), Policy::DropOldest, None);
        let mut supervisor = Supervisor::new(batching(&buffer, 1), Arc::new(Clock::of_this_machine()));
        let input = |name: &str, tag: &str| staying(dir, name, tag);
        supervisor.apply(vec![input("same", "1"), input("changed", "1"), input("gone", "1")], &[]).await;
        let mut first = BTreeMap::new();
        for name in ["same", "changed", "gone"] {
            first.insert(name, starts(dir, name, 1).await.remove(0));
        }
        supervisor.apply(vec![input("same", "1"), input("changed", "2"), input("new", "1")], &[]).await;
        let again = starts(dir, "changed", 2).await.remove(1);
        starts(dir, "new", 1).await;
        assert!(runs(&first["same"]) && runs(&again));
        assert!(!runs(&first["changed"]) && !runs(&first["gone"]));
        assert_eq!(starts(dir, "same", 1).await.len(), 1);
        assert!(supervisor.restart("same") && !supervisor.restart("gone"));
        let restarted = starts(dir, "same", 2).await.remove(1);
        assert_eq!(supervisor.names().collect::<Vec<_>>(), ["changed", "new", "same"]);
        supervisor.stop().await;
        until("all are ended", || (!runs(&restarted) && !runs(&again)).then_some(()));
        assert_eq!(buffer.snapshot().records(), 6, "what each start printed");
    });
}

#[test]
fn what_somebody_waits_for_does_not_linger() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let buffer = buffer(folder.path(), Policy::DropOldest, None);
        let sink = sink(&batching(&buffer, 3_600_000), Priority::Telemetry);
        sink.send(row("n", 1)).await.unwrap();
        let stored = tokio::time::timeout(Duration::from_secs(60), sink.store(vec![row("n", 2)]));
        assert_eq!(stored.await.expect("not after an hour"), Ok(()));
        assert_eq!(buffer.snapshot().records(), 2);
    });
}

#[test]
fn an_input_that_goes_to_another_topic_goes_on_when_what_it_read_is_durable() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let buffer = buffer(&folder.path().join("data"), Policy::DropOldest, None);
        let (batching, clock) = (batching(&buffer, 3_600_000), Arc::new(Clock::of_this_machine()));
        let tuning = batching.tuning.clone();
        let roster = Roster::default();
        let mut supervisor = Supervisor::new(batching, clock).listing(roster.clone());
        let tail = |name: &str, topic: &str| {
            let keys = "format = \"json-lines\"\npoll_ms = 10";
            let path = folder.path().join(name);
            format!(
                "[[inputs]]\nkind = \"tail\"\nname = \"{name}\"\ntopic = \"{topic}\"\npath = {path:?}\n{keys}\n"
            )
        };
        let inputs = |text: &str| toml::from_str::<Settings>(text).unwrap().validate().unwrap().inputs;
        for name in ["moves", "stays"] {
            std::fs::write(folder.path().join(name), "{\"n\":1}\n{\"n\":2}\n").unwrap();
        }
        supervisor.apply(inputs(&(tail("moves", "a") + &tail("stays", "a"))), &[]).await;
        while roster.health().values().map(|health| health.rows).sum::<u64>() < 4 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(buffer.snapshot().records(), 0, "they linger");
        tuning.set_linger(Duration::from_millis(1));
        supervisor.apply(inputs(&(tail("moves", "b") + &tail("stays", "a"))), &[]).await;
        let mut file = std::fs::File::options().append(true).open(folder.path().join("moves")).unwrap();
        file.write_all(b"{\"n\":3}\n").unwrap();
        let of = |topic: &str| {
            let snapshot = buffer.snapshot();
            let lanes = snapshot.lanes.iter().filter(|lane| lane.topic.as_str() == topic);
            lanes.map(|lane| lane.records).sum::<u64>()
        };
        while of("b") == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!((of("a"), of("b")), (4, 1));
        supervisor.stop().await;
    });
}

/// An input that reads finished files of this folder, with more settings.
fn files(dir: &Path, more: &str) -> Vec<InputConfig> {
    let path = dir.display();
    let keys = "format = \"json-lines\"\npoll_ms = 10\nsettle_ms = 0";
    let text = format!("[[inputs]]\nkind = \"files\"\npath = \"{path}\"\n{keys}\n{more}");
    toml::from_str::<Settings>(&text).unwrap().validate().unwrap().inputs
}

#[test]
fn a_file_that_is_read_while_its_input_changes_is_read_once() {
    const ROWS: u64 = 20_000;
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("in");
        std::fs::create_dir(&dir).unwrap();
        let lines: String = (0..ROWS).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        std::fs::write(dir.join("a.json"), lines).unwrap();
        let buffer = buffer(&folder.path().join("data"), Policy::DropOldest, None);
        let mut supervisor = Supervisor::new(batching(&buffer, 1), Arc::new(Clock::of_this_machine()));
        let inputs = |tag: u64| files(&dir, &format!("tags = {{ change = \"{tag}\" }}\n"));
        let mut change = 0;
        while !dir.join("a.json.done").exists() {
            supervisor.apply(inputs(change), &[]).await;
            change += 1;
            let before = buffer.snapshot().records();
            while buffer.snapshot().records() < before + 500 && !dir.join("a.json.done").exists() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        assert_eq!(buffer.snapshot().records(), ROWS, "it is put away when all of it is durable");
        supervisor.stop().await;
        assert!(change > 2, "it was changed {change} times");
        assert_eq!(buffer.snapshot().records(), ROWS);
    });
}

#[test]
fn files_that_stay_where_they_are_are_known_to_an_input_that_was_left_out_meanwhile() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("in");
        std::fs::create_dir(&dir).unwrap();
        let write =
            |n: u64| std::fs::write(dir.join(format!("{n}.json")), format!("{{\"n\":{n}}}\n")).unwrap();
        (0..3).for_each(write);
        // A file is where the folder is to be.
        std::fs::write(folder.path().join("done"), "").unwrap();
        let done = format!("when_done = \"move\"\nmove_to = {:?}\n", folder.path().join("done/here"));
        let buffer = buffer(&folder.path().join("data"), Policy::DropOldest, None);
        let clock = Arc::new(Clock::of_this_machine());
        let mut supervisor = Supervisor::new(batching(&buffer, 1), clock);
        let rows = async |least: u64| {
            while buffer.snapshot().records() < least {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        supervisor.apply(files(&dir, &done), &[]).await;
        rows(3).await;
        supervisor.apply(Vec::new(), &[]).await;
        supervisor.apply(files(&dir, &done), &[]).await;
        write(3);
        rows(4).await;
        std::fs::remove_file(folder.path().join("done")).unwrap();
        while std::fs::read_dir(&dir).unwrap().next().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        supervisor.stop().await;
        assert_eq!(buffer.snapshot().records(), 4);
    });
}

#[test]
fn files_that_wait_do_not_wait_for_those_before_them_to_linger() {
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("in");
        std::fs::create_dir(&dir).unwrap();
        for n in 0..5 {
            std::fs::write(dir.join(format!("{n}.json")), format!("{{\"n\":{n}}}\n")).unwrap();
        }
        let buffer = buffer(&folder.path().join("data"), Policy::DropOldest, None);
        let (roster, clock) = (Roster::default(), Arc::new(Clock::of_this_machine()));
        let mut supervisor = Supervisor::new(batching(&buffer, 3_600_000), clock).listing(roster.clone());
        supervisor.apply(files(&dir, ""), &[]).await;
        let is_left = |path: &Path| path.extension() == Some("json".as_ref());
        let waiting = || std::fs::read_dir(&dir).unwrap().flatten().filter(|it| is_left(&it.path())).count();
        while waiting() > 1 || roster.health().values().all(|health| health.rows < 5) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(buffer.snapshot().records(), 4, "the last one lingers");
        supervisor.stop().await;
        assert_eq!(buffer.snapshot().records(), 5);
    });
}

#[test]
fn an_input_that_is_taken_in_again_before_its_rows_are_durable_goes_on_after_them() {
    const LINES: u64 = 100;
    block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.log");
        let lines: String = (0..LINES).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        std::fs::write(&file, lines).unwrap();
        let buffer = buffer(&folder.path().join("data"), Policy::DropOldest, None);
        let roster = Roster::default();
        let clock = Arc::new(Clock::of_this_machine());
        let mut supervisor = Supervisor::new(batching(&buffer, 3_600_000), clock).listing(roster.clone());
        let tail = |name: &str| {
            let path = folder.path().join(name);
            let keys = "format = \"json-lines\"\npoll_ms = 10";
            format!("[[inputs]]\nkind = \"tail\"\nname = \"{name}\"\npath = {path:?}\n{keys}\n")
        };
        let inputs = |text: &str| toml::from_str::<Settings>(text).unwrap().validate().unwrap().inputs;
        let rows = async |least: u64| {
            while roster.health().get("a.log").is_none_or(|health| health.rows < least) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // The other one keeps the batch open meanwhile.
        let (both, one) = (tail("a.log") + &tail("b.log"), tail("b.log"));
        supervisor.apply(inputs(&both), &[]).await;
        rows(LINES).await;
        supervisor.apply(inputs(&one), &[]).await;
        assert_eq!(buffer.snapshot().records(), 0);
        supervisor.apply(inputs(&both), &[]).await;
        let mut file = std::fs::File::options().append(true).open(&file).unwrap();
        file.write_all(b"{\"n\":100}\n").unwrap();
        rows(1).await;
        supervisor.stop().await;
        assert_eq!(buffer.snapshot().records(), LINES + 1);
    });
}

#[test]
fn a_rule_of_one_input_does_not_restart_the_others() {
    let settings: Settings = toml::from_str(
        "[[inputs]]\nkind = \"host\"\nname = \"a\"\n[[inputs]]\nkind = \"host\"\nname = \"b\"\n\
         [[sensors]]\nmatch = \"*\"\ninput = \"a\"\ndrop = true\n[[sensors]]\nmatch = \"load.*\"\ndrop = true\n",
    )
    .unwrap();
    let config = settings.validate().unwrap();
    let concerned = |name| config.sensors.iter().filter(|rule: &&SensorRule| rule.concerns(name)).count();
    assert_eq!((concerned("a"), concerned("b")), (2, 1));
}
