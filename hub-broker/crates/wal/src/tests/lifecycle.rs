use super::*;
use crate::{HardState, file_header::file_name};

#[test]
fn what_is_acknowledged_is_there_after_a_stop() {
    let disk = SimDisk::new(1);
    let (wal, recovered) = open(&disk);
    assert_eq!(recovered, Recovered::default());
    write(&wal, vec![entry(1, 1, b"a"), entry(2, 1, &[7; 3000]), hard_state(1, 3)]);
    write(&wal, vec![entry(1, 2, b"b")]);
    wal.close();
    let (_wal, recovered) = open(&disk);
    assert_eq!(indexes(&recovered, 1), [1, 2]);
    assert_eq!(recovered.groups[&GroupId(2)].entries[0].payload, Bytes::from(vec![7; 3000]));
    let hard_state = HardState { term: 3, vote: 7, commit: 30 };
    assert_eq!(recovered.groups[&GroupId(1)].hard_state, Some(hard_state));
    assert_eq!(recovered.torn_tail, None);
}

#[test]
fn sequence_numbers_have_no_holes() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    // Opening takes 1, and each group commit ends with a frame of its own.
    assert_eq!(write(&wal, vec![entry(1, 1, b""), entry(1, 2, b"")]), Lsn(3));
    assert_eq!(write(&wal, vec![entry(1, 3, b"")]), Lsn(5));
    wal.close();
    let (_wal, recovered) = open(&disk);
    assert_eq!(recovered.last_lsn, Lsn(7));
}

#[test]
fn entries_replace_and_truncate_in_order() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    write(&wal, (1..=6).map(|index| entry(1, index, b"old")).collect());
    write(&wal, vec![Frame::Truncate { group: GroupId(1), from_index: 5, term: 2 }]);
    write(&wal, vec![hard_state(1, 1), entry(1, 3, b"new"), hard_state(1, 2)]);
    wal.close();
    let (_wal, recovered) = open(&disk);
    assert_eq!(indexes(&recovered, 1), [1, 2, 3]);
    let log = &recovered.groups[&GroupId(1)];
    assert_eq!(log.entries[2].payload, "new");
    assert_eq!(log.hard_state.map(|state| state.term), Some(2));
}

#[test]
fn entries_that_a_checkpoint_holds_are_not_returned() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    write(&wal, (1..=6).map(|index| entry(1, index, b"x")).collect());
    wal.close();
    let config = Config { replay_after: [(GroupId(1), 4)].into(), ..config() };
    let (_wal, recovered) = try_open(&disk, config).expect("opens");
    assert_eq!(indexes(&recovered, 1), [5, 6]);
}

#[test]
fn writes_that_wait_share_one_sync() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    write(&wal, vec![entry(1, 1, b"")]);
    eventually("the spare file is ready", || disk.file_names().len() == 2);
    let before = disk.syncs();
    let (sender, receiver) = mpsc::channel();
    // The first callback holds the writer up until all the others wait.
    let (go, gate) = mpsc::channel::<()>();
    wal.write(vec![entry(1, 2, b"")], Box::new(move |_| gate.recv().expect("the gate opens")));
    for group in 2..=64 {
        let sender = sender.clone();
        wal.write(vec![entry(group, 1, b"small")], Box::new(move |lsn| sender.send(lsn).unwrap_or_default()));
    }
    go.send(()).expect("the writer waits");
    for _ in 2..=64 {
        receiver.recv_timeout(DEADLINE).expect("acknowledged");
    }
    assert!(disk.syncs() - before <= 3, "{} syncs", disk.syncs() - before);
}

#[test]
fn released_files_are_used_again() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    for index in 1..=200 {
        write(&wal, vec![entry(1, index, &[1; 2000])]);
        wal.release(GroupId(1), index);
    }
    assert!(wal.stats().files <= 3, "{:?}", wal.stats());
    eventually("few files are left", || disk.file_names().len() <= 6);
    assert!(!disk.file_names().contains(&file_name(1)));
    wal.close();
    let (_wal, recovered) = open(&disk);
    assert_eq!(recovered.groups[&GroupId(1)].entries.last().map(|entry| entry.index), Some(200));
}

#[test]
fn what_is_not_released_is_kept() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    for index in 1..=50 {
        write(&wal, vec![entry(1, index, &[1; 2000]), entry(2, index, &[1; 2000])]);
        wal.release(GroupId(1), index);
    }
    eventually("group 2 is named", || wal.stats().pinned_by == [GroupId(2)]);
    wal.close();
    let (wal, recovered) = open(&disk);
    assert_eq!(indexes(&recovered, 2), (1..=50).collect::<Vec<u64>>());
    wal.release(GroupId(1), 50);
    wal.release(GroupId(2), 50);
    eventually("one file is left", || wal.stats().files == 1);
}

#[test]
fn an_idle_group_does_not_pin_files() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    write(&wal, vec![hard_state(9, 4), entry(9, 1, b"lost"), entry(9, 1, b"one"), entry(9, 2, &[2; 1000])]);
    write(&wal, vec![entry(9, 3, b"cut"), Frame::Truncate { group: GroupId(9), from_index: 3, term: 4 }]);
    let mut index = 0;
    // A file that is free keeps its name until it is used again.
    eventually("old files are free and used again", || {
        for _ in 0..100 {
            index += 1;
            write(&wal, vec![entry(1, index, &[1; 2000])]);
            wal.release(GroupId(1), index);
        }
        !disk.file_names().contains(&file_name(1))
    });
    eventually("few files are left", || wal.stats().files <= crate::limits::REWRITE_FILES as u64 + 1);
    wal.close();
    let (_wal, recovered) = open(&disk);
    let idle = &recovered.groups[&GroupId(9)];
    assert_eq!(idle.hard_state.map(|state| state.term), Some(4));
    assert_eq!(indexes(&recovered, 9), [1, 2]);
    assert_eq!(idle.entries[0].payload, "one");
}

#[test]
fn a_full_disk_stops_nothing_but_new_files() {
    let disk = SimDisk::new(1);
    disk.set_room(Some(2 * FILE_BYTES));
    let (wal, _) = open(&disk);
    let mut index = 0;
    while wal.stats().files < 2 {
        index += 1;
        write(&wal, vec![entry(1, index, &[1; 1000])]);
    }
    eventually("the disk is full", || !wal.has_room());
    // There is still room for what was in flight.
    for _ in 0..4 {
        index += 1;
        write(&wal, vec![entry(1, index, &[1; 1000])]);
    }
    disk.set_room(Some(FILE_BYTES));
    eventually("room is noticed", || wal.has_room());
    write(&wal, vec![entry(1, index + 1, &[1; 1000])]);
    wal.close();
    let (_wal, recovered) = open(&disk);
    assert_eq!(indexes(&recovered, 1), (1..=index + 1).collect::<Vec<u64>>());
}

#[test]
fn a_process_with_too_many_files_open_stops_nothing_but_new_files() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    write(&wal, vec![entry(9, 1, b"one")]);
    let mut index = 0;
    eventually("the idle group's entry is copied", || {
        for _ in 0..100 {
            index += 1;
            // Now the next file cannot be opened, now the oldest one, to copy what the idle group has in it.
            disk.refuse_opens(2);
            write(&wal, vec![entry(1, index, &[1; 2000])]);
            wal.release(GroupId(1), index);
        }
        !disk.file_names().contains(&file_name(1))
    });
    eventually("there is room", || wal.has_room());
    disk.refuse_opens(u32::MAX);
    let newest = disk.file_names().into_iter().max();
    let last = index + 20;
    (index + 1..last).for_each(|index| wal.write(vec![entry(1, index, &[1; 2000])], Box::new(|_| {})));
    eventually("a new file cannot be had", || !wal.has_room());
    disk.refuse_opens(0);
    write(&wal, vec![entry(1, last, b"")]);
    assert!(disk.file_names().into_iter().max() > newest, "the log went on in a new file");
    wal.close();
    let (_wal, recovered) = open(&disk);
    assert_eq!(indexes(&recovered, 9), [1]);
    assert_eq!(indexes(&recovered, 1).last(), Some(&last));
}

#[test]
fn releasing_gives_room_while_the_writer_waits_for_it() {
    let disk = SimDisk::new(1);
    disk.set_room(Some(2 * FILE_BYTES));
    let (wal, _) = open(&disk);
    let (sender, receiver) = mpsc::channel();
    for index in 1..=40 {
        let sender = sender.clone();
        let done = Box::new(move |_| sender.send(index).unwrap_or_default());
        wal.write(vec![entry(1, index, &[1; 1000])], done);
    }
    eventually("the disk is full", || !wal.has_room());
    while receiver.recv_timeout(DEADLINE).is_ok_and(|index| index < 40) {
        wal.release(GroupId(1), 10);
        wal.release(GroupId(1), 20);
        wal.release(GroupId(1), 30);
    }
    assert!(wal.write_stall() < DEADLINE);
    wal.close();
    let (_wal, recovered) = open(&disk);
    assert_eq!(recovered.groups[&GroupId(1)].entries.last().map(|entry| entry.index), Some(40));
}

#[test]
fn waiting_for_a_file_is_a_stall_while_the_disk_does_not_answer_who_makes_it() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    eventually("the spare file is ready", || disk.file_names().len() == 2);
    let (stalled, new_files) = (Duration::from_millis(50), disk.new_files());
    let held = new_files.lock();
    let (sender, receiver) = mpsc::channel();
    for index in 1..=40 {
        let sender = sender.clone();
        wal.write(
            vec![entry(1, index, &[1; 2000])],
            Box::new(move |_| sender.send(index).unwrap_or_default()),
        );
    }
    eventually("it stalls", || wal.write_stall() > stalled);
    assert!(wal.has_room(), "nobody has said that there is none");
    drop(held);
    while receiver.recv_timeout(DEADLINE).expect("written") < 40 {}
    eventually("it goes on", || wal.write_stall() < stalled);
}

#[test]
fn waiting_for_room_is_no_stall() {
    let disk = SimDisk::new(1);
    disk.set_room(Some(2 * FILE_BYTES));
    let (wal, _) = open(&disk);
    for index in 1..=40 {
        wal.write(vec![entry(1, index, &[1; 2000])], Box::new(drop));
    }
    eventually("the disk is full", || !wal.has_room());
    eventually("what fits is written", || wal.write_stall().is_zero());
    disk.set_room(None);
    eventually("it goes on", || wal.has_room());
    assert!(wal.write_stall() < DEADLINE);
}

#[test]
fn a_failed_write_ends_the_log_without_acknowledging() {
    let disk = SimDisk::new(1);
    let (config, failures) = watched();
    let (wal, _) = try_open(&disk, config).expect("opens");
    write(&wal, vec![entry(1, 1, b"x")]);
    eventually("the spare file is ready", || disk.file_names().len() == 2 && disk.has_durable_names());
    disk.stop_after(0);
    let (sender, receiver) = mpsc::channel::<Lsn>();
    wal.write(vec![entry(1, 2, b"y")], Box::new(move |lsn| sender.send(lsn).unwrap_or_default()));
    receiver.recv_timeout(DEADLINE).expect_err("nothing is acknowledged");
    eventually("the failure is told", || !failures.lock().is_empty());
    assert!(failures.lock()[0].contains("write /sim/0000000000000001.wal at"), "{:?}", failures.lock());
    // The log is poisoned: later writes are neither written nor acknowledged.
    let (sender, receiver) = mpsc::channel::<Lsn>();
    wal.write(vec![entry(1, 3, b"z")], Box::new(move |lsn| sender.send(lsn).unwrap_or_default()));
    receiver.recv_timeout(DEADLINE).expect_err("nothing is acknowledged");
}

#[test]
fn the_last_group_commit_is_covered_after_a_pause() {
    let disk = SimDisk::new(1);
    let config = Config { idle_commit: Duration::from_millis(2), ..config() };
    let (wal, _) = try_open(&disk, config).expect("opens");
    let last = write(&wal, vec![entry(1, 1, b"x")]);
    let name = file_name(1);
    let covered = || crate::tests::damage::commits(&disk, &name).iter().any(|commit| commit.durable > last);
    eventually("a commit frame covers the write", covered);
    drop(wal);
}

#[test]
fn a_log_that_is_in_use_is_not_opened_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config { file_bytes: FILE_BYTES, ..Config::new(dir.path()) };
    let (wal, _) = Wal::open(config.clone()).expect("opens");
    assert!(matches!(Wal::open(config.clone()), Err(OpenError::Locked { .. })));
    let (handle, reader) = (wal.clone(), wal.reader());
    wal.close();
    Wal::open(config).expect("opens again");
    drop((handle, reader));
}

#[test]
fn the_file_size_can_change() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    write(&wal, vec![entry(1, 1, &[1; 5000])]);
    wal.close();
    let larger = Config { file_bytes: 2 * FILE_BYTES, ..config() };
    let (wal, _) = try_open(&disk, larger.clone()).expect("opens");
    for index in 2..=20 {
        write(&wal, vec![entry(1, index, &[1; 5000])]);
    }
    wal.release(GroupId(1), 15);
    wal.close();
    let (_wal, recovered) = try_open(&disk, larger).expect("opens");
    assert_eq!(recovered.groups[&GroupId(1)].entries.last().map(|entry| entry.index), Some(20));
}
