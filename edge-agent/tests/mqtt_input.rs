//! The MQTT listener, byte by byte: what is stored, and what is answered when.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use common::listening::{Listening, connect, free_address, listens, to_end};
use common::program::until;
use common::random::Random;
use edge_agent::buffer::Policy;
use edge_agent::inputs::mqtt::wire::{Version, read_connect, read_packet, split_packet};
use schemas::Value;

fn listening(more: &str) -> (Listening, SocketAddr) {
    Listening::at_free_address("mqtt", more)
}

/// Version 3.1.1 or 5 by its level.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    V4 = 4,
    V5 = 5,
}
use Level::{V4, V5};

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let (mut packet, mut rest) = (vec![first], body.len());
    loop {
        let more = if rest >= 128 { 0x80 } else { 0 };
        packet.push((rest % 128) as u8 | more);
        rest /= 128;
        if rest == 0 {
            return [&packet[..], body].concat();
        }
    }
}

/// What a CONNECT may have beside its id.
#[derive(Default)]
struct More<'a> {
    keep_alive: u16,
    will: Option<(&'a str, &'a str)>,
    login: Option<(&'a str, &'a str)>,
}

fn connect_packet(level: Level, id: &str, more: &More<'_>) -> Vec<u8> {
    let none = if level == V5 { &[0][..] } else { &[] };
    let flags = 2 | if more.will.is_some() { 4 } else { 0 } | if more.login.is_some() { 0xc0 } else { 0 };
    let mut body = [&text("MQTT")[..], &[level as u8, flags], &more.keep_alive.to_be_bytes(), none].concat();
    body.extend(text(id));
    if let Some((topic, message)) = more.will {
        body.extend([none, &text(topic), &text(message)].concat());
    }
    if let Some((name, password)) = more.login {
        body.extend([text(name), text(password)].concat());
    }
    packet(0x10, &body)
}

/// `properties` are of version 5, with neither length nor meaning in 3.1.1.
fn publish(level: Level, qos: u8, id: u16, topic: &str, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let id = if qos > 0 { id.to_be_bytes().to_vec() } else { Vec::new() };
    let properties =
        if level == V5 { [&[properties.len() as u8][..], properties].concat() } else { Vec::new() };
    packet(0x30 | qos << 1, &[&text(topic), &id, &properties, payload].concat())
}

/// What is heard of a connection that has ended.
const ENDED: &[u8] = &[];

struct Client {
    stream: TcpStream,
    level: Level,
    /// What was answered to CONNECT.
    connack: Vec<u8>,
}

impl Client {
    fn new(address: SocketAddr, level: Level, id: &str) -> Self {
        Self::with(address, level, id, &More::default())
    }

    fn with(address: SocketAddr, level: Level, id: &str, more: &More<'_>) -> Self {
        let mut client = Self { stream: connect(address), level, connack: Vec::new() };
        client.say(&connect_packet(level, id, more));
        client.connack = client.hear();
        client
    }

    fn say(&mut self, packet: &[u8]) {
        self.stream.write_all(packet).unwrap();
    }

    fn publish(&mut self, qos: u8, id: u16, topic: &str, payload: &str) {
        self.say(&publish(self.level, qos, id, topic, &[], payload.as_bytes()));
    }

    /// The next packet of less than 128 bytes; empty at the end.
    fn hear(&mut self) -> Vec<u8> {
        let mut head = [0; 2];
        if self.stream.read_exact(&mut head).is_err() {
            return Vec::new();
        }
        let mut body = vec![0; usize::from(head[1])];
        self.stream.read_exact(&mut body).unwrap();
        [&head[..], &body].concat()
    }
}

fn values(input: &Listening, count: usize) -> Vec<(String, Value)> {
    input.wait_stored(count).into_iter().flat_map(|record| record.values).collect()
}

fn number(name: &str, value: f64) -> (String, Value) {
    (name.to_owned(), Value::Float(value))
}

#[test]
fn qos_1_is_acknowledged_when_it_is_durable_and_not_before() {
    for level in [V4, V5] {
        let mut input = Listening::new(Policy::DropOldest, Duration::from_millis(400));
        let address = free_address();
        input.start(listens("mqtt", address, ""));
        let mut client = Client::new(address, level, "node-7");
        let begun = Instant::now();
        client.publish(1, 0x1234, "env/temp", "21.5");
        client.publish(1, 0x1235, "env/door", "true");
        client.say(&[0xc0, 0]);
        assert_eq!(client.hear(), [0xd0, 0], "a ping does not wait for the disk");
        assert!(input.stored().is_empty() || begun.elapsed() > Duration::from_millis(400));
        assert_eq!(client.hear(), [0x40, 2, 0x12, 0x34]);
        let stored: Vec<_> = input.stored().into_iter().flat_map(|record| record.values).collect();
        assert_eq!(stored, [number("node-7/env/temp", 21.5), ("node-7/env/door".into(), true.into())]);
        assert_eq!(client.hear(), [0x40, 2, 0x12, 0x35]);
        client.say(&[0xe0, 0]);
        assert_eq!(client.hear(), ENDED, "it ends as it was asked to");
    }
}

#[test]
fn a_client_of_version_5_is_told_what_is_not_spoken() {
    let (_input, address) = listening("");
    assert_eq!(Client::new(address, V4, "a").connack, [0x20, 2, 0, 0]);
    let connack = Client::new(address, V5, "a").connack;
    assert_eq!(connack[..4], [0x20, connack.len() as u8 - 2, 0, 0]);
    let properties = &connack[5..];
    for (property, what) in [
        (&[0x11, 0, 0, 0, 0][..], "no session outlives its connection"),
        (&[0x21, 0, 64], "Receive Maximum"),
        (&[0x24, 1], "Maximum QoS"),
        (&[0x27, 0, 4, 0, 0], "Maximum Packet Size"),
        (&[0x28, 0], "no wildcards"),
    ] {
        assert!(
            properties.windows(property.len()).any(|window| window == property),
            "{what}: {connack:02x?}"
        );
    }
}

#[test]
fn what_will_never_be_taken_is_refused_in_version_5_and_counted_in_both() {
    let (input, address) = listening("topic_prefix = \"home/\"");
    let mut five = Client::new(address, V5, "n");
    five.publish(1, 1, "away/temp", "1");
    assert_eq!(five.hear(), [0x40, 4, 0, 1, 0x90, 0]);
    five.publish(1, 2, "home/temp", "{\"a\":");
    assert_eq!(five.hear(), [0x40, 4, 0, 2, 0x99, 0]);
    let senml = b"\x03\x00\x16application/senml+json";
    five.say(&publish(V5, 1, 3, "home/env", senml, br#"[{"n":"t","u":"Cel","v":1}]"#));
    assert_eq!(five.hear(), [0x40, 2, 0, 3]);
    five.say(&publish(V5, 1, 4, "home/env", senml, br#"[{"n":"t"}]"#));
    assert_eq!(five.hear(), [0x40, 4, 0, 4, 0x99, 0]);
    let mut four = Client::new(address, V4, "o");
    four.publish(1, 5, "away/temp", "1");
    assert_eq!(four.hear(), [0x40, 2, 0, 5], "it would come again for ever");
    four.publish(0, 0, "away/temp", "1");
    four.publish(0, 0, "home/temp", "2");
    assert_eq!(values(&input, 2), [number("n/env/t", 1.0), number("o/temp", 2.0)]);
    assert_eq!(input.health().bad, 5);
}

#[test]
fn qos_2_topic_aliases_and_large_packets_end_the_connection() {
    let (input, address) = listening("");
    let alias = [0x23, 0, 1];
    let large = vec![b'x'; 300 << 10];
    for (said, reason) in [
        (publish(V5, 2, 1, "t", &[], b"1"), 0x9b),
        (publish(V5, 1, 1, "t", &alias, b"1"), 0x94),
        (publish(V5, 1, 1, "t", &[], &large), 0x95),
        (packet(0x36, b"\0\x01t\0\x01\0"), 0x81),
        (packet(0x82, b"\0"), 0x81),
        (packet(0x40, b"\0\x01"), 0x82),
        (packet(0xf0, b"\0"), 0x82),
    ] {
        let mut client = Client::new(address, V5, "five");
        // The rest of what is too large is not read.
        let _ = client.stream.write_all(&said);
        assert_eq!(client.hear(), [0xe0, 2, reason, 0], "{:02x?}", &said[..4]);
    }
    let mut client = Client::new(address, V4, "four");
    client.publish(2, 1, "t", "1");
    assert_eq!(client.hear(), ENDED);
    assert_eq!(input.stored(), []);
}

#[test]
fn subscriptions_are_refused() {
    let (_input, address) = listening("");
    let filters = |options: u8| [&text("a")[..], &[options], &text("b/#"), &[options]].concat();
    let mut four = Client::new(address, V4, "four");
    four.say(&packet(0x82, &[&[0, 7][..], &filters(1)].concat()));
    assert_eq!(four.hear(), [0x90, 4, 0, 7, 0x80, 0x80]);
    four.say(&packet(0xa2, &[&[0, 8][..], &text("a")].concat()));
    assert_eq!(four.hear(), [0xb0, 2, 0, 8]);
    let mut five = Client::new(address, V5, "five");
    five.say(&packet(0x82, &[&[0, 7, 0][..], &filters(1)].concat()));
    assert_eq!(five.hear(), [0x90, 5, 0, 7, 0, 0x83, 0x83]);
    five.say(&packet(0xa2, &[&[0, 8, 0][..], &text("a")].concat()));
    assert_eq!(five.hear(), [0xb0, 4, 0, 8, 0, 0x11]);
    five.say(&[0xc0, 0]);
    assert_eq!(five.hear(), [0xd0, 0], "the connection goes on");
}

#[test]
fn who_proves_no_name_of_the_file_does_not_come_in() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("passwords");
    // mosquitto_passwd's, of "secret".
    let entry = "pump-7:$7$101$Bi9f2HFrLTEfKqae$lG+6OMyGjQ6nMSpIBEU8AlX7w+YvolEJPXL+wIFgqCuv38tS+KM7tqSzdcUO+CkF11ZZr93XjzBtbfLFOga93g==\n";
    std::fs::write(&file, entry).unwrap();
    let (input, address) = listening(&format!("password_file = {file:?}\nchild = \"username\""));
    let login = |level, login| Client::with(address, level, "x/y", &More { login, ..More::default() });
    assert_eq!(login(V4, None).connack, [0x20, 2, 0, 4]);
    assert_eq!(login(V4, Some(("pump-7", "wrong"))).connack, [0x20, 2, 0, 4]);
    assert_eq!(login(V5, Some(("pump-8", "secret"))).connack, [0x20, 3, 0, 0x86, 0]);
    let mut client = login(V4, Some(("pump-7", "secret")));
    assert_eq!(client.connack, [0x20, 2, 0, 0]);
    client.publish(1, 1, "t", "1");
    assert_eq!(client.hear(), [0x40, 2, 0, 1]);
    assert_eq!(values(&input, 1), [number("pump-7/t", 1.0)]);
    assert_eq!(input.health().bad, 3);
}

#[test]
fn a_client_whose_id_names_a_child_needs_a_good_one() {
    let (_input, address) = listening("");
    for id in ["", "a/b"] {
        assert_eq!(Client::new(address, V4, id).connack, [0x20, 2, 0, 2]);
        assert_eq!(Client::new(address, V5, id).connack, [0x20, 3, 0, 0x85, 0]);
    }
    let (input, address) = listening("child = 1");
    let mut client = Client::new(address, V5, "");
    let assigned = client.connack.windows(8).any(|window| window.starts_with(&[0x12, 0, 21]));
    assert!(assigned, "{:02x?}", client.connack);
    client.publish(1, 1, "kitchen/temp", "20");
    assert_eq!(client.hear(), [0x40, 2, 0, 1]);
    assert_eq!(values(&input, 1), [number("kitchen/temp", 20.0)]);
}

#[test]
fn what_is_no_mqtt_is_left() {
    let (input, address) = listening("");
    for (said, answer) in [
        // Version 3.1.
        (packet(0x10, &[&text("MQIsdp")[..], &[3, 2, 0, 0], &text("a")].concat()), &[0x20, 2, 0, 1][..]),
        (packet(0x10, &[&text("MQTT")[..], &[6, 2, 0, 0, 0], &text("a")].concat()), &[0x20, 2, 0, 1]),
        (publish(V4, 0, 0, "t", &[], b"1"), &[]),
        (vec![0x10, 0xff, 0xff, 0xff, 0xff, 0xff], &[]),
        (vec![0x10, 0xff, 0xff, 0x7f], &[]),
    ] {
        let mut stream = connect(address);
        stream.write_all(&said).unwrap();
        assert_eq!(to_end(&mut stream), answer, "{said:02x?}");
    }
    assert_eq!(input.health().bad, 5);
}

#[test]
fn a_silent_client_is_left_after_one_and_a_half_times_its_keep_alive() {
    let (_input, address) = listening("");
    let mut client = Client::with(address, V5, "a", &More { keep_alive: 1, ..More::default() });
    let begun = Instant::now();
    assert_eq!(client.hear(), [0xe0, 2, 0x8d, 0]);
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(1400) && waited < Duration::from_secs(10), "{waited:?}");
}

#[test]
fn a_client_that_comes_again_takes_its_place() {
    let (input, address) = listening("connections_max = 2");
    let mut first = Client::new(address, V5, "a");
    let mut second = Client::new(address, V5, "a");
    assert_eq!(first.hear(), [0xe0, 2, 0x8e, 0]);
    second.publish(1, 1, "t", "1");
    assert_eq!(second.hear(), [0x40, 2, 0, 1]);
    let mut third = Client::new(address, V4, "a");
    assert_eq!(second.hear(), [0xe0, 2, 0x8e, 0]);
    third.publish(1, 2, "t", "2");
    assert_eq!(third.hear(), [0x40, 2, 0, 2]);
    assert_eq!(values(&input, 2).len(), 2);
}

#[test]
fn a_will_is_stored_when_its_client_goes_without_a_word() {
    let (input, address) = listening("");
    let will = Some(("state", "offline"));
    let client = |level, id| Client::with(address, level, id, &More { will, ..More::default() });
    client(V4, "polite").say(&[0xe0, 0]);
    client(V5, "polite-5").say(&[0xe0, 0]);
    drop(client(V4, "gone"));
    assert_eq!(values(&input, 1), [("gone/state".to_owned(), "offline".into())]);
    drop(client(V5, "gone-5"));
    input.wait_stored(2);
    client(V5, "asks").say(&[0xe0, 1, 4]);
    let names: Vec<String> = values(&input, 3).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["gone/state", "gone-5/state", "asks/state"]);
}

#[test]
fn a_full_buffer_takes_no_more_and_says_so() {
    let mut input = Listening::new(Policy::DropNewest, Duration::from_millis(1));
    let address = free_address();
    input.start(listens("mqtt", address, ""));
    let noise = |seed: u64| -> String {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let digits = (0..4 << 10).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            format!("{state:016x}")
        });
        digits.collect()
    };
    let mut client = Client::new(address, V5, "a");
    let answers: Vec<Vec<u8>> = (1..60)
        .map(|id| {
            client.publish(1, id, "t", &noise(id.into()));
            client.hear()
        })
        .collect();
    assert_eq!(answers[0], [0x40, 2, 0, 1]);
    let refused = answers.iter().find(|answer| answer.len() > 4).expect("it is full in the end");
    assert_eq!(refused[4], 0x97);
    let mut client = Client::new(address, V4, "b");
    client.publish(1, 1, "t", &noise(100));
    assert_eq!(client.hear(), ENDED, "without an acknowledgement it sends it again");
}

#[test]
fn an_input_that_ends_acknowledges_what_it_has_taken() {
    let mut input = Listening::new(Policy::DropOldest, Duration::from_millis(500));
    let address = free_address();
    input.start(listens("mqtt", address, ""));
    let will = Some(("state", "offline"));
    let mut client = Client::with(address, V5, "a", &More { will, ..More::default() });
    client.publish(1, 1, "t", "1");
    client.publish(1, 2, "t", "2");
    until("the rows to be taken", || (input.health().rows == 2).then_some(()));
    assert_eq!(input.stop(), Ok(()));
    assert_eq!(to_end(&mut client.stream), [0x40, 2, 0, 1, 0x40, 2, 0, 2, 0xe0, 2, 0x8b, 0]);
    assert_eq!(input.stored().len(), 2, "and no will: the client has not gone");
    input.start(listens("mqtt", address, ""));
    assert_eq!(Client::new(address, V4, "a").connack, [0x20, 2, 0, 0]);
}

#[test]
fn a_fast_client_is_held_up_and_loses_nothing() {
    let (input, address) = listening("");
    let mut client = Client::new(address, V4, "fast");
    let mut reading = client.stream.try_clone().unwrap();
    let heard = std::thread::spawn(move || {
        let mut acks = vec![0; 4 * 2000];
        reading.read_exact(&mut acks).map(|()| acks)
    });
    for id in 1..=2000 {
        client.publish(1, id, "n", &id.to_string());
    }
    let acks = heard.join().unwrap().unwrap();
    let expected: Vec<u8> =
        (1..=2000u16).flat_map(|id| [&[0x40, 2][..], &id.to_be_bytes()].concat()).collect();
    assert_eq!(acks, expected, "in their order");
    let numbers: Vec<_> = (1..=2000).map(|id| number("fast/n", f64::from(id))).collect();
    assert_eq!(values(&input, 2000), numbers);
}

#[test]
fn packets_survive_whatever_becomes_of_them() {
    let mut random = Random(0x6865_6164_7761_7465);
    let more = More { keep_alive: 60, will: Some(("a/b", "gone")), login: Some(("name", "word")) };
    let properties = b"\x01\x01\x03\x00\x02ab\x26\x00\x01k\x00\x01v\x0b\x07";
    let seeds = [
        connect_packet(V4, "id", &more),
        connect_packet(V5, "id", &more),
        publish(V4, 1, 7, "a/b", &[], b"21.5"),
        publish(V5, 1, 7, "a/b", properties, b"21.5"),
        packet(0x82, &[&[0, 7][..], &text("a/#"), &[1]].concat()),
        packet(0x82, &[&[0, 7, 0][..], &text("a/#"), &[1]].concat()),
        packet(0xa2, &[&[0, 7][..], &text("a")].concat()),
        packet(0xe0, &[4, 0]),
        vec![0xc0, 0],
    ];
    let mut whole = 0;
    for seed in &seeds {
        let mut input = seed.clone();
        for round in 0..20_000 {
            let run = std::panic::catch_unwind(|| {
                let mut buffer = BytesMut::from(&input[..]);
                let mut packets = 0;
                while let Ok(Some(packet)) = split_packet(&mut buffer) {
                    let _ = read_connect(packet.clone());
                    let _ = read_packet(Version::V4, packet.clone());
                    let _ = read_packet(Version::V5, packet);
                    packets += 1;
                }
                packets
            });
            whole += run.unwrap_or_else(|_| panic!("round {round}: {input:02x?}"));
            if round % 8 == 0 {
                input.clone_from(seed);
            }
            let at = random.below(input.len());
            match random.below(4) {
                0 => input.truncate(at),
                1 => input.insert(at, random.below(256) as u8),
                _ if input.is_empty() => input.push(random.below(256) as u8),
                2 => input[at] ^= 1 << random.below(8),
                _ => input[at] = random.below(256) as u8,
            }
        }
    }
    assert!(whole > 30_000, "many are whole packets: {whole}");
}
