//! A full disk. The kernel's own limit on the size of a file stands in for it: it, too, takes a part of a write
//! and refuses the rest. It holds for a whole process, so the test runs itself again under `ulimit`.

mod common;

use std::process::Command;

use common::{EPOCH, Partition, numbered, records};
use partition_log::{LogError, Origin};
use rustix::process::{Resource, Rlimit, setrlimit};
use schemas::Offset;

const INNER: &str = "PARTITION_LOG_TEST_INSIDE_LIMIT";

#[test]
fn a_full_disk_leaves_everything_as_it_was() {
    if std::env::var_os(INNER).is_some() {
        return inside_the_limit();
    }
    // 8 KiB a file; without the trap the kernel would end the process with SIGXFSZ.
    let script = "trap '' XFSZ; ulimit -S -f 16; exec \"$0\" --exact a_full_disk_leaves_everything_as_it_was";
    let program = std::env::current_exe().expect("a program");
    let output = Command::new("sh").arg("-c").arg(script).arg(program).env(INNER, "1").output().expect("sh");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

fn inside_the_limit() {
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

    let unlimited = Rlimit { current: None, maximum: None };
    setrlimit(Resource::Fsize, unlimited).expect("a soft limit may be raised");
    partition.log.publish().expect("there is room again");
    assert_eq!(partition.append(&numbered(600, 1), 12), Offset(600));
    let found = records(&partition.reader(), Offset(0));
    assert_eq!(found.len(), 601);
    assert_eq!(found[599].3.as_deref(), Some("value 599"));
}
