//! The bridge carries every record on, also when it is killed and when what it writes to does not answer.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::numbered::json_lines;
use e2e::seed;
use rand::Rng;
use serde_json::Value;
use testkit::kafka::Message;
use testkit::{Agent, Bridge, Hub, kafka, wait};

const WITHIN: Duration = Duration::from_secs(60);
const KILLS: usize = 5;
const DEVICES: [&str; 3] = ["north", "south", "east"];

fn view_of(name: &str) -> String {
    format!("[[pipelines]]\nname = \"{name}\"\ntopics = [\"telemetry\"]\nsink = {{ kind = \"json-view\" }}\n")
}

/// Ships numbered records of three devices into the log.
fn fill(folder: &Path, hub: &Hub, records: i64) {
    for device in DEVICES {
        let mut agent = Agent::new(folder, device, &hub.mqtt_url());
        assert!(agent.ingest_lines(&json_lines(0..records)).status.success());
        agent.start();
        agent.wait_shipped(WITHIN);
        agent.stop();
    }
}

fn wait_for_offsets(hub: &Hub, topic: &str, records: i64) {
    wait::until(topic, WITHIN, || {
        let stored: i64 =
            kafka::watermarks(&hub.brokers(), topic).iter().map(|(_, first, next)| next - first).sum();
        (stored >= records).then_some(())
    });
}

/// Source partition and offset as a view's record names them.
fn source_of(message: &Message) -> (i32, i64) {
    let header = |name: &str| -> i64 {
        let (_, value) = message.headers.iter().find(|(found, _)| found == name).unwrap();
        String::from_utf8_lossy(value).parse().unwrap()
    };
    (header("src.partition") as i32, header("src.offset"))
}

#[test]
fn the_json_view_has_every_record_once_though_the_bridge_is_killed() {
    let mut random = seed::generator();
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    let mut bridge = Bridge::new(folder.path(), &hub.brokers(), &view_of("view"));
    let records = 3000;
    fill(folder.path(), &hub, records);
    bridge.start();
    for _ in 0..KILLS {
        wait::pause(Duration::from_millis(random.gen_range(50..1500)));
        bridge.kill();
        bridge.start();
    }
    wait_for_offsets(&hub, "telemetry.json", 3 * records);
    let view = kafka::read_all(&hub.brokers(), "telemetry.json", WITHIN);
    let source = kafka::read_all(&hub.brokers(), "telemetry", WITHIN);
    assert_eq!(view.len(), source.len(), "each record once");
    for (seen, stored) in view.iter().zip(&source) {
        assert_eq!(source_of(seen), (stored.partition, stored.offset));
        assert_eq!(
            (seen.partition, &seen.key, seen.timestamp_ms),
            (stored.partition, &stored.key, stored.timestamp_ms)
        );
        let row: Value = serde_json::from_slice(&seen.value).unwrap();
        assert_eq!(row["device"].as_str().unwrap().as_bytes(), seen.key);
        assert!(row["values"]["n"].is_number(), "{row}");
    }
    assert!(bridge.stop().unwrap().success());
}

#[test]
fn json_lines_files_have_every_record_once_though_the_bridge_is_killed() {
    let mut random = seed::generator();
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    let files = folder.path().join("files");
    let pipeline = format!(
        "[[pipelines]]\nname = \"files\"\ntopics = [\"telemetry\"]\nsink = {{ kind = \"json-lines\", directory = \"{}\", file_bytes_max = 50000 }}\n",
        files.display()
    );
    let mut bridge = Bridge::new(folder.path(), &hub.brokers(), &pipeline);
    let records = 2000;
    fill(folder.path(), &hub, records);
    bridge.start();
    for _ in 0..KILLS {
        wait::pause(Duration::from_millis(random.gen_range(50..1500)));
        bridge.kill();
        bridge.start();
    }
    let rows = wait::until("all rows in the files", WITHIN, || {
        let rows = rows_in(&files)?;
        (rows.len() as i64 >= 3 * records).then_some(rows)
    });
    assert_eq!(rows.len() as i64, 3 * records, "each record once");
    let mut of_device: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in rows {
        let numbers = of_device.entry(row["device"].as_str().unwrap().to_owned()).or_default();
        numbers.push(row["values"]["n"].as_f64().unwrap() as i64);
    }
    for device in DEVICES {
        assert_eq!(of_device[device], (0..records).collect::<Vec<i64>>(), "{device}, in order");
    }
}

/// All rows, file by file in the order of their names; none where a line is only half there.
fn rows_in(folder: &Path) -> Option<Vec<Value>> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut rows = Vec::new();
    for path in paths {
        for line in std::fs::read_to_string(path).ok()?.lines() {
            rows.push(serde_json::from_str(line).ok()?);
        }
    }
    Some(rows)
}

/// What an HTTP receiver got: the idempotency key and the rows of each request that it took.
type Taken = Arc<Mutex<Vec<(String, Vec<Value>)>>>;

/// A receiver that answers every third request with 503 and takes the others.
fn receiver() -> (SocketAddr, Taken) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let taken = Taken::default();
    let shared = Arc::clone(&taken);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            answer(stream, number % 3 == 0, &shared);
        }
    });
    (address, taken)
}

/// One request on its own connection.
fn answer(stream: TcpStream, refuse: bool, taken: &Taken) {
    let mut reader = BufReader::new(stream);
    let (mut key, mut length) = (String::new(), 0);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
        let (name, value) = line.trim().split_once(':').unwrap_or((line.trim(), ""));
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => key = value.trim().to_owned(),
            "content-length" => length = value.trim().parse().unwrap(),
            _ => {}
        }
        line.clear();
    }
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    if !refuse {
        taken.lock().unwrap().push((key, serde_json::from_slice(&body).unwrap()));
    }
    let status = if refuse { "503 Service Unavailable" } else { "204 No Content" };
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    // The bridge may have been stopped meanwhile.
    let _ = reader.into_inner().write_all(answer.as_bytes());
}

#[test]
fn http_posts_are_repeated_until_they_are_taken_and_name_what_they_carry() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    let (address, taken) = receiver();
    let pipeline = format!(
        "[[pipelines]]\nname = \"http\"\ntopics = [\"telemetry\"]\nsink = {{ kind = \"http\", url = \"http://{address}/rows\", batch_records_max = 100 }}\n"
    );
    let mut bridge = Bridge::new(folder.path(), &hub.brokers(), &pipeline);
    assert!(bridge.check().status().unwrap().success(), "bridge check");
    let records = 500;
    fill(folder.path(), &hub, records);
    bridge.start();
    wait::until("all rows at the receiver", WITHIN, || {
        let rows: usize = taken.lock().unwrap().iter().map(|(_, rows)| rows.len()).sum();
        (rows as i64 >= 3 * records).then_some(())
    });
    assert!(bridge.stop().unwrap().success());
    let mut seen: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (key, rows) in taken.lock().unwrap().iter() {
        let offset = |row: &Value| row["offset"].as_i64().unwrap();
        let (first, last) = (offset(&rows[0]), offset(&rows[rows.len() - 1]));
        assert_eq!(*key, format!("telemetry/{}/{first}-{last}", rows[0]["partition"]));
        assert!(rows.len() <= 100);
        for row in rows {
            let numbers = seen.entry(row["device"].as_str().unwrap().to_owned()).or_default();
            numbers.push(row["values"]["n"].as_f64().unwrap() as i64);
        }
    }
    for device in DEVICES {
        assert_eq!(
            seen[device],
            (0..records).collect::<Vec<i64>>(),
            "{device}: once and in order, nobody was killed"
        );
    }
    // What was committed is not carried again.
    let before = taken.lock().unwrap().len();
    let described = hub.tool(&["group", "describe", "headwater-bridge-http"]).output().unwrap();
    let table = String::from_utf8_lossy(&described.stdout).into_owned();
    let lags: Vec<&str> = table.lines().filter(|line| line.starts_with("telemetry")).collect();
    assert!(!lags.is_empty() && lags.iter().all(|line| line.ends_with(" 0")), "{table}");
    assert_eq!(taken.lock().unwrap().len(), before);
}

#[test]
fn a_record_too_large_for_its_view_is_shown_by_its_size_and_holds_up_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    // A view that was made by hand takes what any topic takes, about 1 MiB.
    for topic in ["blobs", "blobs.json"] {
        assert!(hub.tool(&["topic", "create", topic, "--partitions", "1"]).status().unwrap().success());
    }
    let blob: Vec<u8> = (0..900_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for value in [&b"before"[..], &blob, b"after"] {
        produce(&hub, "blobs", value);
    }
    let pipeline = view_of("view").replace("telemetry", "blobs");
    let mut bridge = Bridge::new(folder.path(), &hub.brokers(), &pipeline);
    bridge.start();
    wait_for_offsets(&hub, "blobs.json", 3);
    let view = kafka::read_all(&hub.brokers(), "blobs.json", WITHIN);
    let rows: Vec<Value> =
        view.iter().map(|message| serde_json::from_slice(&message.value).unwrap()).collect();
    assert_eq!(view.iter().map(source_of).collect::<Vec<_>>(), [(0, 0), (0, 1), (0, 2)]);
    assert_eq!((&rows[0]["text"], &rows[2]["text"]), (&"before".into(), &"after".into()));
    assert!(rows[1]["too_large_bytes"].as_u64().unwrap() > 1_000_000, "{}", rows[1]);
}

/// One record, acknowledged.
fn produce(hub: &Hub, topic: &str, value: &[u8]) {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let producer: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", hub.brokers())
        .set("message.max.bytes", "2000000")
        .create()
        .unwrap();
    producer.send(BaseRecord::<[u8], [u8]>::to(topic).payload(value)).map_err(|(error, _)| error).unwrap();
    producer.flush(WITHIN).unwrap();
}
