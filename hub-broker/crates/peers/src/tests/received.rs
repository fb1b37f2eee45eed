//! What a peer sends is not believed.

use proptest::prelude::*;

use super::*;
use crate::{
    limits::{FRAME_PAYLOAD_BYTES_MAX, MESSAGE_BYTES_MAX, NOTICE_BYTES_MAX, REQUEST_BYTES_MAX},
    wire::{FIRST, LAST, MessageHead, RequestHead},
};

fn frame(kind: Kind, flags: u8, channel: u8, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader { kind, flags, channel, length: payload.len() };
    [&header.encode([payload, &[]])[..], payload].concat()
}

fn message_head(length: u32) -> Vec<u8> {
    MessageHead { group: 1, from: 2, to: 3, length }.encode().to_vec()
}

fn request_head(length: u32) -> Vec<u8> {
    RequestHead { id: 1, length }.encode().to_vec()
}

#[test]
fn half_a_frame_is_waited_for() {
    let mut lanes = new_lanes();
    lanes.parcel(message(1, 10_000)).expect("room");
    let bytes = drain(&mut lanes);
    for length in 0..bytes.len() {
        assert_eq!(receive(&bytes[..length]), Ok((vec![], vec![])), "{length} bytes");
    }
}

#[test]
fn a_flipped_bit_is_found() {
    let mut lanes = new_lanes();
    lanes.parcel(message(1, 40)).expect("room");
    let bytes = drain(&mut lanes);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let is_length = (4..8).contains(&(bit / 8));
        match receive(&damaged) {
            // A longer frame than there is is waited for.
            Ok((parcels, _)) => assert!(is_length && parcels.is_empty(), "bit {bit}"),
            Err(error) => assert!(
                error == ProtocolError::Checksum || matches!(error, ProtocolError::TooLong { .. }),
                "bit {bit}: {error}"
            ),
        }
    }
}

#[test]
fn a_frame_that_says_to_be_long_is_refused_before_it_is_there() {
    let mut header = [0; FRAME_HEADER_BYTES];
    let length = FRAME_PAYLOAD_BYTES_MAX as u32 + 1;
    header[4..8].copy_from_slice(&length.to_le_bytes());
    assert_eq!(receive(&header), Err(ProtocolError::TooLong { length }));
}

#[test]
fn an_unknown_kind_is_refused() {
    let mut bytes = frame(Kind::Ping, 0, 0, &[]);
    bytes[8] = 10;
    let crc = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(receive(&bytes), Err(ProtocolError::UnknownKind { kind: 10 }));
}

#[test]
fn a_body_that_says_to_be_too_long_is_refused_at_its_beginning() {
    let length = MESSAGE_BYTES_MAX as u32 + 1;
    let bytes = frame(Kind::Message, FIRST, 0, &message_head(length));
    let refused = |kind, length| ProtocolError::BodyTooLong { kind, length: u64::from(length) };
    assert_eq!(receive(&bytes), Err(refused(Kind::Message, length)));
    let length = REQUEST_BYTES_MAX as u32 + 1;
    let bytes = frame(Kind::Request, FIRST, 1, &request_head(length));
    assert_eq!(receive(&bytes), Err(refused(Kind::Request, length)));
}

#[test]
fn a_body_longer_than_it_said_is_refused() {
    let bytes = [
        frame(Kind::Message, FIRST, 0, &[message_head(5), vec![0; 3]].concat()),
        frame(Kind::Message, LAST, 0, &[0; 3]),
    ];
    assert_eq!(receive(&bytes.concat()), Err(ProtocolError::BodyTooLong { kind: Kind::Message, length: 6 }));
}

#[test]
fn chunks_out_of_order_are_refused() {
    let first = |flags| frame(Kind::Message, flags, 0, &[message_head(5), vec![0; 3]].concat());
    let order = Err(ProtocolError::Order { kind: Kind::Message });
    assert_eq!(receive(&first(FIRST | LAST)), order, "it is shorter than it said");
    assert_eq!(receive(&first(0)), order, "it has no beginning");
    assert_eq!(receive(&[first(FIRST), first(FIRST)].concat()), order, "two at one time");
    let request = frame(Kind::Request, LAST, 1, b"rest");
    assert_eq!(receive(&request), Err(ProtocolError::Order { kind: Kind::Request }));
}

#[test]
fn too_many_open_bodies_are_refused() {
    let open = |channel| frame(Kind::Request, FIRST, channel, &request_head(10));
    assert!(receive(&(0..4).flat_map(open).collect::<Vec<_>>()).is_ok());
    assert_eq!(receive(&(0..5).flat_map(open).collect::<Vec<_>>()), Err(ProtocolError::TooManyOpen));
}

#[test]
fn payloads_that_end_too_early_are_refused() {
    let mut lanes = new_lanes();
    lanes.parcel(beat(1)).expect("room");
    lanes.parcel(message(1, 10)).expect("room");
    lanes.cluster(Uuid::from_u128(1));
    lanes.goodbye(crate::wire::Reason::SameNode, "why".to_owned());
    let bytes = drain(&mut lanes);
    let mut rest = &bytes[..];
    for header in headers(&bytes) {
        let end = FRAME_HEADER_BYTES + header.length;
        let payload = &rest[FRAME_HEADER_BYTES..end];
        let short = frame(header.kind, header.flags, header.channel, &payload[..payload.len() - 1]);
        assert_eq!(receive(&short), Err(ProtocolError::Unreadable { kind: header.kind }));
        rest = &rest[end..];
    }
}

#[test]
fn a_notice_of_an_unknown_kind_or_length_is_refused() {
    let unreadable = Err(ProtocolError::Unreadable { kind: Kind::Notice });
    assert_eq!(receive(&frame(Kind::Notice, 0, 16, b"x")), unreadable);
    assert_eq!(receive(&frame(Kind::Notice, 0, 1, &vec![0; NOTICE_BYTES_MAX + 1])), unreadable);
}

#[test]
fn a_small_message_keeps_no_other_bytes_alive() {
    let mut lanes = new_lanes();
    (0..3).for_each(|group| lanes.parcel(message(group, 8)).expect("room"));
    let (parcels, _) = receive(&drain(&mut lanes)).expect("frames");
    for parcel in parcels {
        let ParcelBody::Message(body) = parcel.body else { unreachable!() };
        assert!(body.try_into_mut().is_ok(), "nobody else has a part of it");
    }
}

proptest! {
    #[test]
    fn no_payload_makes_the_reader_panic(
        kind in 1..=9u8, flags: u8, channel: u8, payload in prop::collection::vec(any::<u8>(), 0..300)
    ) {
        let mut bytes = frame(Kind::Ping, flags, channel, &payload);
        bytes[8] = kind;
        let crc = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        let _ = receive(&bytes);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = receive(&bytes);
    }
}
