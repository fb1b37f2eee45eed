//! The format, byte by byte. A file in `golden` is never edited: a new version adds one.

use proptest::prelude::*;

use super::*;
use crate::wire::{
    GREETING_HEADER_BYTES, Greeting, GreetingError, GreetingHeader, Reason, Refusal, Status, Versions,
};

const VERSIONS: Versions = Versions { lowest: 1, highest: 1 };

fn unformed() -> Greeting {
    Greeting::Hello(VERSIONS, hello(7))
}

fn formed() -> Greeting {
    let cluster = Some(Uuid::from_u128(0x00c1_0000_0000_4000_8000_0000_0000_0001));
    Greeting::Hello(VERSIONS, Hello { cluster, ..hello(7) })
}

fn refusal() -> Greeting {
    let text = "hub 1 belongs to another cluster".to_owned();
    Greeting::Refusal(VERSIONS, Refusal { reason: Reason::OtherCluster, node: NodeId(1), text })
}

fn decode(bytes: &[u8]) -> Result<Greeting, GreetingError> {
    let header = bytes.first_chunk::<GREETING_HEADER_BYTES>().expect("a header");
    let header = GreetingHeader::decode(*header)?;
    assert_eq!(bytes.len(), GREETING_HEADER_BYTES + header.body_bytes);
    Greeting::decode(header, &bytes[GREETING_HEADER_BYTES..])
}

/// One frame of each kind.
fn frames() -> Vec<u8> {
    let mut lanes = new_lanes();
    lanes.cluster(Uuid::from_u128(0xc1));
    lanes.ping();
    let context = Bytes::new();
    let body = ParcelBody::Beat { response: true, term: 4, commit: 10, context };
    for parcel in [beat(0), Parcel { body, ..beat(64) }, message(3, 5), message(4, 4200)] {
        lanes.parcel(parcel).expect("room");
    }
    lanes.request(1, 48, Bytes::from_static(b"question")).expect("room");
    lanes.answer(2, 32, Status::Refused, Bytes::from(vec![9; 30]));
    lanes.notice(1, Bytes::from_static(b"leaders"));
    let mut bytes = drain(&mut lanes);
    lanes.goodbye(Reason::OtherCluster, "no".to_owned());
    bytes.extend(drain(&mut lanes));
    bytes
}

#[test]
fn version_1_is_written_as_ever() {
    assert_eq!(unformed().encode(), &include_bytes!("../../golden/hello-unformed-v1.bin")[..]);
    assert_eq!(formed().encode(), &include_bytes!("../../golden/hello-formed-v1.bin")[..]);
    assert_eq!(refusal().encode(), &include_bytes!("../../golden/refusal-v1.bin")[..]);
    assert_eq!(frames(), include_bytes!("../../golden/frames-v1.bin"));
}

#[test]
fn version_1_is_read_as_ever() {
    assert_eq!(decode(include_bytes!("../../golden/hello-unformed-v1.bin")), Ok(unformed()));
    assert_eq!(decode(include_bytes!("../../golden/hello-formed-v1.bin")), Ok(formed()));
    assert_eq!(decode(include_bytes!("../../golden/refusal-v1.bin")), Ok(refusal()));
    let (parcels, received) = receive(include_bytes!("../../golden/frames-v1.bin")).expect("frames");
    let body = ParcelBody::Beat { response: true, term: 4, commit: 10, context: Bytes::new() };
    assert_eq!(parcels, [beat(0), Parcel { body, ..beat(64) }, message(3, 5), message(4, 4200)]);
    assert_eq!(
        received,
        [
            Received::Cluster(Uuid::from_u128(0xc1)),
            Received::Notice { kind: 1, body: Bytes::from_static(b"leaders") },
            Received::Request { id: 1, kind: 48, body: Bytes::from_static(b"question") },
            Received::Answer { id: 2, status: Status::Refused, body: Bytes::from(vec![9; 30]) },
            Received::Goodbye("no".to_owned()),
        ]
    );
}

#[test]
fn the_golden_frames_are_one_of_each_kind() {
    use Kind::{Answer, Beats, Cluster, Goodbye, Message, Messages, Notice, Ping, Request};
    let kinds = kinds(include_bytes!("../../golden/frames-v1.bin"));
    assert_eq!(kinds, [Cluster, Ping, Beats, Messages, Notice, Message, Request, Answer, Goodbye]);
}

#[test]
fn a_large_body_has_its_head_in_the_first_chunk_only() {
    let mut lanes = new_lanes();
    lanes.parcel(message(1, 140_000)).expect("room");
    let chunks = headers(&drain(&mut lanes)).into_iter().map(|header| (header.flags, header.length));
    assert_eq!(chunks.collect::<Vec<_>>(), [(1, 65_536), (0, 65_536), (2, 140_000 + 24 - 2 * 65_536)]);
}

#[test]
fn a_later_release_may_add_fields_to_its_hello() {
    let mut bytes = unformed().encode().to_vec();
    bytes.extend([1, 2, 3]);
    let length = (bytes.len() - GREETING_HEADER_BYTES) as u32;
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[GREETING_HEADER_BYTES..]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(decode(&bytes), Ok(unformed()));
}

#[test]
fn a_greeting_with_a_flipped_bit_is_none() {
    let bytes = formed().encode();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let header = GreetingHeader::decode(*damaged.first_chunk().expect("a header"));
        let Ok(header) = header else { continue };
        let body = damaged.get(GREETING_HEADER_BYTES..GREETING_HEADER_BYTES + header.body_bytes);
        // A longer body than there is would be waited for.
        if let Some(body) = body {
            assert_eq!(Greeting::decode(header, body), Err(GreetingError::Damaged), "bit {bit}");
        }
    }
}

#[test]
fn what_does_not_begin_with_the_magic_is_no_hub() {
    let http = *b"GET / HTTP/1.1\r\n";
    assert_eq!(GreetingHeader::decode(http), Err(GreetingError::NoHub));
}

#[test]
fn a_greeting_that_says_to_be_long_is_none() {
    let mut bytes = *formed().encode().first_chunk::<GREETING_HEADER_BYTES>().expect("a header");
    bytes[8..12].copy_from_slice(&1025u32.to_le_bytes());
    assert_eq!(GreetingHeader::decode(bytes), Err(GreetingError::NoHub));
}

#[test]
fn the_highest_version_that_both_speak_is_spoken() {
    let of = |lowest, highest| Versions { lowest, highest };
    assert_eq!(of(1, 1).common(of(1, 3)), Some(1));
    assert_eq!(of(1, 4).common(of(2, 3)), Some(3));
    assert_eq!(of(1, 1).common(of(2, 3)), None);
    assert_eq!(of(3, 4).common(of(1, 2)), None);
}

proptest! {
    #[test]
    fn a_hello_is_read_as_it_was_said(
        node: u32, incarnation: u128, session: u64, shard_count: u16, cluster: Option<u128>, address in ".{0,60}"
    ) {
        let hello = Hello {
            node: NodeId(node),
            incarnation: Uuid::from_u128(incarnation),
            session,
            shard_count,
            cluster: cluster.map(Uuid::from_u128),
            address,
        };
        let greeting = Greeting::Hello(Versions { lowest: 1, highest: 9 }, hello);
        prop_assert_eq!(decode(&greeting.encode()), Ok(greeting));
    }

    #[test]
    fn no_bytes_make_the_greeting_panic(header: [u8; 16], body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(header) = GreetingHeader::decode(header) {
            let _ = Greeting::decode(header, &body);
        }
    }
}
