use super::*;
use crate::wire::Version;
use crate::wire::frame::put_varint;
use crate::wire::publish::Publish;
use schemas::{BatchBuilder, BuilderOptions, RawBatch};

const NOW_MS: i64 = 1_700_000_000_000;

fn record(key: Option<&[u8]>, headers: &[(&str, &[u8])]) -> Record {
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    builder.push(NOW_MS, key, Some(b"payload"), headers).unwrap();
    let batch = RawBatch::parse(builder.finish().unwrap()).unwrap();
    batch.records().unwrap().next().unwrap().unwrap()
}

#[test]
fn a_publish_comes_out_of_the_log_as_it_went_in() {
    let properties = [
        &[PAYLOAD_FORMAT, 1, MESSAGE_EXPIRY, 0, 0, 0, 60][..],
        &[CONTENT_TYPE, 0, 1, b't', RESPONSE_TOPIC, 0, 1, b'r', CORRELATION_DATA, 0, 2, 0, 0xff],
        &[USER, 0, 1, b'k', 0, 1, b'1', USER, 0, 1, b'k', 0, 1, b'2', USER, 0, 0, 0, 0],
    ]
    .concat();
    let mut body = vec![0, 1, b'a'];
    put_varint(&mut body, properties.len());
    body.extend_from_slice(&properties);
    let publish = Publish::read(Version::V5, 0, &body).unwrap();
    let headers = PropertyHeaders::new(&publish.properties);
    let mut list = vec![(header::QOS, &b"2"[..]), (header::RETAIN, b"1")];
    list.extend(headers.as_slices());
    let message = Message::from_record(&record(Some(b"a"), &list), NOW_MS).unwrap();
    assert_eq!((&*message.topic, &message.payload[..]), ("a", &b"payload"[..]));
    assert_eq!((message.qos, message.retain), (Qos::ExactlyOnce, true));
    assert_eq!(message.expires_at_ms, Some(NOW_MS + 60_000));
    // The expiry is written anew for each delivery, with what is left of it.
    let without_expiry = [&properties[..2], &properties[7..]].concat();
    assert_eq!(message.properties, without_expiry);
}

#[test]
fn an_expiry_runs_down() {
    let message = Message { expires_at_ms: Some(NOW_MS + 1500), ..Message::for_tests("a", "1") };
    assert_eq!(message.expiry_left(NOW_MS), Some(Some(2)));
    assert_eq!(message.expiry_left(NOW_MS + 1499), Some(Some(1)));
    assert_eq!(message.expiry_left(NOW_MS + 1500), None);
    assert_eq!(Message::for_tests("a", "1").expiry_left(NOW_MS), Some(None));
    assert_eq!(expiry_property(Some(9)), [MESSAGE_EXPIRY, 0, 0, 0, 9]);
    assert!(expiry_property(None).is_empty());
}

#[test]
fn the_topic_is_the_header_or_the_key() {
    let topic = |record: &Record| Message::from_record(record, 0).map(|message| message.topic.to_string());
    assert_eq!(topic(&record(Some(b"a/b"), &[])).as_deref(), Some("a/b"));
    assert_eq!(topic(&record(Some(b"7"), &[(header::TOPIC, b"plant/7")])).as_deref(), Some("plant/7"));
    for unfit in [&b"a/#"[..], b"", b"\xff", b"a\0"] {
        assert_eq!(topic(&record(Some(unfit), &[])), None, "{unfit:?}");
    }
    assert_eq!(topic(&record(None, &[])), None);
}

#[test]
fn headers_that_somebody_else_wrote_cannot_break_a_packet() {
    let large = vec![b'x'; 70_000];
    let odd: [(&str, &[u8]); 7] = [
        (header::QOS, b"9"),
        (header::MESSAGE_EXPIRY, b"soon"),
        (header::CONTENT_TYPE, b"\xff"),
        (header::RESPONSE_TOPIC, &large),
        (header::CORRELATION_DATA, &large),
        ("mqtt.user.k", b"a\0b"),
        ("tag.site", b"north"),
    ];
    let message = Message::from_record(&record(Some(b"a"), &odd), 0).unwrap();
    assert_eq!((message.qos, message.expires_at_ms), (Qos::AtMostOnce, None));
    assert!(message.properties.is_empty());
}
