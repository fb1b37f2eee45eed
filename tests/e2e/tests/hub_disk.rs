//! A hub of several whose disk is in the way: with little room it leaves what it leads to others, and one that does not
//! answer ends it.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use e2e::producer::NumberedProducer;
use testkit::cluster::Cluster;
use testkit::disk::Disk;
use testkit::{Hub, Process, ports, tools, wait};

const WITHIN: Duration = Duration::from_secs(40);
/// A hub gives up its disk after 30 s.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(60);
const SMALL_MEBIBYTES: u64 = 160;
/// A hub keeps 16 MiB and a file of its write-ahead log in reserve.
const LEFT_BYTES: u64 = 8 << 20;
const PARTITIONS: i32 = 12;

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

#[test]
fn a_hub_ends_whose_disk_does_not_answer_anybody() {
    let test = "a hub whose disk does not answer";
    let Some(strace) = tools::find("strace", test).filter(|_| tools::is_root(test)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::started(folder.path());
    let created = hub.tool(&["topic", "create", "orders", "--partitions", "1"]).status().unwrap();
    assert!(created.success());
    let producer = NumberedProducer::new(&hub.brokers(), "orders");
    producer.send(0, 0);
    producer.flush(WITHIN);
    let pid = hub.process().unwrap().id().to_string();
    // Neither who writes hears of it any more, nor who looks whether there is room.
    let calls = "fdatasync,fsync,statfs,fstatfs";
    let mut command = Command::new(strace);
    command.args(["-f", "-p", &pid, "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    command.args(["-e", &format!("inject={calls}:delay_enter=600000000")]);
    let hanging = Process::start("strace", &mut command, &folder.path().join("strace.log"));
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
