//! The order in which things are sent, and its bounds.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    lanes::Full,
    limits::{BATCH_BYTES, FRAME_PAYLOAD_BYTES_MAX, MESSAGE_BYTES_MAX, OPEN_TRANSFERS_MAX},
    wire::Status,
};

#[test]
fn beats_of_all_groups_travel_in_one_frame() {
    let mut lanes = new_lanes();
    (0..65).for_each(|group| lanes.parcel(beat(group)).expect("room"));
    assert_eq!(kinds(&drain(&mut lanes)), [Kind::Beats]);
}

#[test]
fn small_messages_travel_in_one_frame() {
    let mut lanes = new_lanes();
    (0..20).for_each(|group| lanes.parcel(message(group, 100)).expect("room"));
    assert_eq!(kinds(&drain(&mut lanes)), [Kind::Messages]);
}

#[test]
fn a_message_of_16_mib_does_not_delay_a_beat_by_more_than_a_few_chunks() {
    let mut lanes = new_lanes();
    lanes.parcel(message(1, 16 * 1024 * 1024)).expect("room");
    let mut batches = 0;
    while !lanes.is_empty() {
        // The beat comes when a write has just been put together.
        let before = kinds(&written(lanes.next_batch()));
        lanes.parcel(beat(2)).expect("room");
        let after = kinds(&written(lanes.next_batch()));
        assert!(before.len() <= BATCH_BYTES / FRAME_PAYLOAD_BYTES_MAX + 1, "{before:?}");
        assert_eq!(after.first(), Some(&Kind::Beats));
        batches += 2;
    }
    assert!(batches > 100);
}

#[test]
fn the_payload_of_a_large_message_is_not_copied() {
    let mut lanes = new_lanes();
    let parcel = message(1, 100_000);
    let ParcelBody::Message(body) = &parcel.body else { unreachable!() };
    let place = body.as_ptr_range();
    lanes.parcel(parcel.clone()).expect("room");
    let batch = lanes.next_batch();
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = batch.io_slices(&mut slices);
    let inside = slices[..count].iter().filter(|slice| place.contains(&slice.as_ptr()));
    assert_eq!(inside.map(|slice| slice.len()).sum::<usize>(), 100_000);
}

#[test]
fn a_small_message_goes_ahead_of_large_ones_of_other_groups_only() {
    let mut lanes = new_lanes();
    lanes.parcel(filled(1, 200_000, 1)).expect("room");
    lanes.parcel(filled(1, 10, 2)).expect("room");
    lanes.parcel(filled(2, 10, 3)).expect("room");
    let (parcels, _) = receive(&drain(&mut lanes)).expect("frames");
    assert_eq!(parcels, [filled(2, 10, 3), filled(1, 200_000, 1), filled(1, 10, 2)]);
    lanes.parcel(filled(1, 10, 4)).expect("room");
    assert_eq!(kinds(&drain(&mut lanes)), [Kind::Messages], "nothing large waits any more");
}

#[test]
fn a_large_message_does_not_go_ahead_of_small_ones_of_its_group() {
    let mut lanes = new_lanes();
    let small: Vec<_> = (0..40).map(|fill| filled(1, 4000, fill)).collect();
    small.iter().for_each(|parcel| lanes.parcel(parcel.clone()).expect("room"));
    lanes.parcel(filled(1, 20_000, 99)).expect("room");
    let (parcels, _) = receive(&drain(&mut lanes)).expect("frames");
    assert_eq!(parcels, [small, vec![filled(1, 20_000, 99)]].concat());
}

#[test]
fn much_that_is_urgent_does_not_starve_the_rest() {
    let mut lanes = new_lanes();
    (0..2000).for_each(|group| lanes.parcel(message(group, 4000)).expect("room"));
    lanes.parcel(message(5000, 20_000)).expect("room");
    lanes.request(1, 1, Bytes::from_static(b"q")).expect("room");
    let first = [written(lanes.next_batch()), written(lanes.next_batch())].concat();
    assert!(kinds(&first).contains(&Kind::Message) && kinds(&first).contains(&Kind::Request));
}

#[test]
fn a_large_answer_of_one_kind_does_not_hold_up_a_request_of_another() {
    let mut lanes = new_lanes();
    lanes.answer(1, 9, Status::Ok, Bytes::from(vec![0; 8 * 1024 * 1024]));
    written(lanes.next_batch());
    lanes.request(2, 1, Bytes::from_static(b"append")).expect("room");
    assert!(kinds(&written(lanes.next_batch())).contains(&Kind::Request));
}

#[test]
fn only_a_few_bodies_are_under_way_at_one_time() {
    let mut lanes = new_lanes();
    (0..20).for_each(|kind| lanes.request(1, kind, Bytes::from(vec![kind; 300_000])).expect("room"));
    let bytes = drain(&mut lanes);
    let (mut open, mut most) = (0, 0);
    for header in headers(&bytes) {
        open += usize::from(header.is_first());
        most = most.max(open);
        open -= usize::from(header.is_last());
    }
    assert_eq!(most, OPEN_TRANSFERS_MAX);
    assert_eq!(receive(&bytes).expect("frames").1.len(), 20);
}

#[test]
fn a_waiting_notice_is_replaced_by_a_newer_one() {
    let mut lanes = new_lanes();
    lanes.notice(1, Bytes::from_static(b"old"));
    lanes.notice(2, Bytes::from_static(b"other"));
    lanes.notice(1, Bytes::from_static(b"new"));
    let (_, received) = receive(&drain(&mut lanes)).expect("frames");
    let notice = |kind, body| Received::Notice { kind, body: Bytes::from_static(body) };
    assert_eq!(received, [notice(1, b"new"), notice(2, b"other")]);
}

#[test]
fn every_lane_is_bounded_by_itself() {
    let limits = Limits {
        urgent_bytes_max: 10_000,
        message_bytes_max: 100_000,
        bulk_bytes_max: 100_000,
        ..Limits::default()
    };
    let mut lanes = Lanes::new(limits);
    let until_full = |lanes: &mut Lanes, parcel: Parcel| {
        (0..10_000).take_while(|_| lanes.parcel(parcel.clone()).is_ok()).count()
    };
    assert!(until_full(&mut lanes, message(1, 3000)) <= 4);
    assert!(until_full(&mut lanes, beat(1)) < 100);
    assert_eq!(until_full(&mut lanes, message(2, 30_000)), 3);
    assert!(lanes.request(1, 1, Bytes::from(vec![0; 60_000])).is_ok());
    assert_eq!(lanes.request(2, 1, Bytes::from(vec![0; 60_000])), Err(Full));
    assert!(lanes.queued_bytes() < 10_000 + 300 + 100_000 + 100_000);
    drain(&mut lanes);
    assert_eq!(lanes.queued_bytes(), 0);
}

#[test]
fn a_body_larger_than_the_bound_finds_room_when_nothing_waits() {
    let mut lanes = Lanes::new(Limits { message_bytes_max: 100, bulk_bytes_max: 100, ..Limits::default() });
    assert!(lanes.parcel(message(1, 10_000)).is_ok());
    assert!(lanes.request(1, 1, Bytes::from(vec![0; 10_000])).is_ok());
}

#[test]
fn a_message_above_the_largest_size_is_not_taken() {
    let mut lanes = new_lanes();
    assert_eq!(lanes.parcel(message(1, MESSAGE_BYTES_MAX + 1)), Err(Full));
    assert!(lanes.parcel(message(1, MESSAGE_BYTES_MAX)).is_ok());
    assert_eq!(receive(&drain(&mut lanes)).expect("frames").0.len(), 1);
}

#[test]
fn an_answer_without_room_leaves_in_doubt_what_was_done() {
    let mut lanes = Lanes::new(Limits { bulk_bytes_max: 1000, ..Limits::default() });
    lanes.answer(1, 1, Status::Ok, Bytes::from(vec![0; 900]));
    lanes.answer(2, 1, Status::Ok, Bytes::from(vec![0; 900]));
    let (_, received) = receive(&drain(&mut lanes)).expect("frames");
    let none = Received::Answer { id: 2, status: Status::None, body: Bytes::new() };
    assert_eq!(received.last(), Some(&none));
}

#[derive(Clone, Debug)]
enum Act {
    Message { group: u32, bytes: usize },
    Beat { group: u32 },
    Request { kind: u8, bytes: usize },
    Answer { kind: u8, bytes: usize },
    Notice { kind: u8 },
    Ping,
    Write,
}

fn act() -> impl Strategy<Value = Act> {
    let size = prop_oneof![0..200usize, 3900..4300usize, 60_000..70_000usize, 0..300_000usize];
    prop_oneof![
        4 => (0..4u32, size.clone()).prop_map(|(group, bytes)| Act::Message { group, bytes }),
        2 => (0..4u32).prop_map(|group| Act::Beat { group }),
        2 => (0..8u8, size.clone()).prop_map(|(kind, bytes)| Act::Request { kind, bytes }),
        2 => (0..8u8, size).prop_map(|(kind, bytes)| Act::Answer { kind, bytes }),
        1 => (0..3u8).prop_map(|kind| Act::Notice { kind }),
        1 => Just(Act::Ping),
        3 => Just(Act::Write),
    ]
}

/// A body that begins with `number`, if it has room for it.
fn numbered(number: usize, bytes: usize) -> Bytes {
    let mut body = vec![number as u8; bytes];
    let mark = (number as u32).to_le_bytes();
    if let Some(head) = body.first_chunk_mut() {
        *head = mark;
    }
    Bytes::from(body)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn everything_arrives_once_and_in_the_order_of_its_group_or_kind(
        acts in prop::collection::vec(act(), 1..60), step in 1..200_000usize
    ) {
        let mut lanes = new_lanes();
        let mut bytes = Vec::new();
        let mut messages: BTreeMap<u32, Vec<Bytes>> = BTreeMap::new();
        let mut requests: BTreeMap<u8, Vec<(u64, Bytes)>> = BTreeMap::new();
        let mut answers: BTreeMap<u64, Bytes> = BTreeMap::new();
        let mut beats = 0;
        for (number, act) in acts.into_iter().enumerate() {
            match act {
                Act::Message { group, bytes } => {
                    let body = numbered(number, bytes);
                    messages.entry(group).or_default().push(body.clone());
                    let parcel = Parcel { group, from: 1, to: 2, body: ParcelBody::Message(body) };
                    prop_assert!(lanes.parcel(parcel).is_ok());
                }
                Act::Beat { group } => {
                    beats += 1;
                    prop_assert!(lanes.parcel(beat(group)).is_ok());
                }
                Act::Request { kind, bytes } => {
                    let body = numbered(number, bytes);
                    requests.entry(kind).or_default().push((number as u64, body.clone()));
                    prop_assert!(lanes.request(number as u64, kind, body).is_ok());
                }
                Act::Answer { kind, bytes } => {
                    let body = numbered(number, bytes);
                    answers.insert(number as u64, body.clone());
                    lanes.answer(number as u64, kind, Status::Ok, body);
                }
                Act::Notice { kind } => lanes.notice(kind, Bytes::from_static(b"state")),
                Act::Ping => lanes.ping(),
                Act::Write => bytes.extend(written(lanes.next_batch())),
            }
        }
        bytes.extend(drain(&mut lanes));
        prop_assert_eq!(lanes.queued_bytes(), 0);

        let (mut incoming, mut buffer, mut parcels) = (Incoming::default(), BytesMut::new(), Vec::new());
        for part in bytes.chunks(step) {
            buffer.extend_from_slice(part);
            loop {
                match incoming.take(&mut buffer, &mut parcels).expect("frames") {
                    Step::Wait => break,
                    Step::Whole(Received::Request { id, kind, body }) => {
                        let expected = requests.get_mut(&kind).expect("asked");
                        prop_assert_eq!(expected.remove(0), (id, body));
                    }
                    Step::Whole(Received::Answer { id, body, .. }) => {
                        prop_assert_eq!(answers.remove(&id), Some(body));
                    }
                    Step::Whole(_) | Step::Frame => {}
                }
            }
        }
        for parcel in parcels {
            match parcel.body {
                ParcelBody::Message(body) => {
                    let expected = messages.get_mut(&parcel.group).expect("sent");
                    prop_assert_eq!(expected.remove(0), body);
                }
                ParcelBody::Beat { .. } => beats -= 1,
            }
        }
        prop_assert!(messages.values().all(Vec::is_empty) && requests.values().all(Vec::is_empty));
        prop_assert!(answers.is_empty() && beats == 0);
    }
}
