//! A process that is killed while it writes: the next one finds everything that was acknowledged.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
};
use wal::{Config, Frame, GroupId, Wal};

const DIR: &str = "WAL_KILL_TEST_DIR";
const FILE_BYTES: u64 = 64 * 1024;
const GROUPS: u32 = 3;

fn config(dir: &Path) -> Config {
    Config { file_bytes: FILE_BYTES, ..Config::new(dir) }
}

/// Not a test of its own: the process that is killed. Prints each group and index once they are durable.
#[test]
fn writer_process() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let (wal, recovered) = Wal::open(config(Path::new(&dir))).expect("the log opens");
    let last = |group| recovered.groups.get(&GroupId(group)).and_then(|log| log.entries.last());
    let mut next: Vec<u64> =
        (0..GROUPS).map(|group| last(group).map_or(1, |entry| entry.index + 1)).collect();
    loop {
        for group in 0..GROUPS {
            let index = next[group as usize];
            next[group as usize] += 1;
            let payload = index.to_le_bytes().repeat(1 + index as usize % 90).into();
            let frame = Frame::Entry { group: GroupId(group), index, term: 1, entry_kind: 0, payload };
            let (sender, receiver) = mpsc::channel();
            wal.write(vec![frame], Box::new(move |_| sender.send(()).expect("the writer waits")));
            receiver.recv().expect("acknowledged");
            println!("durable {group} {index}");
            std::io::stdout().flush().expect("the parent reads");
            wal.release(GroupId(group), index.saturating_sub(100));
        }
    }
}

/// Runs the writer process until it has said so many lines, kills it, and returns the last index per group.
fn write_and_kill(dir: &Path, lines: usize) -> Vec<u64> {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .args(["--exact", "writer_process", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut durable = vec![0; GROUPS as usize];
    let mut seen = 0;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line.expect("reads");
        let Some((_, said)) = line.split_once("durable ") else { continue };
        let numbers: Vec<u64> = said.split(' ').map(|number| number.parse().expect("a number")).collect();
        durable[numbers[0] as usize] = numbers[1];
        seen += 1;
        if seen == lines {
            // What the process says between this and its end is read as well.
            child.kill().expect("is running");
        }
    }
    child.wait().expect("ends");
    assert!(seen >= lines, "the writer ended by itself after {seen} lines");
    durable
}

#[test]
fn what_was_acknowledged_before_a_kill_is_recovered() {
    let dir = tempfile::tempdir().expect("a directory");
    for lines in [1, 50, 333, 700, 20, 400] {
        let durable = write_and_kill(dir.path(), lines);
        let (wal, recovered) = Wal::open(config(dir.path())).expect("opens");
        for group in 0..GROUPS {
            let entries =
                &recovered.groups.get(&GroupId(group)).map(|log| log.entries.clone()).unwrap_or_default();
            let last = entries.last().map_or(0, |entry| entry.index);
            assert!(last >= durable[group as usize], "group {group}: {last} of {durable:?}");
            assert!(
                entries.windows(2).all(|pair| pair[0].index + 1 == pair[1].index),
                "a hole in group {group}"
            );
            for entry in entries {
                let expected = entry.index.to_le_bytes().repeat(1 + entry.index as usize % 90);
                assert_eq!(entry.payload, expected);
            }
        }
        drop(wal);
    }
}
