//! Kafka clients that are not ours, with their default settings: kcat, librdkafka and kafka-python.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message as _;
use testkit::{Hub, kafka, tools, wait};

const WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

fn kcat_produce(kcat: &std::path::Path, hub: &Hub, arguments: &[&str], lines: &str) {
    let mut child = Command::new(kcat)
        .args(["-P", "-b", &hub.brokers()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn kcat_consume(kcat: &std::path::Path, hub: &Hub, arguments: &[&str]) -> String {
    let output =
        Command::new(kcat).args(["-C", "-e", "-q", "-b", &hub.brokers()]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn kcat_reads_what_it_wrote_from_any_offset_with_every_compression() {
    let Some(kcat) = tools::find("kcat", "kcat writes and reads") else { return };
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    let lines: String = (0..1000).map(|n| format!("key{n}:value {n}\n")).collect();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("kcat-{codec}");
        kcat_produce(&kcat, &hub, &["-t", &topic, "-p", "0", "-K", ":", "-z", codec], &lines);
        let all = kcat_consume(&kcat, &hub, &["-t", &topic, "-p", "0", "-o", "beginning", "-K", ":"]);
        assert_eq!(all, lines, "{codec}");
        let tail = kcat_consume(&kcat, &hub, &["-t", &topic, "-p", "0", "-o", "990", "-f", "%o "]);
        assert_eq!(tail, "990 991 992 993 994 995 996 997 998 999 ", "{codec}");
    }
}

#[test]
fn kcat_finds_offsets_by_time() {
    let Some(kcat) = tools::find("kcat", "kcat asks for an offset by time") else { return };
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    kcat_produce(&kcat, &hub, &["-t", "timed", "-p", "0"], "first\n");
    let first = kafka::read_all(&hub.brokers(), "timed", WITHIN)[0].timestamp_ms.unwrap();
    wait::until("the clock to go on", WITHIN, || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        (now as i64 > first).then_some(())
    });
    kcat_produce(&kcat, &hub, &["-t", "timed", "-p", "0"], "second\n");
    let from = format!("s@{}", first + 1);
    assert_eq!(kcat_consume(&kcat, &hub, &["-t", "timed", "-p", "0", "-o", &from]), "second\n");
}

/// A member of a group.
fn member(hub: &Hub) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", hub.brokers())
        .set("group.id", "sharers")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "500")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    consumer.subscribe(&["shared"]).unwrap();
    consumer
}

fn owned(consumer: &BaseConsumer) -> BTreeSet<i32> {
    let assignment = consumer.assignment().unwrap();
    assignment
        .elements()
        .iter()
        .map(rdkafka::topic_partition_list::TopicPartitionListElem::partition)
        .collect()
}

#[test]
fn members_of_a_group_share_the_partitions_and_take_over_from_one_that_dies() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    assert!(hub.tool(&["topic", "create", "shared", "--partitions", "4"]).status().unwrap().success());
    let (first, second) = (member(&hub), member(&hub));
    wait::until("two partitions each", WITHIN, || {
        let _ = (first.poll(POLL), second.poll(POLL));
        let (a, b) = (owned(&first), owned(&second));
        (a.len() == 2 && b.len() == 2 && a.is_disjoint(&b)).then_some(())
    });
    drop(second);
    wait::until("all partitions with the one that is left", WITHIN, || {
        let _ = first.poll(POLL);
        (owned(&first).len() == 4).then_some(())
    });
}

#[test]
fn a_member_that_is_killed_loses_its_partitions_after_its_session() {
    let test = "a killed member of a group";
    let Some(kcat) = tools::find("kcat", test) else { return };
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    assert!(hub.tool(&["topic", "create", "shared", "--partitions", "4"]).status().unwrap().success());
    let first = member(&hub);
    let mut doomed = Command::new(kcat)
        .args(["-b", &hub.brokers(), "-q", "-X", "session.timeout.ms=6000", "-G", "sharers", "shared"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait::until("the partitions to be shared with kcat", WITHIN, || {
        let _ = first.poll(POLL);
        (owned(&first).len() == 2).then_some(())
    });
    doomed.kill().unwrap();
    doomed.wait().unwrap();
    wait::until("all partitions with the one that lives", WITHIN, || {
        let _ = first.poll(POLL);
        (owned(&first).len() == 4).then_some(())
    });
}

#[test]
fn a_group_goes_on_where_it_committed_also_after_the_hub_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::started(folder.path());
    assert!(hub.tool(&["topic", "create", "shared", "--partitions", "1"]).status().unwrap().success());
    let producer = e2e::producer::NumberedProducer::new(&hub.brokers(), "shared");
    (0..100).for_each(|n| producer.send(0, n));
    producer.flush(WITHIN);
    let read = |consumer: &BaseConsumer, count: usize| -> Vec<i64> {
        let mut found = Vec::new();
        wait::until("messages", WITHIN, || {
            if let Some(message) = consumer.poll(POLL) {
                let message = message.ok()?;
                found.push(message.offset());
            }
            (found.len() == count).then_some(())
        });
        found
    };
    let consumer = member(&hub);
    assert_eq!(read(&consumer, 40), (0..40).collect::<Vec<i64>>());
    let mut committed = rdkafka::TopicPartitionList::new();
    committed.add_partition_offset("shared", 0, rdkafka::Offset::Offset(40)).unwrap();
    consumer.commit(&committed, rdkafka::consumer::CommitMode::Sync).unwrap();
    drop(consumer);
    hub.kill();
    hub.start();
    assert_eq!(read(&member(&hub), 60), (40..100).collect::<Vec<i64>>());
    let described = hub.tool(&["group", "describe", "sharers"]).output().unwrap();
    let table = String::from_utf8_lossy(&described.stdout).into_owned();
    assert!(described.status.success() && table.contains("shared"), "{table}");
}

#[test]
fn a_producer_is_told_at_once_that_it_may_not_make_a_topic_of_the_hubs_own() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    let producer = e2e::producer::NumberedProducer::new(&hub.brokers(), "__own");
    producer.send(0, 1);
    wait::until("the refusal, long before the message's own timeout", WITHIN, || {
        (producer.outcomes.failed() == [1]).then_some(())
    });
}

const PYTHON: &str = r"
import inspect, sys
from kafka import KafkaProducer, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
server = sys.argv[1]
admin = KafkaAdminClient(bootstrap_servers=server)
admin.create_topics([NewTopic('py', num_partitions=2, replication_factor=1)])
producer = KafkaProducer(bootstrap_servers=server, acks='all', compression_type='gzip')
for n in range(200):
    producer.send('py', key=b'k%d' % n, value=b'v%d' % n, partition=n % 2, headers=[('h', b'x')])
producer.flush()
consumer = KafkaConsumer(bootstrap_servers=server, consumer_timeout_ms=8000)
consumer.assign([TopicPartition('py', 0)])
consumer.seek(TopicPartition('py', 0), 90)
tail = [(r.offset, r.value) for r in consumer]
assert tail == [(i, b'v%d' % (2 * i)) for i in range(90, 100)], tail
group = KafkaConsumer('py', bootstrap_servers=server, group_id='pygroup', auto_offset_reset='earliest', consumer_timeout_ms=8000)
values = sorted(int(r.value[1:]) for r in group)
assert values == list(range(200)), len(values)
group.commit()
group.close()
again = KafkaConsumer('py', bootstrap_servers=server, group_id='pygroup', auto_offset_reset='earliest', consumer_timeout_ms=5000)
assert [r for r in again] == []
assert set(admin.list_topics()) >= {'py'}
resource = ConfigResource(ConfigResourceType.TOPIC, 'py')
# kafka-python 3 leaves defaults out unless it is asked for all.
wants_all = {'config_filter': 'all'} if 'config_filter' in inspect.signature(admin.describe_configs).parameters else {}
described = str(admin.describe_configs([resource], **wants_all))
assert 'max.message.bytes' in described and 'retention.ms' in described, described
admin.delete_topics(['py'])
assert 'py' not in admin.list_topics()
print('good')
";

#[test]
fn kafka_python_creates_produces_consumes_commits_and_deletes() {
    let Some(python) = tools::python_with("kafka", "kafka-python's round") else { return };
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    let output = Command::new(python).args(["-c", PYTHON, &hub.brokers()]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "good", "{said}");
}
