//! The HTTP input, byte by byte: what is stored, and what is answered.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::listening::{Listening, connect, exchange, free_address, listens, to_end};
use common::program::until;
use edge_agent::buffer::Policy;
use flate2::Compression;
use flate2::write::GzEncoder;
use schemas::Value;

fn listening(more: &str) -> (Listening, SocketAddr) {
    Listening::at_free_address("http", more)
}

/// Status, headers in small letters, and body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn answer(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer { status: status.unwrap_or(0), head: head.to_lowercase(), body: body.to_owned() }
}

fn request(address: SocketAddr, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
    let length = if method == "POST" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
    let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}{headers}\r\n");
    answer(&exchange(address, &[head.as_bytes(), body].concat()))
}

fn post(address: SocketAddr, target: &str, body: &str) -> Answer {
    request(address, "POST", target, "", body.as_bytes())
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// The examples of InfluxDB's documentation ("Write data with the API").
#[test]
fn line_protocol_is_stored_with_the_precision_that_is_said() {
    let (input, address) = listening("");
    let v1 = "mymeas,mytag=1 myfield=90 1463683075000000000\nmymeas,mytag=2 myfield=34 1463683076000000000\n";
    let v2 = "airSensors,sensor_id=TLM0201 temperature=73.97038159354763,humidity=35.23103248356096,co=0.48445310567793615 1630424257000000000";
    for (target, body, status) in [
        ("/write?db=mydb", v1, 204),
        ("/api/v2/write?org=o&bucket=b&precision=ns", v2, 204),
        ("/write?db=mydb&precision=ms", "m v=1 1463683075001", 204),
        ("/write?precision=s&rp=x", "m v=2 1463683075", 204),
        ("/write?precision=u", "m v=3 1463683075000001", 204),
        ("/write?precision=%C2%B5", "m v=4 1463683075000002", 204),
        ("/write?precision=h", "m v=5 406578", 204),
        ("/api/v2/write?precision=us", "m v=6 1463683075000003", 204),
        ("/write", "\n# nothing\n", 204),
        ("/write", "", 204),
        ("/write?precision=d", "m v=7 1", 400),
    ] {
        let answer = post(address, target, body);
        assert_eq!(
            (answer.status, answer.body.is_empty()),
            (status, status == 204),
            "{target}: {}",
            answer.body
        );
    }
    let stored = input.stored();
    let times: Vec<i64> = stored.iter().map(|record| record.time_ms).collect();
    let s = 1_463_683_075_000;
    let sensors = 1_630_424_257_000;
    assert_eq!(times, [s, s + 1000, sensors, s + 1, s, s, s, 1_463_680_800_000, s]);
    assert_eq!(stored[0].tags, [("tag.mytag".to_owned(), "1".to_owned())]);
    let names: Vec<_> = stored[2].values.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["airSensors.temperature", "airSensors.humidity", "airSensors.co"]);
}

/// The examples of what Telegraf's inputs mem and cpu write, in its documentation, sent as its output influxdb does.
#[test]
fn what_telegraf_sends_is_stored() {
    let (input, address) = listening("");
    let mem = "mem active=9299595264i,available_percent=80.41654254645131,high_free=0i,vmalloc_total=35184372087808i 1574712869000000000";
    let cpu =
        "cpu,cpu=cpu0,host=loaner usage_active=31.249999981810106,usage_guest_nice=0 1568760922000000000";
    let packed = gzip(format!("{mem}\n{cpu}\n").as_bytes());
    let headers = "User-Agent: Telegraf/1.31.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Encoding: gzip\r\n";
    let answer = request(address, "POST", "/write?consistency=any&db=telegraf", headers, &packed);
    assert_eq!(answer.status, 204, "{}", answer.body);
    let stored = input.stored();
    let number = |name: &str, value| (name.to_owned(), Value::Float(value));
    let expected = [
        number("mem.active", 9_299_595_264.0),
        number("mem.available_percent", 80.416_542_546_451_31),
        number("mem.high_free", 0.0),
        number("mem.vmalloc_total", 35_184_372_087_808.0),
    ];
    assert_eq!((stored[0].time_ms, &stored[0].values[..]), (1_574_712_869_000, &expected[..]));
    let tags =
        [("tag.cpu", "cpu0"), ("tag.host", "loaner")].map(|(name, tag)| (name.to_owned(), tag.to_owned()));
    assert_eq!((stored[1].time_ms, &stored[1].tags[..]), (1_568_760_922_000, &tags[..]));
}

#[test]
fn good_lines_are_stored_and_the_answer_names_the_first_bad_one() {
    let (input, address) = listening("");
    for target in ["/write?db=x", "/api/v2/write?org=x&bucket=y"] {
        let answer = post(address, target, "m a=1\nm a=\nm a=2\nm,t a=1\n");
        assert_eq!(answer.status, 400, "{}", answer.body);
        let told: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((told["code"].as_str(), told["line"].as_u64()), (Some("invalid"), Some(2)));
        for key in ["message", "error"] {
            let text = told[key].as_str().unwrap();
            assert!(text.starts_with("partial write: line 2: unable to parse 'm a='"), "{text}");
            assert!(text.contains("the value is missing") && text.ends_with("stored=2 dropped=2"), "{text}");
        }
    }
    assert_eq!((input.stored().len(), input.health().bad), (4, 4));
    // A row that no record can hold, among others that can.
    let wide = format!("m a=1\nm {}=1\n", "x".repeat(2000));
    let answer = post(address, "/write", &wide);
    assert_eq!((answer.status, answer.body.contains("longer than")), (400, true), "{}", answer.body);
    assert_eq!(input.stored().len(), 5);
}

#[test]
fn senml_is_stored_whole_or_not_at_all() {
    let (input, address) = listening("");
    let senml = |kind: &str, body: &[u8]| {
        request(address, "POST", "/senml", &format!("Content-Type: application/{kind}\r\n"), body)
    };
    let pack = br#"[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","n":"voltage","u":"V","v":120.1},
        {"n":"current","t":-5,"v":1.2},{"n":"current","v":1.7}]"#;
    assert_eq!(senml("senml+json; charset=utf-8", pack).status, 204);
    // [{0: "a", 2: 1}]
    assert_eq!(senml("senml+cbor", &[0x81, 0xa2, 0x00, 0x61, b'a', 0x02, 0x01]).status, 204);
    let stored = input.stored();
    let shape: Vec<_> = stored.iter().map(|record| (record.time_ms, record.values.len())).collect();
    assert_eq!(shape[..2], [(1_276_020_076_001, 2), (1_276_020_071_001, 1)]);
    assert_eq!(stored[2].values, [("a".to_owned(), Value::Float(1.0))]);
    let wrong = senml("senml+json", br#"[{"n":"a","v":1},{"n":"b"}]"#);
    assert_eq!((wrong.status, wrong.body.contains("record 2 has no value")), (400, true), "{}", wrong.body);
    assert_eq!(senml("json", b"[]").status, 415);
    assert_eq!(request(address, "POST", "/senml", "", b"[]").status, 415);
    assert_eq!(input.stored().len(), 3);
}

#[test]
fn bodies_may_be_packed_and_come_in_chunks() {
    let (input, address) = listening("body_bytes_max = 1024");
    let packed = |body: &[u8]| request(address, "POST", "/write", "Content-Encoding: gzip\r\n", body);
    assert_eq!(packed(&gzip(b"m a=1 1\nm a=2 2\n")).status, 204);
    assert_eq!(packed(b"m a=1").status, 400);
    assert_eq!(packed(&gzip(&vec![b'#'; 1 << 20])).status, 413);
    let chunks = |chunks: &[&str]| {
        let mut said =
            "POST /write HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                .to_owned();
        chunks.iter().for_each(|chunk| said += &format!("{:x}\r\n{chunk}\r\n", chunk.len()));
        answer(&exchange(address, (said + "0\r\n\r\n").as_bytes()))
    };
    assert_eq!(chunks(&["m a=3", " 3\nm a", "=4 4\n"]).status, 204);
    assert_eq!(chunks(&["#".repeat(1000).as_str(), "#".repeat(1000).as_str()]).status, 413);
    let large = request(address, "POST", "/write", "Content-Encoding: br\r\n", b"x");
    assert_eq!(large.status, 415);
    // Refused before it comes, and before it is asked for.
    let head = "POST /write HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n";
    let mut stream = connect(address);
    stream.write_all(head.as_bytes()).unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 413");
    let times: Vec<_> = input.stored().iter().map(|record| record.time_ms).collect();
    assert_eq!(times, [0, 0, 0, 0], "nanoseconds of 1970");
}

#[test]
fn what_is_not_served_is_refused() {
    let (_input, address) = listening("");
    let refused =
        |method: &str, target: &str, body: &str| request(address, method, target, "", body.as_bytes());
    assert_eq!(refused("GET", "/", "").status, 404);
    assert_eq!(refused("POST", "/query?q=x", "").status, 404);
    let method = refused("GET", "/write", "");
    assert!(method.status == 405 && method.head.contains("allow: post"), "{}", method.head);
    let method = refused("POST", "/ping", "");
    assert!(method.status == 405 && method.head.contains("allow: get"), "{}", method.head);
    let ping = refused("GET", "/ping", "");
    assert!(ping.status == 204 && ping.head.contains("x-influxdb-version: headwater-"), "{}", ping.head);
    assert_eq!(refused("HEAD", "/ping", "").status, 204);
    let health: serde_json::Value = serde_json::from_str(&refused("GET", "/health", "").body).unwrap();
    assert_eq!(health["status"], "pass");
    assert_eq!(answer(&exchange(address, b"nonsense\r\n\r\n")).status, 400);
}

#[test]
fn without_a_token_of_the_file_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, "secret\n").unwrap();
    let (input, address) = listening(&format!("token_file = {file:?}"));
    let write = |header: &str| request(address, "POST", "/api/v2/write", header, b"m a=1").status;
    assert_eq!(write(""), 401);
    assert_eq!(write("Authorization: Token wrong\r\n"), 401);
    assert_eq!(input.stored(), []);
    assert_eq!(write("Authorization: Token secret\r\n"), 204);
    // telegraf:secret
    assert_eq!(write("Authorization: Basic dGVsZWdyYWY6c2VjcmV0\r\n"), 204);
    assert_eq!(input.stored().len(), 2);
    assert_eq!(request(address, "GET", "/ping", "", b"").status, 204, "who is there may be asked by anyone");
    let unauthorized = request(address, "POST", "/senml", "", b"[]");
    assert!(unauthorized.head.contains("www-authenticate: token"), "{}", unauthorized.head);
}

#[test]
fn a_full_buffer_asks_to_try_again() {
    let mut input = Listening::new(Policy::DropNewest, Duration::from_millis(1));
    let address = free_address();
    input.start(listens("http", address, ""));
    // Text that nothing compresses by more than half.
    let noise = |seed: u64| {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let digits = (0..4 << 10).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            format!("{state:016x}")
        });
        format!("m a=\"{}\"", digits.collect::<String>())
    };
    let answers: Vec<Answer> = (0..100).map(|seed| post(address, "/write", &noise(seed))).collect();
    assert_eq!(answers[0].status, 204);
    let full = answers.iter().find(|answer| answer.status != 204).expect("it is full in the end");
    assert_eq!(full.status, 503, "{}", full.body);
    assert!(full.head.contains("retry-after: ") && full.body.contains("the buffer is full"), "{}", full.body);
}

#[test]
fn connections_are_bounded_and_others_wait() {
    let (_input, address) = listening("connections_max = 1");
    let mut first = connect(address);
    first.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut head = [0; 12];
    first.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 204");
    let mut second = connect(address);
    second.write_all(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    second.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(second.read(&mut head).is_err(), "it waits");
    drop(first);
    second.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(answer(&to_end(&mut second)).status, 204);
}

#[test]
fn an_input_that_ends_answers_what_it_has_begun_and_can_be_started_at_once() {
    let mut input = Listening::new(Policy::DropOldest, Duration::from_millis(500));
    let address = free_address();
    input.start(listens("http", address, ""));
    let mut idle = connect(address);
    let mut writing = connect(address);
    let said = "POST /write HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nm a=1";
    writing.write_all(said.as_bytes()).unwrap();
    until("the row to be taken", || (input.health().rows == 1).then_some(()));
    input.ask_to_stop();
    assert_eq!(answer(&to_end(&mut writing)).status, 204, "when it was durable");
    assert_eq!(input.stored().len(), 1);
    assert_eq!(input.stop(), Ok(()));
    assert_eq!(to_end(&mut idle), b"");
    assert!(TcpStream::connect(address).is_err());
    input.start(listens("http", address, ""));
    assert_eq!(post(address, "/write", "m a=2").status, 204);
}
