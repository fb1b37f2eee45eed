use super::*;
use crate::limits::USER_PROPERTIES_MAX;
use crate::wire::frame;
use crate::wire::properties::{CONTENT_TYPE, MESSAGE_EXPIRY, SUBSCRIPTION_ID, USER};
use proptest::prelude::*;

fn written(version: Version, outgoing: &Outgoing<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    outgoing.write(version, &mut bytes);
    assert_eq!(bytes.len(), outgoing.packet_bytes(version));
    bytes
}

fn read(version: Version, bytes: &[u8]) -> Result<Publish<'_>, WireError> {
    let frame = frame::next(bytes, usize::MAX).unwrap().expect("a whole packet");
    assert_eq!(frame.bytes(), bytes.len());
    Publish::read(version, frame.flags(), &bytes[frame.header_bytes..])
}

/// A body of 5: topic "a", packet id 1, these properties, payload "p".
fn with_properties(properties: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 1, b'a', 0, 1];
    put_varint(&mut body, properties.len());
    body.extend_from_slice(properties);
    body.push(b'p');
    body
}

const QOS_1: u8 = 2;

#[test]
fn what_is_malformed_is_not_read() {
    let malformed = |version, flags, body: &[u8]| {
        matches!(Publish::read(version, flags, body), Err(WireError::Malformed(_)))
    };
    assert!(malformed(Version::V311, 6, &[0, 1, b'a', 0, 1]), "QoS 3");
    assert!(malformed(Version::V311, 8, &[0, 1, b'a']), "DUP with QoS 0");
    assert!(malformed(Version::V311, 0, &[]), "no topic");
    assert!(malformed(Version::V311, 0, &[0, 2, b'a']), "a topic that ends early");
    assert!(malformed(Version::V311, QOS_1, &[0, 1, b'a', 0]), "half a packet id");
    assert!(malformed(Version::V311, 0, &[0, 1, 0xff]), "a topic that is not UTF-8");
    assert!(malformed(Version::V5, 0, &[0, 1, b'a']), "no properties in 5");
    assert!(malformed(Version::V5, 0, &[0, 1, b'a', 5, 1]), "properties longer than the packet");
    assert!(malformed(Version::V5, QOS_1, &with_properties(&[99, 1])), "an unknown property");
    assert!(malformed(Version::V5, QOS_1, &with_properties(&[MESSAGE_EXPIRY, 0, 0])), "half a property");
}

#[test]
fn what_breaks_the_protocol_is_told_apart() {
    let protocol =
        |body: &[u8]| matches!(Publish::read(Version::V5, QOS_1, body), Err(WireError::Protocol(_)));
    assert!(protocol(&[0, 1, b'a', 0, 0, 0]), "packet id 0");
    assert!(protocol(&with_properties(&[SUBSCRIPTION_ID, 1])), "a subscription id from a client");
    assert!(protocol(&with_properties(&[1, 2])), "a payload format of 2");
    assert!(protocol(&with_properties(&[1, 1, 1, 1])), "a property given twice");
    assert!(protocol(&with_properties(&[8, 0, 1, b'#'])), "a response topic with a wildcard");
    assert!(
        protocol(&with_properties(&[USER, 0, 0, 0, 0].repeat(USER_PROPERTIES_MAX + 1))),
        "too many user properties"
    );
}

#[test]
fn a_topic_can_be_left_out_only_with_an_alias() {
    let body = [0, 0, 0, 1, 3, 35, 0, 7, b'p'];
    let publish = Publish::read(Version::V5, QOS_1, &body).unwrap();
    assert_eq!((publish.topic, publish.properties.topic_alias), ("", Some(7)));
    assert!(publish.properties.is_plain());
    let bare = Publish::read(Version::V5, QOS_1, &[0, 0, 0, 1, 0, b'p']);
    assert!(matches!(bare, Err(WireError::TopicName(_))));
    assert!(matches!(
        Publish::read(Version::V311, 0, &[0, 3, b'a', b'/', b'#']),
        Err(WireError::TopicName(_))
    ));
}

#[test]
fn properties_are_read_and_user_properties_keep_their_order() {
    let mut properties = vec![CONTENT_TYPE, 0, 1, b't'];
    for name in [b'x', b'y', b'x'] {
        properties.extend_from_slice(&[USER, 0, 1, name, 0, 1, b'v']);
    }
    let body = with_properties(&properties);
    let publish = Publish::read(Version::V5, QOS_1, &body).unwrap();
    assert_eq!(publish.properties.content_type, Some("t"));
    assert!(!publish.properties.is_plain());
    let names: Vec<_> = publish.properties.user().map(|(name, _)| name).collect();
    assert_eq!(names, ["x", "y", "x"]);
}

#[test]
fn a_payload_is_checked_against_its_format() {
    let body = |payload: &[u8]| [&[0, 1, b'a', 0, 1, 2, 1, 1][..], payload].concat();
    let check = |payload: &[u8]| Publish::read(Version::V5, QOS_1, &body(payload)).unwrap().check_payload();
    assert_eq!(check("größe".as_bytes()), Ok(()));
    assert_eq!(check(b"\xff"), Err(WireError::PayloadFormat));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(flags in 0u8..16, body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for version in [Version::V311, Version::V5] {
            if let Ok(publish) = Publish::read(version, flags, &body) {
                let _ = (publish.properties.user().count(), publish.check_payload());
            }
        }
    }

    #[test]
    fn a_publish_is_read_as_it_was_written(
        topic in "[a-z/]{1,20}",
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        qos in 0u8..3,
        (dup, retain) in any::<(bool, bool)>(),
        packet_id in 1u16..,
        is_v5 in any::<bool>(),
    ) {
        let version = if is_v5 { Version::V5 } else { Version::V311 };
        let qos = Qos::from_bits(qos).unwrap();
        let dup = dup && qos != Qos::AtMostOnce;
        let expiry = [MESSAGE_EXPIRY, 0, 0, 0, 9];
        let user = [USER, 0, 1, b'k', 0, 1, b'v'];
        let properties: [&[u8]; 2] = [&expiry, &user];
        let outgoing =
            Outgoing { dup, qos, retain, topic: topic.as_bytes(), packet_id, properties, payload: &payload };
        let bytes = written(version, &outgoing);
        let publish = read(version, &bytes).unwrap();
        prop_assert_eq!((publish.dup, publish.qos, publish.retain), (dup, qos, retain));
        prop_assert_eq!((publish.topic, publish.payload), (&*topic, &*payload));
        prop_assert_eq!(publish.packet_id, if qos == Qos::AtMostOnce { 0 } else { packet_id });
        prop_assert_eq!(publish.properties.expiry_seconds, is_v5.then_some(9));
        prop_assert_eq!(publish.properties.user().next(), is_v5.then_some(("k", "v")));
    }
}
