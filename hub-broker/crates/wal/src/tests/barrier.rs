use super::*;
use crate::{HardState, file_header::file_name, limits::REWRITE_FILES, recovered::Past};

const GROUP: GroupId = GroupId(1);

fn barrier(wal: &Wal, hard_state: HardState) -> Lsn {
    let (sender, receiver) = mpsc::channel();
    wal.write_barrier(GROUP, hard_state, Box::new(move |lsn| sender.send(lsn).unwrap_or_default()));
    receiver.recv_timeout(DEADLINE).expect("the barrier is durable")
}

fn voting(term: u64) -> HardState {
    HardState { term, vote: 4, commit: 3 }
}

fn void_entries(lsn: Lsn) -> Config {
    Config { void_entries: [(GROUP, lsn)].into(), ..config() }
}

fn void(lsn: Lsn) -> Config {
    Config { void: [(GROUP, lsn)].into(), ..config() }
}

/// Writes so much for another group that many files are used.
fn fill(wal: &Wal, next: &mut u64) {
    for _ in 0..16 * REWRITE_FILES {
        write(wal, vec![entry(2, *next, &[1; 2000])]);
        wal.release(GroupId(2), *next);
        *next += 1;
    }
}

/// Goes on writing until the first file is used no more.
fn fill_until_first_is_free(wal: &Wal, next: &mut u64, disk: &SimDisk) {
    eventually("the first file is free", || {
        fill(wal, next);
        !disk.file_names().contains(&file_name(1))
    });
}

#[test]
fn entries_before_a_barrier_count_only_until_the_owner_says_so() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    write(&wal, vec![entry(1, 1, b"a"), entry(1, 2, b"b"), hard_state(1, 1), entry(2, 1, b"other")]);
    let lsn = barrier(&wal, voting(7));
    drop(wal);
    let (wal, recovered) = open(&disk);
    assert_eq!(indexes(&recovered, 1), [1, 2], "a crash before that leaves the old state whole");
    assert_eq!(recovered.groups[&GROUP].hard_state, Some(voting(7)));
    drop(wal);
    let (wal, recovered) = try_open(&disk, void_entries(lsn)).expect("opens");
    assert_eq!((indexes(&recovered, 1), indexes(&recovered, 2)), (vec![], vec![1]));
    assert_eq!(recovered.groups[&GROUP].hard_state, Some(voting(7)), "hard states count");
    write(&wal, vec![entry(1, 9, b"new")]);
    wal.close();
    let (_wal, recovered) = try_open(&disk, void_entries(lsn)).expect("opens");
    assert_eq!(indexes(&recovered, 1), [9]);
}

#[test]
fn of_a_replica_that_is_no_more_nothing_counts() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    write(&wal, vec![entry(1, 1, b"a"), hard_state(1, 5), entry(2, 1, b"other")]);
    let lsn = barrier(&wal, voting(7));
    wal.forget(GROUP);
    wal.close();
    let (wal, recovered) = try_open(&disk, void(lsn)).expect("opens");
    assert_eq!(recovered.groups.keys().collect::<Vec<_>>(), [&GroupId(2)]);
    write(&wal, vec![hard_state(1, 8), entry(1, 50, b"of the next replica")]);
    wal.close();
    let (_wal, recovered) = try_open(&disk, void(lsn)).expect("opens");
    assert_eq!(indexes(&recovered, 1), [50]);
    assert_eq!(recovered.groups[&GROUP].hard_state.map(|state| state.term), Some(8));
}

#[test]
fn nothing_old_is_copied_behind_a_barrier_and_no_file_goes_before_it_holds() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    let mut next = 1;
    write(&wal, vec![entry(1, 1, b"a"), entry(1, 2, b"b"), hard_state(1, 1)]);
    let lsn = barrier(&wal, voting(7));
    (0..4).for_each(|_| fill(&wal, &mut next));
    assert!(disk.file_names().contains(&file_name(1)), "the old state needs it");
    let (_after_power_cut, recovered) = open(&disk.after_power_cut(7));
    assert_eq!(indexes(&recovered, 1), [1, 2]);
    wal.forget_entries(GROUP);
    fill_until_first_is_free(&wal, &mut next, &disk);
    wal.close();
    let (_wal, recovered) = try_open(&disk, void_entries(lsn)).expect("opens");
    assert_eq!(indexes(&recovered, 1), Vec::<u64>::new());
    assert_eq!(recovered.groups[&GROUP].hard_state, Some(voting(7)));
}

#[test]
fn voided_entries_do_not_come_back_with_those_that_are_copied_from_their_file() {
    for restarts in [false, true] {
        let disk = SimDisk::new(1);
        let (mut wal, _) = open(&disk);
        let mut next = 1;
        write(&wal, vec![entry(1, 1, b"a"), entry(1, 2, b"b"), hard_state(1, 1)]);
        let lsn = barrier(&wal, voting(7));
        wal.forget(GROUP);
        write(&wal, vec![hard_state(1, 8), entry(1, 50, b"of the next replica")]);
        if restarts {
            wal.close();
            (wal, _) = try_open(&disk, void(lsn)).expect("opens");
        }
        fill_until_first_is_free(&wal, &mut next, &disk);
        wal.close();
        let (_wal, recovered) = try_open(&disk, void(lsn)).expect("opens");
        assert_eq!(indexes(&recovered, 1), [50], "restarts: {restarts}");
    }
}

#[test]
fn a_log_in_anothers_place_begins_behind_its_barriers() {
    let disk = SimDisk::new(1);
    let later = Config { first_lsn: Lsn(900), ..config() };
    let (wal, recovered) = try_open(&disk, later).expect("opens");
    assert_eq!(recovered.last_lsn, Lsn(899));
    assert!(write(&wal, vec![entry(1, 1, b"a")]) > Lsn(899));
    wal.close();
    let (_wal, recovered) = try_open(&disk, void(Lsn(899))).expect("opens");
    assert_eq!(indexes(&recovered, 1), [1]);
}

#[test]
fn reading_past_damage_leaves_out_what_is_void_and_tells_the_last_number() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    write(&wal, vec![entry(1, 1, b"a")]);
    let lsn = barrier(&wal, voting(7));
    let damaged = write(&wal, vec![entry(2, 1, b"damaged")]);
    let last = write(&wal, vec![entry(1, 9, b"b")]);
    wal.close();
    disk.damage(&file_name(1), |content| {
        let at = content.windows(7).position(|bytes| bytes == b"damaged").expect("the payload");
        content[at] ^= 1;
    });
    let past = Past { void_entries: [(GROUP, lsn)].into(), ..Past::default() };
    let read = crate::recovery::read_past_damage(&disk, &past).expect("reads").expect("it is damaged");
    assert_eq!(read.corruption.lsn, damaged);
    assert!(read.last_lsn >= last);
    let kept: Vec<u64> = read.groups[&GROUP].entries.iter().map(|entry| entry.index).collect();
    assert_eq!(kept, [9]);
}

#[test]
fn commits_are_counted_and_timed() {
    let disk = SimDisk::new(1);
    let (wal, _) = open(&disk);
    let before = wal.commit_times();
    write(&wal, vec![entry(1, 1, b"a")]);
    let took = wal.commit_times().since(&before);
    assert!(took.count() > 0 && took.quantile(1.0) > Some(Duration::ZERO));
}
