//! The keeper alone: the test stands in for the writer.

use super::*;
use crate::{
    file_header::file_name,
    keeper::{Job, Keeper},
    request::Write,
    shared::Shared,
};
use std::{collections::BTreeMap, thread::JoinHandle};

const LARGE_FILE_BYTES: u64 = 1024 * 1024;
/// In each full file.
const ENTRIES: u64 = 17;
const ENTRY_BYTES: usize = 60_000;

struct Bench {
    disk: SimDisk,
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    failures: Arc<Mutex<Vec<String>>>,
    thread: JoinHandle<()>,
}

impl Bench {
    /// Files 1 and 2 are full of entries of group 9, so that each is copied in several steps.
    fn new() -> Self {
        let disk = SimDisk::new(1);
        let (watched, failures) = watched();
        let config = Config { file_bytes: LARGE_FILE_BYTES, ..watched };
        let (wal, _) = try_open(&disk, config.clone()).expect("opens");
        for index in 1..=2 * ENTRIES + 1 {
            write(&wal, vec![entry(9, index, &[9; ENTRY_BYTES])]);
        }
        assert_eq!(wal.stats().files, 3);
        wal.close();
        let shared = Arc::new(Shared::new(None));
        let (own_jobs, jobs) = mpsc::channel();
        let keeper = Keeper {
            shared: shared.clone(),
            disk: Arc::new(disk.clone()),
            fail: config.fail,
            file_bytes: LARGE_FILE_BYTES,
            room_retry: config.room_retry,
            jobs,
            own_jobs: own_jobs.clone(),
            free: Vec::new(),
            wanted: None,
            to_rewrite: None,
            rewrite: None,
        };
        let thread = std::thread::spawn(move || keeper.run());
        Bench { disk, shared, jobs: own_jobs, failures, thread }
    }

    fn send(&self, job: Job) {
        self.jobs.send(job).expect("the keeper listens");
    }

    fn rewrite(&self, file: u64) {
        let live = crate::ledger::Live { above: 0, up_to: 2 * ENTRIES + 1, behind: Lsn(0) };
        let ranges = BTreeMap::from([(GroupId(9), live)]);
        self.send(Job::Rewrite { file, ranges });
    }

    fn copies(&self) -> Write {
        eventually("copies are handed on", || !self.shared.inbox.lock().writes.is_empty());
        self.shared.inbox.lock().writes.remove(0)
    }

    /// Waits until the keeper has done all that it was told before.
    fn settle(&self, next: u64) {
        self.send(Job::Prepare(next));
        eventually("the file is made", || self.shared.inbox.lock().spare.take().is_some());
    }

    /// Returns what the keeper has said about finished files.
    fn stop(self) -> Vec<u64> {
        self.send(Job::Stop);
        self.thread.join().expect("no panic");
        assert_eq!(*self.failures.lock(), Vec::<String>::new());
        self.shared.inbox.lock().rewritten.clone()
    }
}

#[test]
fn a_file_that_is_freed_while_it_is_copied_is_not_read_any_more() {
    let bench = Bench::new();
    bench.rewrite(1);
    let first = bench.copies();
    bench.send(Job::Free(file_name(1)));
    bench.settle(50);
    assert!(!bench.disk.file_names().contains(&file_name(1)), "it is used again");
    bench.disk.damage(&file_name(50), |bytes| bytes[4096..].fill(0));
    (first.done)(Lsn(1));
    bench.settle(51);
    assert!(bench.shared.inbox.lock().writes.is_empty());
    assert_eq!(bench.stop(), [1], "the writer may have the next file copied");
}

#[test]
fn late_copies_of_a_freed_file_do_not_hurry_those_of_the_next() {
    let bench = Bench::new();
    bench.rewrite(1);
    let late = bench.copies();
    bench.send(Job::Free(file_name(1)));
    bench.rewrite(2);
    let mut step = bench.copies();
    (late.done)(Lsn(1));
    bench.settle(50);
    assert!(bench.shared.inbox.lock().writes.is_empty(), "the step before is not durable yet");
    let mut copied = step.frames.len() as u64;
    while copied < ENTRIES {
        assert_eq!(step.copies_of, Some(2));
        (step.done)(Lsn(1));
        step = bench.copies();
        copied += step.frames.len() as u64;
    }
    (step.done)(Lsn(1));
    bench.settle(51);
    assert_eq!(bench.stop(), [1, 2]);
}

#[test]
fn a_file_that_is_freed_before_it_could_be_opened_is_not_copied() {
    let bench = Bench::new();
    bench.disk.refuse_opens(u32::MAX);
    bench.rewrite(1);
    bench.send(Job::Free(file_name(1)));
    eventually("the keeper has both", || bench.shared.inbox.lock().rewritten == [1]);
    bench.disk.refuse_opens(0);
    bench.settle(50);
    assert!(bench.shared.inbox.lock().writes.is_empty());
    assert_eq!(bench.stop(), [1]);
}
