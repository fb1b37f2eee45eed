use super::*;
use crate::{
    HardState,
    codec::{FrameHeader, Kind},
    ledger::{Change, Ledger, Live},
    limits::{IDLE_FILES, REWRITE_FILES},
};

fn note(ledger: &mut Ledger, kind: Kind, group: u32, index: u64) {
    let header = FrameHeader { lsn: Lsn(0), kind, group: GroupId(group), index, term: 1, payload_bytes: 0 };
    ledger.note(&header, Some(HardState { term: 1, vote: 0, commit: index }));
}

fn append(ledger: &mut Ledger, group: u32, index: u64) {
    note(ledger, Kind::Entry { entry_kind: 0, copy: false }, group, index);
}

fn ledger(files: u64) -> Ledger {
    let mut ledger = Ledger::default();
    (1..=files).for_each(|id| ledger.open_file(id, FILE_BYTES, Lsn(id)));
    ledger
}

fn first(ledger: &Ledger) -> u64 {
    ledger.first_needed().expect("a file").id
}

#[test]
fn a_file_is_needed_until_its_entries_are_released() {
    let mut ledger = ledger(1);
    (1..=3).for_each(|index| append(&mut ledger, 1, index));
    ledger.open_file(2, FILE_BYTES, Lsn(9));
    ledger.change(Change::Release(GroupId(1), 2), Lsn(0));
    assert_eq!(first(&ledger), 1);
    ledger.change(Change::Release(GroupId(1), 3), Lsn(0));
    assert_eq!(first(&ledger), 2);
}

#[test]
fn a_truncated_or_replaced_entry_needs_no_file() {
    let mut ledger = ledger(1);
    append(&mut ledger, 1, 1);
    append(&mut ledger, 2, 1);
    ledger.open_file(2, FILE_BYTES, Lsn(9));
    note(&mut ledger, Kind::Truncate, 1, 1);
    assert_eq!(first(&ledger), 1);
    append(&mut ledger, 2, 1);
    assert_eq!(first(&ledger), 2);
}

#[test]
fn a_hard_state_needs_its_file_until_the_next_one() {
    let mut ledger = ledger(1);
    note(&mut ledger, Kind::HardState, 1, 5);
    ledger.open_file(2, FILE_BYTES, Lsn(9));
    assert_eq!(first(&ledger), 1);
    note(&mut ledger, Kind::HardState, 1, 6);
    assert_eq!(first(&ledger), 2);
}

#[test]
fn a_copy_of_what_is_no_longer_live_is_not_written() {
    let mut ledger = ledger(1);
    (1..=5).for_each(|index| append(&mut ledger, 1, index));
    note(&mut ledger, Kind::HardState, 1, 5);
    ledger.open_file(2, FILE_BYTES, Lsn(9));
    ledger.change(Change::Release(GroupId(1), 1), Lsn(0));
    append(&mut ledger, 1, 4);
    let live = |index| ledger.holds(1, &entry(1, index, b""));
    assert_eq!([1, 2, 3, 4, 5].map(live), [false, true, true, false, false]);
    assert!(ledger.holds(1, &hard_state(1, 1)));
    note(&mut ledger, Kind::HardState, 1, 6);
    assert!(!ledger.holds(1, &hard_state(1, 1)));
}

#[test]
fn only_idle_groups_are_written_again_and_only_when_files_are_many() {
    let mut ledger = ledger(1);
    append(&mut ledger, 1, 1);
    append(&mut ledger, 2, 1);
    note(&mut ledger, Kind::HardState, 3, 1);
    for id in 2..=REWRITE_FILES as u64 {
        assert_eq!(ledger.rewrite_plan(), None);
        ledger.open_file(id, FILE_BYTES, Lsn(id));
    }
    append(&mut ledger, 2, 2);
    for id in 1..=IDLE_FILES {
        // Group 2 is not idle, and has an entry in the oldest file.
        assert_eq!(ledger.rewrite_plan(), None);
        ledger.open_file(REWRITE_FILES as u64 + id, FILE_BYTES, Lsn(id));
    }
    let plan = ledger.rewrite_plan().expect("a plan");
    assert_eq!((plan.file, plan.hard_states.len()), (1, 1));
    let live = Live { above: 0, up_to: 1, behind: Lsn(0) };
    assert_eq!(plan.entries, [(GroupId(1), live), (GroupId(2), live)].into());
    ledger.rewritten(1);
    note(&mut ledger, Kind::HardState, 3, 1);
    assert_eq!(first(&ledger), REWRITE_FILES as u64);
    assert_eq!(ledger.drop_before(REWRITE_FILES as u64).len(), REWRITE_FILES - 1);
}

#[test]
fn a_barrier_keeps_everything_until_it_holds_and_lets_nothing_be_copied() {
    let mut ledger = ledger(1);
    (1..=5).for_each(|index| append(&mut ledger, 1, index));
    note(&mut ledger, Kind::HardState, 1, 5);
    for id in 2..=(REWRITE_FILES as u64 + IDLE_FILES) {
        ledger.open_file(id, FILE_BYTES, Lsn(id));
    }
    assert!(ledger.rewrite_plan().is_some());
    ledger.change(Change::Hold(GroupId(1)), Lsn(9));
    assert_eq!(ledger.rewrite_plan(), None);
    assert!(!ledger.holds(1, &entry(1, 3, b"")) && !ledger.holds(1, &hard_state(1, 1)));
    // What the keeper had read before the barrier is not written, and so the file is still needed.
    ledger.rewritten(1);
    assert_eq!(first(&ledger), 1);
    ledger.change(Change::ForgetEntries(GroupId(1)), Lsn(9));
    assert_eq!(first(&ledger), 1, "the hard state counts");
    ledger.change(Change::Forget(GroupId(1)), Lsn(9));
    assert_eq!(first(&ledger), REWRITE_FILES as u64 + IDLE_FILES);
}
