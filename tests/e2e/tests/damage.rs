//! Bits flip and files shrink while a program is down: damage is found, named with file and position, never served,
//! and what is not damaged is served.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use e2e::damage::{flip, frames, holding, manifests, partition_files, wal_files};
use e2e::numbered::{assert_once_in_order, gaps, json_lines, large_json_lines, of_device};
use e2e::values::{Produced, read_to_error, record};
use rdkafka::types::RDKafkaErrorCode;
use testkit::{Agent, Cluster, Hub, kafka, ports, wait};

const WITHIN: Duration = Duration::from_secs(30);
const TOPIC: &str = "readings";

/// A hub with small write-ahead log files, and a topic of so many partitions.
fn hub_with_topic(folder: &Path, partitions: usize) -> Hub {
    let settings = folder.join("hub.toml");
    fs::write(&settings, "wal_file_bytes = 1048576\n").unwrap();
    let mut hub = Hub::new(folder).with_argument("--config").with_argument(settings.display().to_string());
    hub.start();
    let partitions = partitions.to_string();
    let created = hub.tool(&["topic", "create", TOPIC, "--partitions", &partitions]).status().unwrap();
    assert!(created.success());
    hub
}

/// Records of these numbers, each in a batch of its own.
fn produce(hub: &Hub, partition: i32, numbers: std::ops::Range<u32>) {
    let producer = Produced::new(&hub.brokers(), TOPIC);
    for number in numbers {
        producer.send_one(partition, &record(partition, number));
    }
}

/// All values of a partition, which must be readable to its end.
fn values(hub: &Hub, partition: i32) -> Vec<String> {
    let all = kafka::read_all(&hub.brokers(), TOPIC, WITHIN);
    let own = all.into_iter().filter(|message| message.partition == partition);
    own.map(|message| String::from_utf8(message.value).unwrap()).collect()
}

fn records(partition: i32, numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|number| record(partition, number)).collect()
}

/// Starts the hub and expects it to refuse; what it said last.
fn refusal(hub: &mut Hub) -> String {
    let before = hub.printed().len();
    hub.spawn();
    assert_eq!(hub.wait_end().unwrap().code(), Some(1));
    hub.printed().split_at(before).1.to_owned()
}

fn salvaging(hub: &Hub, more: &[&str]) -> Command {
    let mut command = Command::new(testkit::binaries::path("hub-broker"));
    command.arg("salvage").arg("--data-dir").arg(hub.data_dir()).args(more);
    command
}

fn salvage(hub: &Hub, more: &[&str]) -> (Output, String) {
    let output = salvaging(hub, more).output().unwrap();
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    (output, said)
}

/// Leaves files in the write-ahead log that were used before, so that old frames lie behind the new ones.
fn recycle_the_log(hub: &mut Hub) {
    let filler = "f".repeat(100_000);
    for _ in 0..3 {
        let producer = Produced::new(&hub.brokers(), TOPIC);
        for _ in 0..25 {
            producer.send_one(1, &filler);
        }
        hub.stop();
        hub.start();
    }
}

#[test]
fn a_torn_last_frame_is_cut_and_a_stale_one_behind_it_stays_dead() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = hub_with_topic(folder.path(), 2);
    recycle_the_log(&mut hub);
    produce(&hub, 0, 0..5);
    hub.kill();
    // The last record's frame is torn as when the power fails before it is acknowledged.
    let (file, at) = holding(&wal_files(hub.data_dir()), record(0, 4).as_bytes());
    let torn = frames(&file).into_iter().rfind(|frame| frame.position < at).unwrap();
    let behind: Vec<_> = frames(&file).into_iter().filter(|frame| frame.position > at).collect();
    assert!(behind.iter().any(|frame| frame.lsn < torn.lsn), "no old frame lies behind: {behind:?}");
    let end = behind.iter().filter(|frame| frame.lsn > torn.lsn).map(|frame| frame.end).max().unwrap();
    let zeros = vec![0; usize::try_from(end - at).unwrap()];
    File::options().write(true).open(&file).unwrap().write_all_at(&zeros, at).unwrap();
    hub.start();
    let said = hub.printed();
    let place = format!("{:?},\"position\":{}", file.display().to_string(), torn.position);
    assert!(said.contains(&place), "{place} is not in {said}");
    assert_eq!(values(&hub, 0), records(0, 0..4));
    let others = values(&hub, 1).len();
    assert_eq!(others, 75);
    produce(&hub, 0, 5..9);
    hub.kill();
    hub.start();
    assert_eq!(values(&hub, 0), records(0, [0, 1, 2, 3, 5, 6, 7, 8]));
    assert_eq!(values(&hub, 1).len(), others, "nothing old came back");
}

#[test]
fn damage_in_the_middle_of_the_log_keeps_the_hub_from_starting_until_it_is_salvaged() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = hub_with_topic(folder.path(), 3);
    (0..3).for_each(|partition| produce(&hub, partition, 0..20));
    let (output, said) = salvage(&hub, &["--yes"]);
    assert_eq!(output.status.code(), Some(2), "while the hub runs: {said}");
    assert!(said.contains("another hub is running"), "{said}");
    hub.kill();
    assert!(salvage(&hub, &[]).1.contains("nothing to salvage"));
    let (file, at) = holding(&wal_files(hub.data_dir()), record(1, 10).as_bytes());
    let damaged = frames(&file).into_iter().rfind(|frame| frame.position < at).unwrap();
    flip(&file, at);

    let said = refusal(&mut hub);
    let last = said.lines().last().unwrap();
    let wanted = [
        file.display().to_string(),
        format!("damaged at {}", damaged.position),
        format!("hub-broker salvage --data-dir {}", hub.data_dir().display()),
    ];
    wanted.iter().for_each(|words| assert!(last.contains(words), "{words:?} is not in {last:?}"));
    assert_eq!(said.lines().filter(|line| line.starts_with("hub-broker:")).count(), 1, "{said}");

    let (output, said) = salvage(&hub, &[]);
    assert!(output.status.success(), "{said}");
    for words in [&wanted[0], &wanted[1], "are cut", "wal-damaged-1", "Nothing was changed"] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    refusal(&mut hub);
    let damaged_bytes = fs::read(&file).unwrap();
    let (output, said) = salvage(&hub, &["--yes"]);
    assert!(output.status.success(), "{said}");
    let aside = hub.data_dir().join("wal-damaged-1").join(file.file_name().unwrap());
    assert_eq!(fs::read(aside).unwrap(), damaged_bytes, "set aside as it was");

    hub.start();
    assert_eq!(values(&hub, 0), records(0, 0..20));
    assert_eq!(values(&hub, 1), records(1, 0..10), "up to the damage");
    assert_eq!(values(&hub, 2), records(2, 0..20));
    (0..3).for_each(|partition| produce(&hub, partition, 30..33));
    hub.kill();
    hub.start();
    assert_eq!(values(&hub, 1), records(1, (0..10).chain(30..33)));
    assert_eq!(values(&hub, 2), records(2, (0..20).chain(30..33)));
}

#[test]
fn a_log_file_cut_short_is_refused_and_salvaged_up_to_where_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = hub_with_topic(folder.path(), 1);
    produce(&hub, 0, 0..10);
    hub.kill();
    let (file, at) = holding(&wal_files(hub.data_dir()), record(0, 7).as_bytes());
    File::options().write(true).open(&file).unwrap().set_len(at + 3).unwrap();
    let said = refusal(&mut hub);
    assert!(said.contains(&format!("{} is damaged at {}", file.display(), at + 3)), "{said}");
    // Whoever reads what it says may be gone.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = salvaging(&hub, &["--yes"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    hub.start();
    assert_eq!(values(&hub, 0), records(0, 0..7));
    produce(&hub, 0, 20..22);
    assert_eq!(values(&hub, 0), records(0, (0..7).chain(20..22)));
}

/// One way to damage a segment of ten batches so that the sixth cannot be read.
type Damaging = fn(log: &Path, index: &Path, partition: i32) -> PathBuf;

fn flip_record(log: &Path, _: &Path, partition: i32) -> PathBuf {
    flip(log, holding(&[log.to_owned()], record(partition, 5).as_bytes()).1);
    log.to_owned()
}

/// The leader epoch, in the bytes that the batch's own checksum leaves out.
fn flip_placement(log: &Path, _: &Path, partition: i32) -> PathBuf {
    let at = holding(&[log.to_owned()], record(partition, 5).as_bytes()).1;
    let bytes = fs::read(log).unwrap();
    let magic = (0..at as usize).rev().find(|at| bytes[*at] == 2 && bytes[at - 8..at - 6] == [0, 0]).unwrap();
    flip(log, magic as u64 - 1);
    log.to_owned()
}

fn cut_short(log: &Path, _: &Path, partition: i32) -> PathBuf {
    let at = holding(&[log.to_owned()], record(partition, 5).as_bytes()).1;
    File::options().write(true).open(log).unwrap().set_len(at + 5).unwrap();
    log.to_owned()
}

#[test]
fn a_damaged_segment_is_served_up_to_the_damage_and_behind_it() {
    let ways: [(&str, Damaging); 3] = [
        ("a flipped bit in a batch", flip_record),
        ("a flipped bit in a batch's first 21 bytes", flip_placement),
        ("a segment cut short", cut_short),
    ];
    let folder = tempfile::tempdir().unwrap();
    let mut hub = hub_with_topic(folder.path(), ways.len() + 1);
    (0..=ways.len() as i32).for_each(|partition| produce(&hub, partition, 0..10));
    hub.stop();
    let mut damaged = Vec::new();
    for (partition, (_, way)) in (0..).zip(&ways) {
        let (log, index) = partition_files(hub.data_dir(), partition);
        damaged.push(way(&log, &index, partition));
    }
    hub.start();
    for (partition, (way, _)) in (0..).zip(&ways) {
        let (read, error) = read_to_error(&hub.brokers(), TOPIC, partition, 0, WITHIN);
        assert_eq!(read, records(partition, 0..5), "{way}");
        assert_eq!(error, Some(RDKafkaErrorCode::InvalidMessage), "{way}");
        let file = damaged[partition as usize].display().to_string();
        let said = hub.printed();
        assert!(said.contains(&format!("{file}: damaged at byte")), "{way}: {said}");
        let from = if *way == "a segment cut short" { 10 } else { 6 };
        produce(&hub, partition, 10..12);
        let (read, error) = read_to_error(&hub.brokers(), TOPIC, partition, from, WITHIN);
        assert_eq!((read, error), (records(partition, from as u32..12), None), "{way}");
    }
    let sound = ways.len() as i32;
    let (read, error) = read_to_error(&hub.brokers(), TOPIC, sound, 0, WITHIN);
    assert_eq!((read, error), (records(sound, 0..10), None), "another partition");
    hub.kill();
    hub.start();
    assert_eq!(read_to_error(&hub.brokers(), TOPIC, 0, 0, WITHIN).0, records(0, 0..5), "found again");
    assert_eq!(read_to_error(&hub.brokers(), TOPIC, 2, 10, WITHIN).0, records(2, 10..12));
}

/// Whether the hub serves the metric with a value above 0.
fn counts(hub: &Hub, metric: &str) -> bool {
    hub.metric(metric).unwrap() > 0.0
}

#[test]
fn what_a_single_hub_has_of_a_damaged_segment_is_on_the_hubs_that_join_it_and_outlives_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = hub_with_topic(folder.path(), 1);
    produce(&first, 0, 0..10);
    first.stop();
    let (log, index) = partition_files(first.data_dir(), 0);
    flip_record(&log, &index, 0);
    let others = [2, 3].map(|node| {
        let home = folder.path().join(format!("hub-{node}"));
        fs::create_dir_all(&home).unwrap();
        (Hub::new(&home), ports::free())
    });
    let mut hubs = vec![(first, ports::free())];
    hubs.extend(others);
    let mut cluster = Cluster::of(hubs);
    cluster.start();
    wait::until("all three to tell of the damage", WITHIN, || {
        let status = cluster.status()?;
        let replicas = status["groups"].as_array()?.iter().filter_map(|group| group["replicas"].as_array());
        let damaged = replicas.flatten().filter(|replica| replica["damaged"] == true).count();
        (damaged == 3).then_some(())
    });
    let said = cluster.hub(2).tool(&["cluster", "status"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("hub 1 damaged; hub 2 damaged; hub 3 damaged"), "{said}");
    for node in [2, 3] {
        assert!(counts(cluster.hub(node), "headwater_replica_damage_total"), "hub {node}");
        wait::until("it is said to be kept", WITHIN, || {
            counts(cluster.hub(node), "headwater_replicas_kept_damaged_total").then_some(())
        });
    }
    cluster.hub(1).kill();
    let brokers = cluster.hub(2).brokers();
    let leader = || kafka::leader(&brokers, TOPIC, 0).filter(|leader| *leader != 1);
    wait::until("another hub to lead", WITHIN, leader);
    produce(cluster.hub(2), 0, 10..12);
    let (read, error) = read_to_error(&brokers, TOPIC, 0, 0, WITHIN);
    assert_eq!((read, error), (records(0, 0..5), Some(RDKafkaErrorCode::InvalidMessage)));
    let (read, error) = read_to_error(&brokers, TOPIC, 0, 6, WITHIN);
    assert_eq!((read, error), (records(0, 6..12), None));
}

#[test]
fn a_damaged_index_is_named_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = hub_with_topic(folder.path(), 3);
    (0..3).for_each(|partition| produce(&hub, partition, 0..10));
    hub.stop();
    let index = |partition| partition_files(hub.data_dir(), partition).1;
    let damaged = [index(0), index(1), index(2)];
    flip(&damaged[0], 16 + 4 * 32 + 9);
    flip(&damaged[1], 2);
    File::options().write(true).open(&damaged[2]).unwrap().set_len(100).unwrap();
    hub.start();
    for partition in 0..3 {
        assert_eq!(values(&hub, partition), records(partition, 0..10));
        let file = damaged[partition as usize].display().to_string();
        assert!(hub.printed().contains(&file), "{file}: {}", hub.printed());
        produce(&hub, partition, 10..12);
        assert_eq!(values(&hub, partition), records(partition, 0..12));
    }
}

#[test]
fn a_damaged_manifest_gives_way_to_the_one_before_and_without_that_the_hub_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = hub_with_topic(folder.path(), 4);
    (0..4).for_each(|partition| produce(&hub, partition, 0..10));
    hub.stop();
    hub.start();
    (0..4).for_each(|partition| produce(&hub, partition, 10..20));
    hub.stop();
    let groups: Vec<_> =
        manifests(hub.data_dir()).into_iter().filter(|manifests| manifests.len() == 2).collect();
    assert!(groups.len() > 4, "the partitions' groups and the metadata's: {groups:?}");
    groups.iter().for_each(|manifests| flip(&manifests[1], 21));
    hub.start();
    let said = hub.printed();
    for manifests in &groups {
        assert!(said.contains(&format!("{} is damaged at", manifests[1].display())), "{said}");
    }
    (0..4).for_each(|partition| assert_eq!(values(&hub, partition), records(partition, 0..20)));
    hub.kill();
    groups.iter().for_each(|manifests| flip(&manifests[0], 21));
    let said = refusal(&mut hub);
    assert!(said.lines().last().unwrap().contains("manifest-"), "{said}");
}

/// Damage to a buffer's file, given its length.
type BufferDamage = fn(file: &File, bytes: u64);

fn zero_a_page(file: &File, bytes: u64) {
    file.write_all_at(&[0; 4096], bytes / 4096 * 2 / 3 * 4096).unwrap();
}

fn garble_a_page(file: &File, bytes: u64) {
    file.write_all_at(&[0xa5; 4096], bytes / 4096 / 2 * 4096).unwrap();
}

fn zero_the_meta_pages(file: &File, _: u64) {
    file.write_all_at(&[0; 8192], 0).unwrap();
}

const BUFFER_DAMAGES: [(&str, BufferDamage); 5] = [
    ("a truncated file", |file, bytes| file.set_len(bytes * 2 / 3).unwrap()),
    ("a zeroed page", zero_a_page),
    ("a garbage page", garble_a_page),
    ("zeroed meta pages", zero_the_meta_pages),
    ("a flipped bit", |file, bytes| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, bytes / 2 + 77).unwrap();
        file.write_all_at(&[byte[0] ^ 8], bytes / 2 + 77).unwrap();
    }),
];

/// Starts it and waits until it has its buffer open: what it finds there stands in its own log then.
fn start_agent(agent: &mut Agent) {
    let starts = |agent: &Agent| agent.printed().matches("the agent runs").count();
    let before = starts(agent);
    agent.start();
    wait::until("the agent to run", WITHIN, || (starts(agent) > before).then_some(()));
}

fn wait_shipped(agent: &mut Agent, what: &str) {
    wait::until("the agent's buffer to be empty", WITHIN, || {
        assert!(agent.process().unwrap().is_running(), "{what}: the agent ended: {}", agent.printed());
        (agent.buffered_records()? == 0).then_some(())
    });
}

/// Ships a part, buffers more with no hub, damages the buffer, and ships what is left.
fn damaged_buffer(what: &str, damage: BufferDamage, is_clean: bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::started(folder.path());
    let mut agent = Agent::new(folder.path(), "meter-1", &hub.mqtt_url());
    start_agent(&mut agent);
    (0..3).for_each(|n| drop(agent.ingest_lines(&large_json_lines(n * 300..(n + 1) * 300))));
    wait_shipped(&mut agent, what);
    hub.kill();
    for n in 3..10 {
        assert!(agent.ingest_lines(&large_json_lines(n * 300..(n + 1) * 300)).status.success());
    }
    if is_clean {
        assert_eq!(agent.stop().unwrap().code(), Some(0));
    } else {
        agent.kill();
    }
    let path = agent.data_dir().join("buffer/data.mdb");
    let file = File::options().read(true).write(true).open(&path).unwrap();
    damage(&file, file.metadata().unwrap().len());
    hub.start();
    start_agent(&mut agent);
    wait_shipped(&mut agent, what);
    assert_eq!(agent.ingest_lines(&json_lines(5000..5100)).status.code(), Some(0), "{what}");
    wait_shipped(&mut agent, what);
    let messages = kafka::read_all(&hub.brokers(), "telemetry", WITHIN);
    let found = of_device(&messages, "meter-1");
    let certain: Vec<i64> = (0..900).chain(5000..5100).collect();
    assert_once_in_order(&found, &certain, &(900..3000).collect::<Vec<_>>());
    let (known, unknown) = gaps(&messages, "meter-1");
    let said = found.len() as u64 + known == 3100 || unknown > 0;
    println!(
        "{what}, clean {is_clean}: {} found, {known} known missing, {unknown} gaps of unknown size",
        found.len()
    );
    assert!(said, "{what}, clean {is_clean}: {} of 3100 are accounted for", found.len() as u64 + known);
    if found.len() < 3100 {
        let said = agent.printed();
        let named = said
            .lines()
            .any(|line| line.contains("the buffer is damaged") && line.contains("meter-1/buffer"));
        assert!(named, "{what}, clean {is_clean}: {said}");
    }
}

#[test]
fn a_damaged_buffer_is_found_after_a_kill_and_what_is_left_is_shipped() {
    BUFFER_DAMAGES.iter().for_each(|(what, damage)| damaged_buffer(what, *damage, false));
}

#[test]
fn a_damaged_buffer_is_found_after_a_clean_stop_and_what_is_left_is_shipped() {
    BUFFER_DAMAGES.iter().for_each(|(what, damage)| damaged_buffer(what, *damage, true));
}
