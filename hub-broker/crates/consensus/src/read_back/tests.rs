use bytes::Bytes;

use super::*;

fn entry(index: u64, term: u64) -> LogEntry {
    LogEntry { index, term, kind: 0, payload: Bytes::new() }
}

fn read() -> ReadBack {
    ReadBack::new(5, 2, vec![entry(5, 2), entry(6, 3), entry(7, 3)]).expect("entries")
}

#[test]
fn what_is_not_one_behind_the_other_is_not_taken() {
    assert!(ReadBack::new(5, 2, Vec::new()).is_none());
    assert!(ReadBack::new(5, 2, vec![entry(6, 2)]).is_none(), "it begins later");
    assert!(ReadBack::new(5, 2, vec![entry(5, 2), entry(7, 2)]).is_none(), "one is missing");
    assert!(ReadBack::new(5, 2, vec![entry(5, 1)]).is_none(), "the term goes back");
    assert!(ReadBack::new(5, 0, vec![entry(5, 1)]).is_none(), "the one before has no term");
}

#[test]
fn entries_and_terms_are_found_by_index() {
    let read = read();
    let indexes = |index| read.from(index).map(|found| found.iter().map(|it| it.index).collect::<Vec<_>>());
    assert_eq!(indexes(4), None);
    assert_eq!(indexes(5), Some(vec![5, 6, 7]));
    assert_eq!(indexes(7), Some(vec![7]));
    assert_eq!(indexes(8), None);
    assert_eq!(
        [3, 4, 5, 6, 7, 8].map(|index| read.term(index)),
        [None, Some(2), Some(2), Some(3), Some(3), None]
    );
}

#[test]
fn the_log_goes_on_from_them_or_they_are_of_another() {
    let read = read();
    assert!(read.leads_to((7, 3)));
    assert!(read.leads_to((9, 4)));
    assert!(!read.leads_to((7, 4)), "the last is another entry");
    assert!(!read.leads_to((6, 3)), "they go beyond it");
    assert!(!read.leads_to((9, 2)), "the term goes back");
}
