use super::*;
use crate::wire::frame;
use proptest::prelude::*;

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    frame::put_varint(&mut bytes, body.len());
    bytes.extend_from_slice(body);
    bytes
}

fn framed(bytes: &[u8]) -> Frame {
    frame::next(bytes, usize::MAX).unwrap().expect("a whole packet")
}

fn connect(body: &[u8]) -> Result<ConnectPacket, ConnectError> {
    let bytes = packet(0x10, body);
    let version = connect_version(framed(&bytes), &bytes)?;
    Ok(read_connect(version, framed(&bytes), &bytes)?)
}

/// Name, level, flags, keep-alive 10, for 5 these properties, client id "c", then the rest.
fn connect_body(level: u8, flags: u8, properties: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut body = b"\0\x04MQTT".to_vec();
    body.extend_from_slice(&[level, flags, 0, 10]);
    if level == 5 {
        frame::put_varint(&mut body, properties.len());
        body.extend_from_slice(properties);
    }
    body.extend_from_slice(b"\0\x01c");
    body.extend_from_slice(rest);
    body
}

#[test]
fn both_protocols_are_told_apart() {
    let old = connect(&connect_body(4, 2, &[], &[])).unwrap();
    assert_eq!((old.version, &*old.connect.client_id, old.connect.keep_alive), (Version::V311, "c", 10));
    let new = connect(&connect_body(5, 2, &[33, 0, 7], &[])).unwrap();
    assert_eq!((new.version, new.properties.receive_maximum), (Version::V5, Some(7)));
    for (level, name) in [(3, &b"\0\x06MQIsdp"[..]), (6, b"\0\x04MQTT"), (0, b"\0\x04MQTT")] {
        let body = [name, &[level, 2, 0, 10, 0, 1, b'c']].concat();
        assert_eq!(connect(&body), Err(ConnectError::UnsupportedVersion(level)));
    }
    assert!(matches!(connect(b"\0\x04HTTP\x04\x02\0\0\0\0"), Err(ConnectError::NotMqtt(_))));
    let publish = packet(0x30, b"\0\x01a");
    assert!(matches!(connect_version(framed(&publish), &publish), Err(ConnectError::NotMqtt(_))));
}

#[test]
fn a_connect_that_is_malformed_is_refused() {
    let malformed = |body: &[u8]| matches!(connect(body), Err(ConnectError::Wire(WireError::Malformed(_))));
    assert!(malformed(&connect_body(4, 3, &[], &[])), "the reserved flag");
    assert!(malformed(&connect_body(4, 0x40, &[], b"\0\x01p")), "a password without a user name");
    assert!(malformed(&connect_body(4, 0x08, &[], &[])), "a will QoS without a will");
    assert!(malformed(&connect_body(4, 0x1c, &[], b"\0\x01w\0\x01m")), "a will of QoS 3");
    assert!(malformed(&connect_body(4, 0x06, &[], b"\0\x01w")), "a will that ends early");
    assert!(malformed(&connect_body(5, 2, &[33, 0], &[])), "half a property");
    assert!(malformed(&connect_body(5, 2, &[99, 0], &[])), "an unknown property");
    assert!(malformed(b"\0\x04MQTT\x04"), "no flags");
    assert!(malformed(b"\0\x04MQTT\x04\x02\0\x0a\0\x05c"), "a client id that ends early");
    assert!(malformed(b"\0\x04MQTT\x04\x02\0\x0a\0\x01\0"), "a client id with U+0000");
    assert!(malformed(b"\0\x04MQTT\x04\x02\0\x0a\0\x01\xff"), "a client id that is not UTF-8");
}

#[test]
fn a_connect_that_breaks_the_protocol_is_told_apart() {
    let broken = |body: &[u8]| match connect(body) {
        Err(ConnectError::Wire(error)) => Some(error),
        _ => None,
    };
    let body = connect_body(5, 2, &[33, 0, 0], &[]);
    assert_eq!(broken(&body), Some(WireError::Protocol("a Receive Maximum of 0")));
    let body = connect_body(5, 2, &[39, 0, 0, 0, 0], &[]);
    assert_eq!(broken(&body), Some(WireError::Protocol("a Maximum Packet Size of 0")));
    let body = connect_body(4, 0x06, &[], b"\0\x01#\0\x01m");
    assert!(matches!(broken(&body), Some(WireError::TopicName(_))), "a will to a wildcard");
}

#[test]
fn only_what_a_client_may_send_gets_to_a_codec() {
    let kind = |first: u8, body: usize| check_kind(Frame { first, header_bytes: 2, body_bytes: body });
    for first in [0x30, 0x3d, 0x40, 0x50, 0x62, 0x70, 0x82, 0xa2, 0xe0] {
        assert_eq!(kind(first, 2), Ok(()), "{first:#x}");
    }
    assert_eq!(kind(0xc0, 0), Ok(()));
    for first in [0x10, 0x20, 0x90, 0xb0, 0xd0, 0xf0] {
        assert!(matches!(kind(first, 0), Err(WireError::Protocol(_))), "{first:#x}");
    }
    for (first, body) in
        [(0x00, 0), (0x41, 2), (0x60, 2), (0x80, 5), (0xa0, 5), (0xc1, 0), (0xc0, 1), (0xe1, 0)]
    {
        assert!(matches!(kind(first, body), Err(WireError::Malformed(_))), "{first:#x}");
    }
}

#[test]
fn lists_of_filters_are_bounded_and_not_empty() {
    let subscribe = |body: &[u8]| {
        let bytes = packet(0x82, body);
        read_subscribe(Version::V311, framed(&bytes), &bytes)
    };
    assert_eq!(subscribe(b"\0\x01\0\x01a\x01").unwrap().filters[0].path, "a");
    assert!(subscribe(b"\0\x01").is_err(), "no filter");
    assert_eq!(subscribe(b"\0\0\0\x01a\x01"), Err(WireError::Protocol("packet id 0")));
    assert!(subscribe(b"\0\x01\0\x01a\x03").is_err(), "QoS 3");
    assert!(subscribe(b"\0\x01\0\x01a").is_err(), "no options");
    let many = [&b"\0\x01"[..], &b"\0\x01a\x00".repeat(FILTERS_PER_PACKET_MAX + 1)].concat();
    assert_eq!(subscribe(&many), Err(WireError::Protocol("too many filters in one packet")));
    let bytes = packet(0xa2, b"\0\x01");
    assert!(read_unsubscribe(Version::V311, framed(&bytes), &bytes).is_err(), "an UNSUBSCRIBE of nothing");
}

#[test]
fn a_subscription_identifier_of_0_is_refused() {
    let bytes = packet(0x82, b"\0\x01\x02\x0b\x00\0\x01a\x01");
    assert!(read_subscribe(Version::V5, framed(&bytes), &bytes).is_err());
    let bytes = packet(0x82, b"\0\x01\x02\x0b\x07\0\x01a\x01");
    assert_eq!(read_subscribe(Version::V5, framed(&bytes), &bytes).unwrap().subscription_id, Some(7));
}

proptest! {
    #[test]
    fn no_bytes_get_a_panic_past_the_filter(
        kind in 0u8..16,
        flags in 0u8..16,
        body in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let bytes = packet(kind << 4 | flags, &body);
        let frame = framed(&bytes);
        for version in [Version::V311, Version::V5] {
            let _ = connect_version(frame, &bytes);
            if kind == CONNECT {
                let _ = read_connect(version, frame, &bytes);
            }
            if check_kind(frame).is_ok() {
                let _ = read_subscribe(version, frame, &bytes);
                let _ = read_unsubscribe(version, frame, &bytes);
                let _ = crate::wire::ack::Ack::read(version, &body);
                let _ = crate::wire::ack::read_disconnect(version, &body);
            }
        }
    }

    #[test]
    fn a_connect_cut_anywhere_or_with_any_byte_changed_does_no_harm(
        at in 0usize..40,
        value in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut body = connect_body(5, 0xc6, &[17, 0, 0, 0, 1, 38, 0, 1, b'k', 0, 1, b'v'], b"\0\0\x01w\0\x01m\0\x01u\0\x01p");
        let at = at % body.len();
        if cut {
            body.truncate(at);
        } else {
            body[at] = value;
        }
        let _ = connect(&body);
    }
}
