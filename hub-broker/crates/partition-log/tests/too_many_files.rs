//! Too many open files. The limit holds for a whole process, so this test is alone in its program.

mod common;

use std::fs::File;

use common::{EPOCH, Partition, numbered, partition_id, records};
use partition_log::{LogError, LogOptions, Origin, PartitionLog};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use schemas::Offset;

/// Takes every descriptor that is left.
fn take_all() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[test]
fn too_many_open_files_leave_everything_as_it_was() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).expect("a lower limit");
    let mut partition = Partition::new(1 << 20);
    partition.append(&numbered(0, 200), 10);
    partition.checkpoint();
    assert_eq!(records(&partition.reader(), Offset(0)).len(), 200);
    let before = common::contents(&partition.path());

    // Files that are kept open for readers give way to what has to be opened.
    let mut taken = take_all();
    assert_eq!(partition.files.open_files(), 2, "the segment and its index");
    partition.append(&numbered(200, 100), 11);
    assert_eq!(partition.files.open_files(), 0);
    partition.checkpoint();
    drop(taken);
    let after = common::contents(&partition.path());
    assert_ne!(after, before);
    taken = take_all();

    partition.log.append(&numbered(300, 100), &Origin::Kafka, EPOCH, 12).expect("staged");
    for _ in 0..3 {
        assert!(matches!(partition.log.publish(), Err(LogError::NoSpace { .. })));
        assert!(matches!(partition.log.roll(), Err(LogError::NoSpace { .. })));
        assert!(matches!(partition.log.take_dirty(), Err(LogError::NoSpace { .. })));
    }
    let other = partition.dir.path().join("q");
    let create = || {
        let options = LogOptions { segment_bytes: 1 << 20 };
        PartitionLog::create(&other, partition_id(), options, &partition.files)
    };
    assert!(matches!(create(), Err(LogError::NoSpace { .. })));
    assert_eq!(partition.reader().high_watermark(), Offset(300));

    drop(taken);
    assert_eq!(common::contents(&partition.path()), after, "nothing has been written");
    create().expect("there are descriptors again");
    partition.log.publish().expect("there are descriptors again");
    partition.log.roll().expect("there are descriptors again");
    assert_eq!(partition.append(&numbered(400, 1), 13), Offset(400));
    assert_eq!(records(&partition.reader(), Offset(0)).len(), 401);
    partition.checkpoint();
}
