//! Tests of the log in one thread.

use super::*;
use crate::{Config, Failure, Frame, GroupId, HardState, Lsn, OpenError, Recovered, limits};
use bytes::Bytes;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{collections::BTreeMap, sync::Arc};

const GROUPS: u32 = 3;

fn config() -> Config {
    Config { file_bytes: limits::FILE_BYTES_MIN, ..Config::new("/sim") }
}

/// A log, and what was handed to it.
struct Bench {
    opened: Opened,
    next: [u64; GROUPS as usize],
    acknowledged: Arc<Mutex<BTreeMap<u32, u64>>>,
}

impl Bench {
    fn new(disk: &SimDisk) -> Self {
        let opened = open(disk, &config()).expect("opens");
        Bench { opened, next: [1; GROUPS as usize], acknowledged: Arc::default() }
    }

    fn write(&mut self, group: u32, bytes: usize) {
        let index = self.next[group as usize];
        self.next[group as usize] += 1;
        let payload = Bytes::from(vec![group as u8; bytes]);
        let entry = Frame::Entry { group: GroupId(group), index, term: 1, entry_kind: 0, payload };
        let hard_state = Frame::HardState { group: GroupId(group), term: 1, vote: 7, commit: index };
        let acknowledged = self.acknowledged.clone();
        let done = move |_| _ = acknowledged.lock().insert(group, index);
        self.opened.wal.write(vec![entry, hard_state], Box::new(done));
    }

    fn work(&mut self) -> Result<(), Failure> {
        self.opened.run.work()
    }

    /// Files fill up, are let go and used again.
    fn fill(&mut self, random: &mut StdRng, rounds: u64) {
        for round in 0..rounds {
            for group in 0..GROUPS {
                self.write(group, random.gen_range(0..2000));
            }
            if round % 5 == 4 {
                let kept = random.gen_range(0..4);
                (0..GROUPS).for_each(|group| {
                    let durable = self.acknowledged.lock().get(&group).copied().unwrap_or_default();
                    self.opened.wal.release(GroupId(group), durable.saturating_sub(kept));
                });
            }
            if random.gen_bool(0.7) {
                self.work().expect("the disk works");
            }
            if random.gen_bool(0.3) {
                self.opened.run.rest().expect("the disk works");
            }
        }
    }
}

fn last(recovered: &Recovered, group: u32) -> u64 {
    recovered.groups.get(&GroupId(group)).and_then(|log| log.hard_state).map_or(0, |state| state.commit)
}

#[test]
fn the_same_calls_leave_the_same_bytes() {
    let bytes = || {
        let disk = SimDisk::new(5);
        Bench::new(&disk).fill(&mut StdRng::seed_from_u64(6), 60);
        disk.file_names().iter().map(|name| disk.content(name)).collect::<Vec<_>>()
    };
    assert!(bytes().len() > 2, "several files");
    assert_eq!(bytes(), bytes());
}

#[test]
fn nothing_is_written_before_the_disk_answers() {
    let disk = SimDisk::new(5);
    let mut bench = Bench::new(&disk);
    bench.write(1, 100);
    assert!(bench.opened.run.has_writes());
    let before = disk.syncs();
    assert_eq!(bench.acknowledged.lock().get(&1), None);
    bench.work().expect("the disk works");
    assert!(disk.syncs() > before && !bench.opened.run.has_work());
    assert_eq!(bench.acknowledged.lock().get(&1), Some(&1));
}

#[test]
fn wherever_the_machine_stops_what_was_acknowledged_is_recovered() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let mut bench = Bench::new(&disk);
        let rounds = random.gen_range(1..40);
        bench.fill(&mut random, rounds);
        bench.write(0, 3000);
        bench.write(1, 9000);
        let acknowledged = bench.acknowledged.lock().clone();
        let stopped = bench.opened.run.stop_after(random.gen_range(0..20));
        let found = if random.gen_bool(0.5) { stopped.after_power_cut(seed) } else { stopped.after_kill() };
        let reopened = open(&found, &config()).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        for (group, index) in acknowledged {
            assert!(last(&reopened.recovered, group) >= index, "seed {seed}, group {group}");
        }
    }
}

#[test]
fn a_disk_that_does_not_sync_is_noticed() {
    let is_lost = |seed: u64| {
        let disk = SimDisk::new(seed);
        disk.skip_syncs();
        let mut bench = Bench::new(&disk);
        bench.fill(&mut StdRng::seed_from_u64(seed), 10);
        let acknowledged = bench.acknowledged.lock().clone();
        let found = bench.opened.run.stop_after(0).after_power_cut(seed);
        let Ok(reopened) = open(&found, &config()) else { return true };
        acknowledged.iter().any(|(group, index)| last(&reopened.recovered, *group) < *index)
    };
    assert!((0..5).any(is_lost));
}

#[test]
fn a_byte_that_goes_bad_is_noticed_wherever_it_is() {
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let mut bench = Bench::new(&disk);
        bench.fill(&mut random, 25);
        bench.write(0, 3000);
        let found = bench.opened.run.stop_after(random.gen_range(0..6)).after_power_cut(seed);
        let lsn = found.corrode(&mut |below| random.gen_range(0..below)).expect("something is durable");
        let Err(OpenError::Corrupt(damage)) = open(&found, &config()) else {
            panic!("seed {seed}: {lsn} is bad, and nobody sees it");
        };
        assert_eq!(damage.lsn, lsn, "seed {seed}");
        let past = read_past_damage(&found, &config()).expect("readable").expect("damaged");
        let first_lsn = Lsn(past.last_lsn.0 + 1);
        let term = HardState { term: 3, vote: 1, commit: 0 };
        let kept = Frame::HardState { group: GroupId(2), term: term.term, vote: term.vote, commit: 0 };
        write_new(&found, &Config { first_lsn, ..config() }, vec![kept]).expect("written");
        let reopened = open(&found.after_power_cut(seed), &config()).expect("a new log is whole");
        assert!(reopened.recovered.last_lsn >= first_lsn);
        let groups = reopened.recovered.groups;
        assert_eq!(
            groups.iter().map(|(group, log)| (group.0, log.hard_state)).collect::<Vec<_>>(),
            [(2, Some(term))]
        );
    }
}

#[test]
fn what_is_altered_has_a_checksum_that_matches() {
    let disk = SimDisk::new(1);
    let mut bench = Bench::new(&disk);
    (0..5).for_each(|_| bench.write(1, 100));
    bench.work().expect("the disk works");
    drop(bench);
    let other = |payload: &Bytes| Some(Bytes::from(vec![99; payload.len()]));
    assert_eq!(disk.alter(GroupId(1), 2, 4, other), Some(4));
    let recovered = open(&disk, &config()).expect("nothing is damaged").recovered;
    let firsts: Vec<u8> =
        recovered.groups[&GroupId(1)].entries.iter().map(|entry| entry.payload[0]).collect();
    assert_eq!(firsts, [1, 1, 1, 99, 1]);
}
