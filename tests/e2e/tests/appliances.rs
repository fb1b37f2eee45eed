//! A real file through the whole house: buffered with no hub, shipped, and read back by clients that are not ours.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use schemas::{Value, decode_pack};
use testkit::kafka::Message;
use testkit::{Agent, Bridge, Hub, kafka, tools, wait};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/appliances-energy.csv");
const TIME_COLUMN: &str = "date";
const WITHIN: Duration = Duration::from_secs(60);

/// Column name and cell of every row, by row.
fn rows() -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(FILE).unwrap();
    let names: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let row =
        |record: csv::StringRecord| names.iter().cloned().zip(record.iter().map(str::to_owned)).collect();
    reader.records().map(|record| row(record.unwrap())).collect()
}

fn assert_is_row(message: &Message, row: &BTreeMap<String, String>) {
    let pack = decode_pack(&message.value).unwrap();
    assert_eq!(pack.len(), row.len() - 1, "every column but the time is a measurement");
    for measurement in pack {
        let cell =
            row.get(&measurement.name).unwrap_or_else(|| panic!("no column {}", measurement.name)).trim();
        match measurement.value {
            Value::Float(number) => assert_eq!(number, cell.parse::<f64>().unwrap(), "{}", measurement.name),
            Value::Integer(number) => assert_eq!(number.to_string(), cell, "{}", measurement.name),
            Value::Text(text) => assert_eq!(text, cell, "{}", measurement.name),
            other => panic!("{}: {other:?}", measurement.name),
        }
    }
}

#[test]
fn every_row_of_a_file_arrives_once_in_order_and_with_its_values() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::new(folder.path());
    let mut agent = Agent::new(folder.path(), "house", &hub.mqtt_url());
    let output = agent.ingest_file(FILE.as_ref());
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains("4932"), "says how many rows it stored: {printed}");
    hub.start();
    agent.start();
    let rows = rows();
    let all_there = || {
        let (_, _, end) =
            *kafka::watermarks(&hub.brokers(), "telemetry").iter().max_by_key(|(_, _, end)| *end)?;
        (end as usize >= rows.len()).then_some(())
    };
    wait::until("all rows in the log", WITHIN, all_there);

    let messages = kafka::read_all(&hub.brokers(), "telemetry", WITHIN);
    assert_eq!(messages.len(), rows.len());
    for (message, row) in messages.iter().zip(&rows) {
        assert_eq!(message.key, b"house");
        assert_is_row(message, row);
    }
    let times: Vec<i64> = messages.iter().map(|message| message.timestamp_ms.unwrap()).collect();
    assert_eq!(times[0], 1_452_533_400_000, "2016-01-11 17:30:00 UTC");
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "in the file's order");

    the_json_view_shows_the_same(folder.path(), &hub, &rows);
    kcat_reads_as_many(&hub, rows.len());
    python_reads_as_many(&hub, rows.len());
}

fn the_json_view_shows_the_same(folder: &std::path::Path, hub: &Hub, rows: &[BTreeMap<String, String>]) {
    let pipeline =
        "[[pipelines]]\nname = \"view\"\ntopics = [\"telemetry\"]\nsink = { kind = \"json-view\" }\n";
    let mut bridge = Bridge::new(folder, &hub.brokers(), pipeline);
    bridge.start();
    wait::until("the JSON view", WITHIN, || {
        let bounds = kafka::watermarks(&hub.brokers(), "telemetry.json");
        (bounds.iter().map(|(_, _, end)| *end).sum::<i64>() as usize >= rows.len()).then_some(())
    });
    let view = kafka::read_all(&hub.brokers(), "telemetry.json", WITHIN);
    assert_eq!(view.len(), rows.len());
    for (message, row) in view.iter().zip(rows) {
        let seen: serde_json::Value = serde_json::from_slice(&message.value).unwrap();
        assert_eq!(seen["device"], "house");
        let time = format!("{}.000Z", row[TIME_COLUMN].replace(' ', "T"));
        assert_eq!(seen["time"], time);
        let values = seen["values"].as_object().unwrap();
        assert_eq!(values.len(), row.len() - 1);
        for (name, value) in values {
            let cell = row[name].trim();
            match value.as_f64() {
                Some(number) => assert_eq!(number, cell.parse::<f64>().unwrap(), "{name}"),
                None => assert_eq!(value, cell, "{name}"),
            }
        }
    }
}

fn kcat_reads_as_many(hub: &Hub, rows: usize) {
    let Some(kcat) = tools::find("kcat", "kcat reads the file's rows") else { return };
    let output = Command::new(kcat)
        .args(["-C", "-e", "-q", "-o", "beginning", "-t", "telemetry", "-f", "%k %o\n", "-b", &hub.brokers()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success());
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected: String = (0..rows).map(|offset| format!("house {offset}\n")).collect();
    assert_eq!(printed, expected);
}

fn python_reads_as_many(hub: &Hub, rows: usize) {
    let Some(python) = tools::python_with("kafka", "a Python consumer reads the file's rows") else { return };
    let program = format!(
        "from kafka import KafkaConsumer\n\
         consumer = KafkaConsumer('telemetry', bootstrap_servers='{}', auto_offset_reset='earliest', consumer_timeout_ms=5000)\n\
         offsets = [r.offset for r in consumer]\n\
         assert offsets == list(range({rows})), (len(offsets), offsets[:5])\n\
         print('read', len(offsets))\n",
        hub.brokers()
    );
    let output = Command::new(python).arg("-c").arg(program).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), format!("read {rows}"));
}
