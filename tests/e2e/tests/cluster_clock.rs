//! Hubs whose clocks disagree with what they know of the time: they expire nothing, until most hubs' clocks or a person
//! say that theirs is right.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::path::Path;
use std::time::Duration;

use e2e::producer::NumberedProducer;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde_json::Value;
use testkit::{Cluster, Hub, kafka, wait};

/// Retention is looked after every 30 s.
const RETAINED_WITHIN: Duration = Duration::from_secs(120);
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// While the hub is stopped: as if its wall clock, which is right, had been 30 hours ahead until then.
fn clock_was_ahead(data_dir: &Path) {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let digits: Vec<u8> = boot.trim().bytes().filter(|byte| *byte != b'-').collect();
    let digit = |byte: &[u8]| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 16).unwrap();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime_s: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ahead = now + Duration::from_secs(30 * 3600);
    // The anchor of the shards' clock: version, boot id, boot time, stamp, checksum.
    let mut anchor = vec![1];
    anchor.extend(digits.chunks(2).map(digit));
    anchor.extend(((uptime_s * 1_000.0) as i64).to_be_bytes());
    anchor.extend((ahead.as_millis() as i64).to_be_bytes());
    anchor.extend(crc32c::crc32c(&anchor).to_be_bytes());
    std::fs::write(data_dir.join("clock"), anchor).unwrap();
}

/// Why a hub holds its clock, as the cluster's status has it; none while the status does not say.
fn held(status: &Value, node: usize) -> Option<Option<String>> {
    let hub = status["hubs"].as_array()?.iter().find(|hub| hub["node"] == node)?;
    let held = hub.get("clock")?.get("held")?;
    Some(held.as_str().map(str::to_owned))
}

fn status(hub: &Hub) -> Option<Value> {
    let output = hub.tool(&["cluster", "status", "--json"]).output().ok()?;
    output.status.success().then(|| serde_json::from_slice(&output.stdout).ok())?
}

fn said_by(hub: &Hub, arguments: &[&str]) -> String {
    let output = hub.tool(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn start_of(hub: &Hub, topic: &str) -> i64 {
    kafka::watermarks(&hub.brokers(), topic)[0].1
}

/// Several segments of a topic.
fn fill(hub: &Hub, topic: &str) {
    let producer: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::new().set("bootstrap.servers", hub.brokers()).create().unwrap();
    let value = vec![7; 200_000];
    for _ in 0..20 {
        producer
            .send(BaseRecord::<(), _>::to(topic).partition(0).payload(&value))
            .map_err(|(error, _)| error)
            .unwrap();
    }
    producer.flush(SETTLED_WITHIN).unwrap();
}

#[test]
fn a_hub_whose_clock_disagrees_expires_nothing_by_time_until_a_person_accepts_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::started(folder.path());
    said_by(&hub, &["topic", "create", "aged", "--partitions", "1", "--config", "retention.ms=1000"]);
    let sized = ["--config", "retention.bytes=1", "--config", "segment.bytes=1048576"];
    said_by(&hub, &[&["topic", "create", "sized", "--partitions", "1"][..], &sized].concat());
    let producer = NumberedProducer::new(&hub.brokers(), "aged");
    (0..100).for_each(|number| producer.send(0, number));
    producer.flush(SETTLED_WITHIN);
    drop(producer);
    hub.kill();
    clock_was_ahead(hub.data_dir());
    hub.start();
    fill(&hub, "sized");
    assert_eq!(held(&status(&hub).unwrap(), 1), Some(Some("jumped".to_owned())));
    let text = said_by(&hub, &["cluster", "status"]);
    assert!(text.contains("hub 1's clock is held") && text.contains("cluster clock accept 1"), "{text}");
    wait::until("retention by size", RETAINED_WITHIN, || (start_of(&hub, "sized") > 0).then_some(()));
    assert_eq!(start_of(&hub, "aged"), 0, "that is looked after first");

    let text = said_by(&hub, &["cluster", "clock", "accept"]);
    assert!(text.contains("hub 1's clock is accepted as it is"), "{text}");
    assert_eq!(held(&status(&hub).unwrap(), 1), Some(None));
    wait::until("retention by time", RETAINED_WITHIN, || (start_of(&hub, "aged") == 100).then_some(()));
}

#[test]
fn a_hub_whose_clock_disagrees_is_released_when_most_hubs_clocks_agree_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::started(folder.path(), 3);
    cluster.nodes().for_each(|node| cluster.hub(node).kill());
    let data_dir = cluster.hub(3).data_dir().to_owned();
    clock_was_ahead(&data_dir);
    cluster.hub(3).spawn();
    wait::until("the clock to be held", SETTLED_WITHIN, || {
        cluster.hub(3).printed().contains("this hub's clock is held").then_some(())
    });
    cluster.hub(1).spawn();
    cluster.hub(2).spawn();
    wait::until("the clock to be believed", SETTLED_WITHIN, || {
        cluster.hub(3).printed().contains("this hub's clock is believed again").then_some(())
    });
    cluster.nodes().for_each(|node| cluster.hub(node).wait_ready());
    wait::until("all three to say so", SETTLED_WITHIN, || {
        let status = cluster.status()?;
        cluster.nodes().all(|node| held(&status, node) == Some(None)).then_some(())
    });
}
