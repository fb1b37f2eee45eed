//! Old entries are read back: the right ones, or none.

use super::*;
use crate::{EntriesRead, EntriesWanted, HardState, LogReader, ReadError, file_header::file_name};
use proptest::prelude::*;
use std::collections::BTreeMap;

const GROUP: GroupId = GroupId(1);

fn keeping(files: u64) -> Config {
    Config { kept_bytes_max: files * FILE_BYTES, ..config() }
}

fn wanted(from: u64, through: u64) -> EntriesWanted {
    EntriesWanted { group: GROUP, from, through, bytes_max: 5_000, worth_bytes: u64::MAX }
}

fn of_term(group: u32, index: u64, term: u64, payload: &[u8]) -> Frame {
    let payload = Bytes::copy_from_slice(payload);
    Frame::Entry { group: GroupId(group), index, term, entry_kind: 3, payload }
}

/// Everything from `from` through `through`, piece by piece.
fn read_all(reader: &mut LogReader, from: u64, through: u64) -> Result<Vec<(u64, u64, Bytes)>, ReadError> {
    let mut all = Vec::new();
    let mut next = from;
    while next <= through {
        let EntriesRead { entries, .. } = reader.read(&wanted(next, through))?;
        next += entries.len() as u64;
        all.extend(entries.into_iter().map(|entry| (entry.index, entry.term, entry.payload)));
    }
    Ok(all)
}

/// Entries 1 to `count` of 1,000 bytes, released as they come, with another group's between them.
fn filled(disk: &SimDisk, config: Config, count: u64) -> Wal {
    let (wal, _) = try_open(disk, config).expect("opens");
    wal.keep(GROUP, Some(1));
    for index in 1..=count {
        write(&wal, vec![entry(1, index, &[index as u8; 1_000]), entry(2, index, &[0; 500])]);
        wal.release(GROUP, index);
        wal.release(GroupId(2), index);
    }
    wal
}

fn is_gone<T>(result: &Result<T, ReadError>) -> bool {
    matches!(result, Err(ReadError::Gone { .. }))
}

#[test]
fn what_is_released_can_be_read_while_it_is_wanted() {
    let disk = SimDisk::new(1);
    let wal = filled(&disk, keeping(100), 100);
    let mut reader = wal.reader();
    let first = reader.read(&wanted(2, 100)).expect("it is there");
    assert_eq!(first.before_term, 1);
    assert_eq!(first.entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    let all = read_all(&mut reader, 2, 100).expect("all is there");
    assert!(all.iter().zip(2..).all(|((index, term, payload), expected)| {
        (*index, *term) == (expected, 1) && payload[..] == [expected as u8; 1_000]
    }));
    assert_eq!(all.len(), 99);
    assert!(wal.stats().kept_bytes > 5 * FILE_BYTES, "{:?}", wal.stats());
    wal.keep(GROUP, None);
    eventually("the files are let go", || wal.stats().kept_bytes == 0);
    assert!(is_gone(&reader.read(&wanted(2, 100))));
}

#[test]
fn one_entry_is_read_however_large_it_is_and_none_beyond_the_last() {
    let disk = SimDisk::new(1);
    let (wal, _) = try_open(&disk, keeping(100)).expect("opens");
    write(&wal, vec![entry(1, 1, b"a"), entry(1, 2, &[2; 9_000]), entry(1, 3, b"c"), entry(1, 4, b"d")]);
    let mut reader = wal.reader();
    let read = reader.read(&wanted(2, 3)).expect("it is there");
    assert_eq!(read.entries.len(), 1);
    let read = reader.read(&wanted(3, 3)).expect("it is there");
    assert_eq!(read.entries.len(), 1);
    assert!(is_gone(&reader.read(&wanted(1, 3))), "nobody knows the term of the one before the first");
    assert!(is_gone(&reader.read(&wanted(5, 9))));
}

#[test]
fn beyond_the_limit_the_oldest_is_gone_and_the_rest_is_there() {
    let disk = SimDisk::new(1);
    let wal = filled(&disk, keeping(3), 200);
    assert!(wal.stats().kept_bytes <= 3 * FILE_BYTES, "{:?}", wal.stats());
    let mut reader = wal.reader();
    assert!(is_gone(&reader.read(&wanted(2, 200))));
    assert_eq!(read_all(&mut reader, 190, 200).expect("these are there").len(), 11);
    // And where the reader stood before when the files were used again.
    let mut reader = wal.reader();
    reader.read(&wanted(190, 200)).expect("it is there");
    for index in 201..=300 {
        write(&wal, vec![entry(1, index, &[0; 1_000])]);
        wal.release(GROUP, index);
    }
    assert!(is_gone(&reader.read(&wanted(192, 300))));
}

#[test]
fn what_would_be_more_than_it_is_worth_is_not_read() {
    let disk = SimDisk::new(1);
    let wal = filled(&disk, keeping(100), 100);
    let mut reader = wal.reader();
    let read =
        |reader: &mut LogReader, worth_bytes| reader.read(&EntriesWanted { worth_bytes, ..wanted(2, 100) });
    assert!(matches!(read(&mut reader, 50_000), Err(ReadError::NotWorth { bytes: 80_000.., .. })));
    assert!(read(&mut reader, 200_000).is_ok());
}

#[test]
fn a_full_disk_takes_the_place_of_what_is_only_kept() {
    let disk = SimDisk::new(1);
    let wal = filled(&disk, keeping(100), 60);
    let kept = wal.stats().kept_bytes;
    assert!(kept > 3 * FILE_BYTES);
    disk.set_room(Some(0));
    for index in 61..=100 {
        write(&wal, vec![entry(1, index, &[0; 1_000])]);
        wal.release(GROUP, index);
    }
    eventually("the last file has taken another's place", || wal.stats().kept_bytes <= kept);
    let before = wal.stats().kept_bytes;
    assert!(before > 0);
    wal.give_way();
    eventually("a file is let go", || wal.stats().kept_bytes < before);
}

#[test]
fn after_a_restart_what_was_kept_is_still_there() {
    let disk = SimDisk::new(1);
    filled(&disk, keeping(100), 100).close();
    let (wal, _) = try_open(&disk, keeping(100)).expect("opens");
    eventually("it is known what is kept", || wal.stats().kept_bytes > 5 * FILE_BYTES);
    assert_eq!(read_all(&mut wal.reader(), 2, 100).expect("all is there").len(), 99);
    wal.close();
    let (wal, _) = try_open(&disk, config()).expect("opens");
    assert_eq!(wal.stats().kept_bytes, 0);
    assert!(is_gone(&wal.reader().read(&wanted(2, 100))));
}

#[test]
fn damage_in_a_kept_file_is_not_read_and_the_log_opens_all_the_same() {
    let disk = SimDisk::new(1);
    filled(&disk, keeping(100), 100).close();
    // In the middle of entry 20.
    let payload = [20; 1_000];
    let place = |name: &String| disk.content(name).windows(1_000).position(|bytes| bytes == payload);
    let names = disk.file_names();
    let (name, at) = names.iter().find_map(|name| Some((name, place(name)?))).expect("it is somewhere");
    disk.damage(name, |bytes| bytes[at + 500] = 0);
    let (wal, _) = try_open(&disk, keeping(100)).expect("nothing that is needed is damaged");
    let mut reader = wal.reader();
    assert!(is_gone(&read_all(&mut reader, 2, 100)));
    assert_eq!(read_all(&mut reader, 80, 100).expect("these are there").len(), 21);
    assert_eq!(read_all(&mut reader, 2, 19).expect("and these").len(), 18);
}

#[test]
fn damage_that_hides_what_a_file_holds_hides_what_is_older() {
    let disk = SimDisk::new(1);
    filled(&disk, keeping(100), 100).close();
    disk.damage(&file_name(4), |bytes| bytes[4_096..4_100].fill(0xff));
    let (wal, _) = try_open(&disk, keeping(100)).expect("nothing that is needed is damaged");
    let mut reader = wal.reader();
    assert!(is_gone(&reader.read(&wanted(2, 100))), "a newer version of it might be there");
    assert_eq!(read_all(&mut reader, 80, 100).expect("these are there").len(), 21);
}

#[test]
fn what_a_barrier_voids_is_not_read() {
    let disk = SimDisk::new(1);
    let wal = filled(&disk, keeping(100), 50);
    let mut reader = wal.reader();
    read_all(&mut reader, 2, 50).expect("all is there");
    let (sender, receiver) = mpsc::channel();
    let hard_state = HardState { term: 2, vote: 0, commit: 60 };
    wal.write_barrier(GROUP, hard_state, Box::new(move |lsn| sender.send(lsn).unwrap_or_default()));
    let barrier = receiver.recv_timeout(DEADLINE).expect("written");
    wal.forget_entries(GROUP);
    write(&wal, vec![of_term(1, 61, 2, b"new"), of_term(1, 62, 2, b"newer")]);
    assert!(is_gone(&reader.read(&wanted(40, 62))));
    assert_eq!(reader.read(&wanted(62, 62)).expect("it is there").entries[0].payload, "newer");
    wal.close();
    let config = Config { void_entries: [(GROUP, barrier)].into(), ..keeping(100) };
    let (wal, _) = try_open(&disk, config).expect("opens");
    let mut reader = wal.reader();
    assert!(is_gone(&reader.read(&wanted(40, 62))));
    assert_eq!(reader.read(&wanted(62, 62)).expect("it is there").entries[0].payload, "newer");
}

/// What may happen to the log of a group.
#[derive(Clone, Debug)]
enum Step {
    /// So many entries of a size.
    Append(u8, u16),
    /// A new leader's entries take the place of some of the last.
    Overwrite(u8),
    Truncate(u8),
    /// Other groups write.
    Noise(u16),
    Release,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..6u8, 1..2_500u16).prop_map(|(count, bytes)| Step::Append(count, bytes)),
        1 => (1..4u8).prop_map(Step::Overwrite),
        1 => (1..4u8).prop_map(Step::Truncate),
        2 => (1..6_000u16).prop_map(Step::Noise),
        1 => Just(Step::Release),
        1 => Just(Step::Reopen),
    ]
}

/// The log as it should be, and the one that is.
struct Model {
    disk: SimDisk,
    wal: Wal,
    log: BTreeMap<u64, (u64, Bytes)>,
    term: u64,
    written: u64,
    /// Entries up to here are never replaced any more.
    applied: u64,
}

impl Model {
    fn new() -> Self {
        let disk = SimDisk::new(3);
        let (wal, _) = try_open(&disk, keeping(1_000)).expect("opens");
        wal.keep(GROUP, Some(1));
        Model { disk, wal, log: BTreeMap::new(), term: 1, written: 0, applied: 0 }
    }

    fn last(&self) -> u64 {
        self.log.last_key_value().map_or(0, |(index, _)| *index)
    }

    fn append(&mut self, from: u64, count: u64, bytes: usize) -> Vec<Frame> {
        self.log.split_off(&from);
        let indexes = from..from + count;
        indexes
            .map(|index| {
                self.written += 1;
                let mut payload = self.written.to_be_bytes().to_vec();
                payload.resize(bytes.max(8), 7);
                self.log.insert(index, (self.term, payload.clone().into()));
                of_term(1, index, self.term, &payload)
            })
            .collect()
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Append(count, bytes) => {
                let frames = self.append(self.last() + 1, u64::from(count), usize::from(bytes));
                write(&self.wal, frames);
            }
            Step::Overwrite(back) => {
                self.term += 1;
                let from = (self.last() + 1).saturating_sub(u64::from(back)).max(self.applied + 1);
                let frames = self.append(from, 2, 100);
                write(&self.wal, frames);
            }
            Step::Truncate(back) => {
                let from_index = (self.last() + 1).saturating_sub(u64::from(back)).max(self.applied + 1);
                self.log.split_off(&from_index);
                write(&self.wal, vec![Frame::Truncate { group: GROUP, from_index, term: self.term }]);
            }
            Step::Noise(bytes) => {
                self.written += 1;
                write(&self.wal, vec![entry(9, self.written, &vec![0; usize::from(bytes)])]);
                self.wal.release(GroupId(9), self.written);
            }
            Step::Release => {
                self.applied = self.last();
                self.wal.release(GROUP, self.applied);
            }
            Step::Reopen => {
                self.wal.clone().close();
                self.wal = try_open(&self.disk, keeping(1_000)).expect("opens").0;
                self.wal.keep(GROUP, Some(1));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_is_read_is_what_was_written_last(steps in prop::collection::vec(step(), 1..60)) {
        let mut model = Model::new();
        let mut reader = model.wal.reader();
        for step in &steps {
            model.run(step);
            if matches!(step, Step::Reopen) {
                reader = model.wal.reader();
            }
            model.applied = model.applied.max(model.last().saturating_sub(4));
            if model.applied >= 2 {
                let found = read_all(&mut reader, 2, model.applied).expect("all of it is kept");
                let expected = model.log.range(2..=model.applied);
                prop_assert_eq!(found, expected.map(|(index, (term, payload))| (*index, *term, payload.clone())).collect::<Vec<_>>());
            }
        }
    }
}
