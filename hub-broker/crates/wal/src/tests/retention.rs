//! Which files are kept for reading.

use crate::{
    codec::{FrameHeader, Kind},
    frame::{GroupId, Lsn},
    ledger::{FileUse, Ledger},
    retention::Retention,
};

const GROUP: GroupId = GroupId(1);
const OTHER: GroupId = GroupId(2);
const BYTES: u64 = 100;

/// Files 1 and up, each with ten entries of the group: 1 to 10, 11 to 20, and so on. File 3 has entry 1 of another.
fn files(count: u64) -> Vec<FileUse> {
    let mut ledger = Ledger::default();
    for file in 1..=count + 1 {
        ledger.open_file(file, BYTES, Lsn(file));
        let entry = |group, index| FrameHeader {
            lsn: Lsn(0),
            kind: Kind::Entry { entry_kind: 0, copy: false },
            group,
            index,
            term: 1,
            payload_bytes: 0,
        };
        (1..=10).for_each(|n| ledger.note(&entry(GROUP, 10 * (file - 1) + n), None));
        if file == 3 {
            ledger.note(&entry(OTHER, 1), None);
        }
    }
    ledger.drop_before(count + 1)
}

fn with(count: u64, bytes_max: u64) -> Retention {
    let mut retention = Retention::new(bytes_max, []);
    retention.retire(files(count));
    retention
}

#[test]
fn nothing_is_kept_that_nobody_wants() {
    assert_eq!(with(3, 1_000).surplus(), [1, 2, 3]);
}

#[test]
fn what_is_wanted_is_kept_until_it_is_no_longer() {
    let mut retention = Retention::new(1_000, []);
    retention.keep(GROUP, Some(15));
    retention.retire(files(4));
    assert_eq!(retention.surplus(), [1]);
    assert_eq!(retention.bytes(), 3 * BYTES);
    retention.keep(GROUP, Some(21));
    assert_eq!(retention.surplus(), [2]);
    retention.keep(GROUP, None);
    assert_eq!(retention.surplus(), [3, 4]);
    assert_eq!(retention.bytes(), 0);
}

#[test]
fn beyond_the_limit_the_oldest_goes() {
    let mut retention = Retention::new(2 * BYTES, []);
    retention.keep(GROUP, Some(1));
    retention.retire(files(4));
    assert_eq!(retention.surplus(), [1, 2]);
    assert_eq!(retention.bytes(), 2 * BYTES);
}

#[test]
fn there_is_never_a_gap() {
    let mut retention = Retention::new(1_000, []);
    retention.keep(OTHER, Some(1));
    retention.keep(GROUP, Some(5));
    retention.retire(files(4));
    assert!(retention.surplus().is_empty());
    // Of file 2 nothing is wanted any more, and it is between files.
    retention.keep(GROUP, Some(31));
    assert_eq!(retention.surplus(), [1, 2]);
}

#[test]
fn where_there_is_no_room_one_file_after_the_other_goes() {
    let mut retention = Retention::new(1_000, []);
    retention.keep(GROUP, Some(1));
    retention.retire(files(2));
    assert!(retention.surplus().is_empty());
    retention.give_way();
    assert_eq!(retention.surplus(), [1]);
    retention.give_way();
    assert_eq!(retention.surplus(), [2]);
    retention.give_way();
    retention.retire(files(1));
    assert!(retention.surplus().is_empty(), "there was nothing to go then");
}

#[test]
fn what_counts_no_more_is_not_wanted() {
    let mut retention = Retention::new(1_000, []);
    retention.keep(GROUP, Some(1));
    retention.retire(files(2));
    retention.forget(GROUP);
    assert_eq!(retention.surplus(), [1, 2]);
}

#[test]
fn what_was_found_at_the_start_is_kept_until_others_join_it() {
    let mut retention = Retention::new(1_000, [(7, BYTES), (8, BYTES)]);
    retention.keep(OTHER, None);
    assert!(retention.surplus().is_empty(), "nobody has had a chance to want it");
    retention.retire(Vec::new());
    assert_eq!(retention.surplus(), [7, 8]);
    let mut retention = Retention::new(1_000, [(7, BYTES), (8, BYTES)]);
    retention.keep(GROUP, Some(1));
    retention.retire(Vec::new());
    assert!(retention.surplus().is_empty(), "nobody knows what is in them");
}
