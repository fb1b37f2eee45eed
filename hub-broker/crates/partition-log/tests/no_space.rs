//! A full disk. The kernel's own limit on the size of a file stands in for it: it, too, takes a part of a write
//! and refuses the rest. It holds for a whole process, so the test runs itself again under `ulimit`.

mod common;

use std::process::Command;

use common::{EPOCH, Partition, numbered, records};
use partition_log::{DirtyFile, LogError, Origin};
use rustix::process::{Resource, Rlimit, setrlimit};
use schemas::Offset;

const INNER: &str = "PARTITION_LOG_TEST_INSIDE_LIMIT";

/// Runs the test of this name again, and what it is about only there.
fn within_the_limit(test: &str, inside: fn()) {
    if std::env::var_os(INNER).is_some() {
        return inside();
    }
    // 8 KiB a file; without the trap the kernel would end the process with SIGXFSZ.
    let script = "trap '' XFSZ; ulimit -S -f 16; exec \"$0\" --exact \"$1\"";
    let program = std::env::current_exe().expect("a program");
    let mut shell = Command::new("sh");
    let output = shell.arg("-c").arg(script).arg(program).arg(test).env(INNER, "1").output().expect("sh");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

fn lift_the_limit() {
    let unlimited = Rlimit { current: None, maximum: None };
    setrlimit(Resource::Fsize, unlimited).expect("a soft limit may be raised");
}

#[test]
fn a_full_disk_leaves_everything_as_it_was() {
    within_the_limit("a_full_disk_leaves_everything_as_it_was", everything_is_as_it_was);
}

#[test]
fn a_file_made_while_the_disk_was_full_gets_a_durable_name() {
    within_the_limit("a_file_made_while_the_disk_was_full_gets_a_durable_name", the_name_is_durable);
}

fn the_name_is_durable() {
    let mut partition = Partition::new(1 << 20);
    partition.checkpoint();
    partition.log.append(&numbered(0, 800), &Origin::Kafka, EPOCH, 10).expect("staged");
    assert!(matches!(partition.log.take_dirty(), Err(LogError::NoSpace { .. })));
    assert_eq!(partition.logs().len(), 1);

    lift_the_limit();
    let dirty = partition.log.take_dirty().expect("there is room again");
    let dirty: Vec<_> = dirty.iter().map(DirtyFile::path).collect();
    assert!(dirty.contains(&partition.path().as_path()), "{dirty:?}");
}

fn everything_is_as_it_was() {
    let mut partition = Partition::new(1 << 20);
    partition.append(&numbered(0, 200), 10);
    let before = common::contents(&partition.path());

    let large = numbered(200, 400);
    partition.log.append(&large, &Origin::Kafka, EPOCH, 11).expect("staged");
    for _ in 0..3 {
        assert!(matches!(partition.log.publish(), Err(LogError::NoSpace { .. })));
        assert_eq!(common::contents(&partition.path()), before, "the part that was written is cut off");
    }
    assert!(matches!(partition.log.roll(), Err(LogError::NoSpace { .. })));
    assert_eq!(partition.reader().high_watermark(), Offset(200));
    assert_eq!(records(&partition.reader(), Offset(0)).len(), 200);

    lift_the_limit();
    partition.log.publish().expect("there is room again");
    assert_eq!(partition.append(&numbered(600, 1), 12), Offset(600));
    let found = records(&partition.reader(), Offset(0));
    assert_eq!(found.len(), 601);
    assert_eq!(found[599].3.as_deref(), Some("value 599"));
}
