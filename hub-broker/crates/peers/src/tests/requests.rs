//! Requests without an answer.

use std::sync::Arc;

use super::*;
use crate::{
    RequestError,
    requests::{Asked, Served},
    wire::Status,
};

#[test]
fn an_answer_finds_who_asked() {
    let asked = Asked::default();
    let (first, mut first_answer) = asked.begin(2).expect("room");
    let (second, mut second_answer) = asked.begin(2).expect("room");
    asked.answered(second, Status::Refused, Bytes::from_static(b"no"));
    asked.answered(first, Status::Ok, Bytes::from_static(b"yes"));
    assert_eq!(first_answer.try_recv(), Ok(Ok(Bytes::from_static(b"yes"))));
    assert_eq!(second_answer.try_recv(), Ok(Err(RequestError::Refused(Bytes::from_static(b"no")))));
}

#[test]
fn requests_without_an_answer_are_bounded() {
    let asked = Asked::default();
    let (id, _answer) = asked.begin(1).expect("room");
    assert_eq!(asked.begin(1).err(), Some(RequestError::Overloaded));
    asked.give_up(id);
    assert!(asked.begin(1).is_ok());
}

#[test]
fn an_answer_that_nobody_waits_for_is_ignored() {
    let asked = Asked::default();
    asked.answered(7, Status::Ok, Bytes::new());
    let (id, answer) = asked.begin(1).expect("room");
    drop(answer);
    asked.answered(id, Status::Ok, Bytes::new());
    assert!(asked.begin(1).is_ok());
}

#[test]
fn the_end_of_a_connection_answers_all() {
    let asked = Asked::default();
    let (_, mut answer) = asked.begin(1).expect("room");
    asked.end();
    assert_eq!(answer.try_recv(), Ok(Err(RequestError::Lost)));
    assert_eq!(asked.begin(1).err(), Some(RequestError::NotConnected));
}

#[test]
fn what_is_not_answered_yet_is_bounded_in_number_and_bytes() {
    let served = Arc::new(Served::default());
    let large = served.begin(5000, 2, 1000);
    assert!(large.is_some(), "one is always taken");
    assert!(served.begin(1, 2, 1000).is_none());
    drop(large);
    let places = [served.begin(500, 2, 1000), served.begin(500, 2, 1000)];
    assert!(places.iter().all(Option::is_some));
    assert!(served.begin(0, 2, 1000).is_none());
}
