//! Bits flip and files shrink while a program is down: damage is found, named with file and position, never served,
//! and what is not damaged is served.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use e2e::damage::{flip, frames, holding, manifests, partition_files, wal_files};
use e2e::values::{Produced, read_to_error, record};
use rdkafka::types::RDKafkaErrorCode;
use testkit::{Hub, kafka};

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

fn salvage(hub: &Hub, more: &[&str]) -> (Output, String) {
    let mut command = std::process::Command::new(testkit::binaries::path("hub-broker"));
    let output = command.arg("salvage").arg("--data-dir").arg(hub.data_dir()).args(more).output().unwrap();
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
    assert!(salvage(&hub, &["--yes"]).0.status.success());
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
