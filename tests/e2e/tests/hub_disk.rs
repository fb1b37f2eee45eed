//! A hub of several whose disk is in the way: with little room, or while it does not answer, the hub leaves what it leads
//! to others; one that fails, or does not answer for long, ends it; what cannot be read is fetched from others.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::numbered::assert_once_in_order;
use e2e::producer::{NumberedProducer, numbers};
use e2e::values::{Produced, read_to_error, record};
use rdkafka::types::RDKafkaErrorCode;
use rustix::process::Signal;
use testkit::cluster::Cluster;
use testkit::disk::Disk;
use testkit::{Hub, kafka, ports, strace, tools, wait};

const WITHIN: Duration = Duration::from_secs(90);
/// A hub gives up its disk after 30 s.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(60);
const SMALL_MEBIBYTES: u64 = 160;
/// A hub keeps 16 MiB and a file of its write-ahead log in reserve.
const LEFT_BYTES: u64 = 8 << 20;
const PARTITIONS: i32 = 12;
const TOPIC: &str = "orders";
/// Values of about 100 KiB each: more than fit into a segment of 1 MiB.
const COUNT: u32 = 25;
/// Of a hub's disk: for as long as strace is there.
const FOR_EVER: &str = "delay_enter=600000000";
/// Some election timeouts, on a busy machine.
const LEFT_WITHIN: Duration = Duration::from_secs(15);
/// With that, less than a hub waits for its disk.
const STAYS_AWAY: Duration = Duration::from_secs(8);
/// A cluster's shards and the metadata.
const GROUPS: f64 = 65.0;

/// Takes the room on the disk but for so many bytes.
fn fill_but_for(disk: &Disk, bytes: u64, name: &str) {
    let mut filler = File::create(disk.path().join(name)).unwrap();
    let left = || {
        let stat = rustix::fs::statvfs(disk.path()).unwrap();
        stat.f_bavail * stat.f_frsize
    };
    while left() > bytes {
        filler.write_all(&[1; 1 << 16]).unwrap();
    }
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    wait::until(what, WITHIN, || holds().then_some(()));
}

#[test]
fn a_hub_of_three_with_little_room_leaves_its_leads_to_the_others_until_it_has_more() {
    let test = "a hub of three with little room";
    if !tools::is_root(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::memory(folder.path(), SMALL_MEBIBYTES);
    let hubs = (1..=3).map(|node| {
        let home = folder.path().join(format!("hub-{node}"));
        fs::create_dir_all(&home).unwrap();
        let hub = Hub::new(&home).with_variable("HEADWATER_WAL_FILE_BYTES", "1048576");
        let hub = if node == 2 { hub.with_data_dir(&disk.path().join("hub")) } else { hub };
        (hub, ports::free())
    });
    let mut cluster = Cluster::of(hubs.collect());
    cluster.start();
    cluster.create_topic("orders", PARTITIONS as usize);
    let led_by_second = |cluster: &Cluster, topic: &str| {
        (0..PARTITIONS).filter(|partition| cluster.leader(topic, *partition) == Some(2)).count()
    };
    wait_for("the second hub to lead", || led_by_second(&cluster, "orders") > 0);

    fill_but_for(&disk, LEFT_BYTES, "filler");
    wait_for("the second hub to refuse appends", || {
        let metrics = cluster.hub(2).get("/metrics");
        metrics.is_some_and(|(_, body)| body.contains("headwater_disk_full 1\n"))
    });
    let goes_on = |cluster: &Cluster, topic: &str| {
        let producer = NumberedProducer::new(&cluster.brokers(), topic);
        (0..PARTITIONS).for_each(|partition| producer.send(partition, partition.into()));
        producer.flush(WITHIN);
        assert_eq!(producer.outcomes.failed(), Vec::<i64>::new());
    };
    goes_on(&cluster, "orders");
    assert_eq!(led_by_second(&cluster, "orders"), 0, "each is led where there is room");
    cluster.create_topic("more", PARTITIONS as usize);
    goes_on(&cluster, "more");

    fs::remove_file(disk.path().join("filler")).unwrap();
    wait_for("the second hub to lead again", || led_by_second(&cluster, "orders") > 0);
    goes_on(&cluster, "orders");
}

/// Sends numbers to every partition in turn, on and on.
struct Sending {
    producer: NumberedProducer,
    next: i64,
}

impl Sending {
    fn to(cluster: &Cluster) -> Self {
        Self { producer: NumberedProducer::new(&cluster.brokers(), TOPIC), next: 0 }
    }

    /// Another one to each partition.
    fn go_on(&mut self) {
        for _ in 0..PARTITIONS {
            self.producer.send((self.next % i64::from(PARTITIONS)) as i32, self.next);
            self.next += 1;
        }
    }

    fn answered(&self) {
        self.producer.flush(WITHIN);
        assert_eq!(self.producer.outcomes.failed(), Vec::<i64>::new());
    }

    /// Everything was acknowledged, and is there once and in order.
    fn assert_stored(&self, brokers: &str) {
        self.answered();
        let messages = kafka::read_all(brokers, TOPIC, WITHIN);
        for partition in 0..PARTITIONS {
            let sent: Vec<i64> = (partition.into()..self.next).step_by(PARTITIONS as usize).collect();
            assert_once_in_order(&numbers(&messages, partition), &sent, &[]);
        }
    }
}

fn leader(cluster: &Cluster) -> usize {
    wait::until("a leader", WITHIN, || cluster.leader(TOPIC, 0))
}

/// The line of its log that says which file of its own the disk has failed, and that it ends.
fn said_to_have_failed(hub: &Hub) -> bool {
    let own = hub.data_dir().display().to_string();
    let said = hub.printed();
    let words = [&own, "Input/output error", "aborting"];
    said.lines().any(|line| words.iter().all(|word| line.contains(word)))
}

#[test]
fn a_hub_of_three_whose_disk_fails_ends_itself_and_the_others_have_everything() {
    let test = "a hub whose disk fails";
    if !strace::can_inject(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::started(folder.path(), 3);
    cluster.create_topic(TOPIC, PARTITIONS as usize);
    let mut sending = Sending::to(&cluster);
    let log = folder.path().join("strace.log");
    for call in ["fdatasync", "pwritev"] {
        let node = leader(&cluster);
        (0..20).for_each(|_| sending.go_on());
        let begun = Instant::now();
        let failing = strace::inject(cluster.hub(node).process().unwrap(), call, "error=EIO", &[], &log);
        wait_for("the hub to end", || {
            sending.go_on();
            !cluster.hub(node).process().unwrap().is_running()
        });
        println!("hub {node} ended {:?} after {call} had begun to fail", begun.elapsed());
        drop(failing);
        let ended = cluster.hub(node).wait_end().unwrap();
        assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()), "{call}: {ended}");
        assert!(said_to_have_failed(cluster.hub(node)), "{call}: {}", cluster.hub(node).printed());
        sending.go_on();
        let others = cluster.nodes().find(|other| *other != node).unwrap();
        sending.assert_stored(&cluster.hub(others).brokers());
        println!("everything is stored on the others {:?} after that", begun.elapsed());
        cluster.hub(node).start();
        cluster.wait_replicated();
    }
    sending.assert_stored(&cluster.brokers());
}

#[test]
fn a_hub_that_cannot_sync_a_segment_when_it_is_stopped_says_so_and_has_everything_at_its_next_start() {
    let test = "a hub that cannot sync a segment";
    if !strace::can_inject(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::started(folder.path());
    let created = hub.tool(&["topic", "create", TOPIC, "--partitions", "1"]).status().unwrap();
    assert!(created.success());
    let producer = NumberedProducer::new(&hub.brokers(), TOPIC);
    (0..10).for_each(|number| producer.send(0, number));
    producer.flush(WITHIN);
    let segments = segments(&hub);
    let [segment] = &segments[..] else { panic!("not one segment: {segments:?}") };
    let log = folder.path().join("strace.log");
    let failing = strace::inject(hub.process().unwrap(), "fdatasync", "error=EIO", &[segment], &log);
    let ended = hub.stop().unwrap();
    drop(failing);
    assert_eq!(ended.signal(), Some(Signal::ABORT.as_raw()), "{ended}");
    assert!(said_to_have_failed(&hub), "{}", hub.printed());
    hub.start();
    let messages = kafka::read_all(&hub.brokers(), TOPIC, WITHIN);
    assert_once_in_order(&numbers(&messages, 0), &(0..10).collect::<Vec<_>>(), &[]);
}

/// The segment files of the topic's first partition that hold something, by name.
fn segments(hub: &Hub) -> Vec<PathBuf> {
    let folders = fs::read_dir(hub.data_dir().join("log")).unwrap().map(|entry| entry.unwrap().path());
    // Of whichever generation: `TOPIC-INDEX` or `TOPIC-INDEX.gN`.
    let own = folders.filter(|path| path.with_extension("").to_string_lossy().ends_with("-0"));
    let files = own.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let holds = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "log") && fs::metadata(path).unwrap().len() > 0
    };
    let mut files: Vec<_> = files.filter(holds).collect();
    files.sort();
    files
}

#[test]
fn what_a_disk_cannot_read_any_more_is_not_served_and_fetched_from_the_other_hubs() {
    let test = "a disk that cannot read";
    if !strace::can_inject(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::started(folder.path(), 3);
    let create = ["topic", "create", TOPIC, "--partitions", "1", "--config", "segment.bytes=1048576"];
    assert!(cluster.hub(1).tool(&create).status().unwrap().success());
    let produced = Produced::new(&cluster.brokers(), TOPIC);
    let text = |number: u32| record(0, number).repeat(300);
    (0..COUNT).for_each(|number| produced.send_one(0, &text(number)));
    cluster.wait_replicated();
    let node = leader(&cluster);
    let files = segments(cluster.hub(node));
    assert!(files.len() >= 2, "nothing is closed: {files:?}");
    let counted = |cluster: &mut Cluster, name: &str| cluster.hub(node).metric(name).unwrap();

    let before = fs::metadata(&files[0]).unwrap().ino();
    let log = folder.path().join("strace.log");
    let process = cluster.hub(node).process().unwrap();
    let failing = strace::inject(process, "pread64,read", "error=EIO", &[&files[0]], &log);
    let mut read = Vec::new();
    wait_for("everything to be read", || {
        let (values, error) = read_to_error(&cluster.brokers(), TOPIC, 0, read.len() as i64, WITHIN);
        assert!(matches!(error, None | Some(RDKafkaErrorCode::InvalidMessage)), "{error:?}");
        read.extend(values);
        read.len() == COUNT as usize
    });
    assert!(
        read.iter().zip(0..).all(|(value, number)| *value == text(number)),
        "what is read is what was written"
    );
    // On a disk it lies elsewhere than what cannot be read; strace goes by the name.
    wait_for("another file in its place", || fs::metadata(&files[0]).is_ok_and(|it| it.ino() != before));
    drop(failing);
    wait_for("the segment to be mended", || counted(&mut cluster, "headwater_segments_mended_total") >= 1.0);
    assert!(counted(&mut cluster, "headwater_log_damage_total") >= 1.0);
    assert!(counted(&mut cluster, "headwater_replica_damage_total") >= 1.0);
    assert!(counted(&mut cluster, "headwater_replicas_given_up_total") == 0.0);
    let (said, file) = (cluster.hub(node).printed(), files[0].display());
    assert!(said.contains(&format!("{file}: damaged at byte ")), "{said}");
    assert!(said.lines().any(|line| line.contains("the disk cannot read it")), "{said}");
    assert!(said.contains("a damaged segment is whole again"), "{said}");
}

#[test]
fn a_hub_of_three_whose_disk_hangs_leads_nothing_until_it_answers() {
    if strace::can_inject("a hub whose disk hangs") {
        leads_nothing_while_it_waits_for("fdatasync");
    }
}

#[test]
fn a_hub_of_three_that_hears_nothing_of_its_room_leads_nothing_until_it_does() {
    if strace::can_inject("a hub that hears nothing of its room") {
        leads_nothing_while_it_waits_for("statfs");
    }
}

fn leads_nothing_while_it_waits_for(call: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::started(folder.path(), 3);
    cluster.create_topic(TOPIC, PARTITIONS as usize);
    let mut sending = Sending::to(&cluster);
    (0..20).for_each(|_| sending.go_on());
    sending.answered();
    let node = leader(&cluster);
    let others: Vec<usize> = cluster.nodes().filter(|other| *other != node).collect();
    let led =
        |cluster: &mut Cluster, node: usize| cluster.hub(node).metric("headwater_groups_served").unwrap();
    assert!(led(&mut cluster, node) > 0.0);

    let log = folder.path().join("strace.log");
    let hanging = strace::inject(cluster.hub(node).process().unwrap(), call, FOR_EVER, &[], &log);
    let begun = Instant::now();
    sending.go_on();
    wait::until("the hub to lead nothing", LEFT_WITHIN, || (led(&mut cluster, node) == 0.0).then_some(()));
    println!("hub {node} leads nothing {:?} after its disk began to hang", begun.elapsed());
    wait::until("the others to lead everything", LEFT_WITHIN, || {
        let led: f64 = others.iter().map(|other| led(&mut cluster, *other)).sum();
        (led == GROUPS).then_some(())
    });
    println!("the others lead everything {:?} after that", begun.elapsed());
    sending.answered();
    println!("what was sent is acknowledged {:?} after that", begun.elapsed());
    let since = Instant::now();
    while since.elapsed() < STAYS_AWAY {
        sending.go_on();
        sending.answered();
        assert!(led(&mut cluster, node) == 0.0, "after {:?} it leads again", begun.elapsed());
    }
    hanging.kill();
    wait_for("the hub to lead again", || led(&mut cluster, node) > 0.0);
    cluster.wait_replicated();
    sending.go_on();
    sending.assert_stored(&cluster.brokers());
    assert!(cluster.hub(node).process().unwrap().is_running());
    assert!(cluster.hub(node).metric("headwater_replicas_given_up_total") == Some(0.0));
}

#[test]
fn a_hub_ends_whose_disk_does_not_answer_anybody() {
    let test = "a hub whose disk does not answer";
    if !strace::can_inject(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::started(folder.path());
    let created = hub.tool(&["topic", "create", "orders", "--partitions", "1"]).status().unwrap();
    assert!(created.success());
    let producer = NumberedProducer::new(&hub.brokers(), "orders");
    producer.send(0, 0);
    producer.flush(WITHIN);
    // Neither who writes hears of it any more, nor who looks whether there is room.
    let calls = "fdatasync,fsync,statfs,fstatfs";
    let log = folder.path().join("strace.log");
    let hanging = strace::inject(hub.process().unwrap(), calls, FOR_EVER, &[], &log);
    wait::until("the hub to give up", GIVEN_UP_WITHIN, || {
        producer.send(0, 1);
        hub.printed().contains("hub-broker: the disk does not answer").then_some(())
    });
    // Until then it holds the threads that wait.
    hanging.kill();
    assert!(!hub.wait_end().unwrap().success());
    hub.start();
    producer.flush(WITHIN);
    assert_eq!(producer.outcomes.failed(), Vec::<i64>::new());
}
