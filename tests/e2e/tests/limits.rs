//! A hub that may have few files and sockets open: whoever takes them all neither ends it nor loses anything.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use e2e::producer::{NumberedProducer, numbers};
use testkit::{Hub, kafka, wait};

const WITHIN: Duration = Duration::from_secs(60);
const WAIT_FOR_A_PLACE: Duration = Duration::from_secs(5);
const OPEN_FILES: u32 = 256;
const PARTITIONS: i32 = 8;

fn hub_with_few_files(folder: &Path) -> Hub {
    let mut hub = Hub::new(folder).with_open_files_max(OPEN_FILES);
    hub.start();
    let partitions = PARTITIONS.to_string();
    let created = hub.tool(&["topic", "create", "orders", "--partitions", &partitions]).status().unwrap();
    assert!(created.success());
    hub
}

/// Sockets on which nothing is said, more than the hub can take: until it does not even let them wait.
fn idle_sockets(address: SocketAddr) -> Vec<TcpStream> {
    (0..300).map_while(|_| TcpStream::connect_timeout(&address, WAIT_FOR_A_PLACE).ok()).collect()
}

fn open_files(hub: &mut Hub) -> usize {
    fs::read_dir(format!("/proc/{}/fd", hub.process().unwrap().id())).unwrap().count()
}

/// Sends a thousand numbers, the thousands that are odd to the partitions of the second half.
fn send(producer: &NumberedProducer, thousand: i64) {
    let half = i64::from(PARTITIONS / 2);
    for number in thousand * 1000..(thousand + 1) * 1000 {
        let partition = number % half + half * (thousand % 2);
        producer.send(i32::try_from(partition).unwrap(), number);
    }
}

/// All of it was acknowledged, and is there once after a crash.
fn assert_all_there(mut hub: Hub, producer: &NumberedProducer, sent: i64) {
    assert!(hub.process().unwrap().is_running());
    assert_eq!(producer.outcomes.failed(), Vec::<i64>::new());
    hub.kill();
    hub.start();
    let messages = kafka::read_all(&hub.brokers(), "orders", WITHIN);
    let mut found: Vec<i64> = (0..PARTITIONS).flat_map(|partition| numbers(&messages, partition)).collect();
    found.sort_unstable();
    assert_eq!(found, (0..sent).collect::<Vec<_>>());
}

#[test]
fn idle_connections_leave_the_log_its_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = hub_with_few_files(folder.path());
    assert!(hub.printed().contains("lowers the number of connections"), "{}", hub.printed());
    let producer = NumberedProducer::new(&hub.brokers(), "orders");
    send(&producer, 0);
    producer.flush(WITHIN);
    let idle = [hub.mqtt, hub.kafka].map(idle_sockets);
    wait::until("connections to be refused", WITHIN, || {
        let printed = hub.printed();
        (printed.contains("too many MQTT") && printed.contains("too many Kafka")).then_some(())
    });
    // These partitions' files are not open yet.
    send(&producer, 1);
    producer.flush(WITHIN);
    assert!(open_files(&mut hub) < OPEN_FILES as usize);
    drop(idle);
    assert_all_there(hub, &producer, 2000);
}

#[test]
fn a_hub_without_descriptors_waits_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = hub_with_few_files(folder.path());
    let producer = NumberedProducer::new(&hub.brokers(), "orders");
    send(&producer, 0);
    producer.flush(WITHIN);
    let idle = idle_sockets(hub.http);
    wait::until("all descriptors to be taken", WITHIN, || {
        (open_files(&mut hub) >= OPEN_FILES as usize).then_some(())
    });
    send(&producer, 1);
    wait::until("a shard to wait", WITHIN, || {
        hub.printed().contains("the shard waits for room").then_some(())
    });
    // Those that have their files open go on, or are refused so that the producer tries again.
    send(&producer, 2);
    assert!(hub.process().unwrap().is_running());
    drop(idle);
    producer.flush(WITHIN);
    assert_all_there(hub, &producer, 3000);
}
