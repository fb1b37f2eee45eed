//! What a client may not send. Each ends its own connection with the right reason, and nobody else's.

use crate::support::{Client, Connect, Hub, PUBREL, ack, packet, publish, text};

async fn still_serves(hub: &Hub) {
    let mut other = Client::connect(hub, 5, "other").await;
    assert_eq!(other.published(1, 1, "alive", b"yes").await.reason(), 0);
}

#[tokio::test]
async fn malformed_packets_end_their_connection_with_a_reason() {
    let hub = Hub::start().await;
    let mut witness = Client::connect(&hub, 5, "witness").await;
    let deep = "a/".repeat(200);
    let cases: Vec<(&str, Vec<u8>, u8)> = vec![
        ("packet type 0", vec![0x00, 0], 0x81),
        ("a length of five bytes", vec![0x30, 0xff, 0xff, 0xff, 0xff, 1], 0x81),
        ("a second CONNECT", Connect { level: 5, ..Connect::default() }.packet(), 0x82),
        ("CONNACK", vec![0x20, 3, 0, 0, 0], 0x82),
        ("SUBACK", vec![0x90, 4, 0, 1, 0, 0], 0x82),
        ("UNSUBACK", vec![0xb0, 4, 0, 1, 0, 0], 0x82),
        ("PINGRESP", vec![0xd0, 0], 0x82),
        ("AUTH", vec![0xf0, 0], 0x82),
        ("PINGREQ with a body", vec![0xc0, 1, 0], 0x81),
        ("SUBSCRIBE with wrong flags", packet(0x80, &[&[0, 1, 0][..], &text("a"), &[0]].concat()), 0x81),
        ("SUBSCRIBE without a filter", packet(0x82, &[0, 1, 0]), 0x81),
        ("SUBSCRIBE with packet id 0", packet(0x82, &[&[0, 0, 0][..], &text("a"), &[0]].concat()), 0x82),
        ("SUBSCRIBE with QoS 3", packet(0x82, &[&[0, 1, 0][..], &text("a"), &[3]].concat()), 0x81),
        ("SUBSCRIBE that ends early", packet(0x82, &[0, 1, 0, 0, 9, b'a']), 0x81),
        ("UNSUBSCRIBE of nothing", packet(0xa2, &[0, 1, 0]), 0x82),
        ("UNSUBSCRIBE with wrong flags", packet(0xa0, &[&[0, 1, 0][..], &text("a")].concat()), 0x81),
        ("PUBACK without an id", packet(0x40, &[0]), 0x81),
        ("PUBACK with id 0", packet(0x40, &[0, 0]), 0x82),
        ("PUBREL with wrong flags", packet(0x60, &[0, 1]), 0x81),
        ("PUBLISH of QoS 3", publish(5, 6, 1, "a", &[], b""), 0x81),
        ("PUBLISH of QoS 0 with DUP", publish(5, 8, 0, "a", &[], b""), 0x81),
        ("PUBLISH with packet id 0", publish(5, 2, 0, "a", &[], b""), 0x82),
        ("PUBLISH that ends in its topic", packet(0x30, &[0, 9, b'a']), 0x81),
        ("PUBLISH to an empty topic", publish(5, 2, 1, "", &[], b""), 0x90),
        ("PUBLISH to a wildcard", publish(5, 2, 1, "a/#", &[], b""), 0x90),
        ("PUBLISH to a topic too deep", publish(5, 2, 1, &deep, &[], b""), 0x90),
        ("PUBLISH with U+0000 in its topic", publish(5, 2, 1, "a\0", &[], b""), 0x81),
        ("PUBLISH with a topic that is not UTF-8", packet(0x30, &[0, 1, 0xff, 0]), 0x81),
        ("PUBLISH with an unknown property", publish(5, 2, 1, "a", &[99], b""), 0x81),
        ("PUBLISH with a property given twice", publish(5, 2, 1, "a", &[1, 0, 3, 0, 0, 3, 0, 0], b""), 0x82),
        ("PUBLISH with topic alias 0", publish(5, 2, 1, "a", &[35, 0, 0], b""), 0x94),
        ("PUBLISH with a topic alias too high", publish(5, 2, 1, "a", &[35, 0, 33], b""), 0x94),
        ("PUBLISH that is too large", vec![0x30, 0x80, 0x80, 0x80, 0x01], 0x95),
        ("DISCONNECT with wrong flags", vec![0xe1, 0], 0x81),
        ("DISCONNECT with a property that it cannot have", packet(0xe0, &[0, 2, 1, 1]), 0x81),
    ];
    for (name, bytes, reason) in cases {
        let mut client = Client::connect(&hub, 5, "c").await;
        client.send(&bytes).await;
        assert_eq!(client.end().await, Some(reason), "{name}");
    }
    witness.ping().await;
    still_serves(&hub).await;
    hub.stop().await;
}

#[tokio::test]
async fn in_3_1_1_the_connection_just_ends() {
    let hub = Hub::start().await;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("QoS 3", publish(4, 6, 1, "a", &[], b"")),
        ("a wildcard", publish(4, 2, 1, "+", &[], b"")),
        ("a PUBACK of five bytes", packet(0x40, &[0, 1, 0])),
        ("a DISCONNECT with a body", packet(0xe0, &[0])),
        ("AUTH", vec![0xf0, 0]),
        ("UNSUBACK", packet(0xb0, &[0, 1])),
    ];
    for (name, bytes) in cases {
        let mut client = Client::connect(&hub, 4, "c").await;
        client.send(&bytes).await;
        assert_eq!(client.read().await, None, "{name}");
    }
    still_serves(&hub).await;
    hub.stop().await;
}

#[tokio::test]
async fn publishes_before_the_malformed_packet_are_stored() {
    let hub = Hub::start().await;
    let mut client = Client::connect(&hub, 5, "c").await;
    let mut bytes = publish(5, 2, 1, "a", &[], b"good");
    bytes.extend_from_slice(&[0x00, 0]);
    client.send(&bytes).await;
    assert_eq!(client.end().await, Some(0x81));
    still_serves(&hub).await;
    assert_eq!(hub.values("mqtt").iter().filter(|value| *value == "good").count(), 1);
    hub.stop().await;
}

#[tokio::test]
async fn a_first_packet_that_is_no_connect_is_not_answered() {
    let hub = Hub::start().await;
    let cases = [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 16],
        &publish(4, 0, 0, "a", &[], b""),
        &[0x10, 0x80, 0x80, 0x80, 0x7f],
        &packet(0x10, b"\0\x04HTTP\x04\x02\0\0\0\0"),
    ];
    for bytes in cases {
        let mut client = Client::open(&hub).await;
        client.send(bytes).await;
        assert_eq!(client.read().await, None, "{bytes:?}");
    }
    still_serves(&hub).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_connect_that_cannot_be_accepted_is_told_why() {
    let hub = Hub::start().await;
    let connect = |level, clean, properties: &[u8], id: &str| {
        Connect { level, clean, properties: properties.to_vec(), id, ..Connect::default() }.packet()
    };
    let long = "x".repeat(300);
    let mut reserved = connect(5, true, &[], "c");
    reserved[9] |= 1;
    let will = |topic: &str| {
        let fields = [vec![0], text(topic), text("gone")].concat();
        Connect { level: 5, id: "c", will: Some((0, fields)), ..Connect::default() }.packet()
    };
    let cases: Vec<(&str, Vec<u8>, u8)> = vec![
        ("3.1", packet(0x10, b"\0\x06MQIsdp\x03\x02\0\0\0\x01c"), 0x01),
        ("level 7", packet(0x10, b"\0\x04MQTT\x07\x02\0\0\0\0\x01c"), 0x84),
        ("3.1.1 without an id and a session to keep", connect(4, false, &[], ""), 0x02),
        ("a client id too long", connect(5, true, &[], &long), 0x85),
        ("the reserved flag", reserved, 0x81),
        ("a Receive Maximum of 0", connect(5, true, &[33, 0, 0], "c"), 0x82),
        ("an authentication method", connect(5, true, &[21, 0, 1, b'x'], "c"), 0x8c),
        ("a will to a wildcard", will("a/+"), 0x90),
        ("a will to a reserved topic", will("headwater/v1/d/batch/t/0"), 0x90),
        (
            "a device id that cannot be",
            connect(5, true, &crate::support::user_property("headwater-device", "a/b"), "c"),
            0x85,
        ),
    ];
    for (name, bytes, reason) in cases {
        let mut client = Client::open(&hub).await;
        client.send(&bytes).await;
        let connack = client.read().await.unwrap_or_else(|| panic!("{name}: no CONNACK"));
        assert_eq!((connack.kind(), connack.body[1]), (2, reason), "{name}");
        assert_eq!(client.read().await, None, "{name}");
    }
    still_serves(&hub).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_pubrel_before_its_pubrec_breaks_the_protocol_or_is_answered() {
    let hub = Hub::start().await;
    let mut client = Client::connect(&hub, 5, "c").await;
    let bytes = [publish(5, 4, 1, "a", &[], b"x"), ack(PUBREL, 1)].concat();
    client.send(&bytes).await;
    assert_eq!(client.end().await, Some(0x82));
    still_serves(&hub).await;
    hub.stop().await;
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_at_once() {
    let hub = Hub::with(|config| config.connections_max = 2).await;
    let mut first = Client::connect(&hub, 4, "1").await;
    let mut second = Client::connect(&hub, 4, "2").await;
    let mut third = Client::open(&hub).await;
    assert_eq!(third.read().await, None);
    first.ping().await;
    second.ping().await;
    hub.stop().await;
}
