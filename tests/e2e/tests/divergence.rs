//! A hub that has stored something else than the others, with every checksum right, is found at a checkpoint, named, and
//! fetched again.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::damage::{exchange_in_wal, holding, wal_files};
use e2e::values::{Produced, record};
use testkit::{Cluster, Hub, wait};

/// Checkpoints are a minute apart.
const FOUND_WITHIN: Duration = Duration::from_secs(120);
const WITHIN: Duration = Duration::from_secs(30);
const TOPIC: &str = "readings";
const DIVERGENCE: &str = "headwater_replica_divergence_total";
const GIVEN_UP: &str = "headwater_replicas_given_up_total";

/// The segment files of a hub that hold these bytes; some may go meanwhile.
fn segments_with(hub: &Hub, text: &str) -> Vec<PathBuf> {
    let folders = fs::read_dir(hub.data_dir().join("log")).unwrap().map(|entry| entry.unwrap().path());
    let entries = folders.filter_map(|folder| unless_gone(fs::read_dir(folder))).flatten();
    let files = entries.filter_map(|entry| Some(unless_gone(entry)?.path()));
    let holds = |path: &Path| {
        unless_gone(fs::read(path))
            .is_some_and(|bytes| bytes.windows(text.len()).any(|it| it == text.as_bytes()))
    };
    files.filter(|path| path.extension().is_some_and(|it| it == "log") && holds(path)).collect()
}

fn unless_gone<T>(found: io::Result<T>) -> Option<T> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        found => Some(found.unwrap()),
    }
}

#[test]
fn a_replica_that_differs_is_named_with_shard_and_offset_counted_and_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::started(folder.path(), 3);
    cluster.create_topic(TOPIC, 1);
    let leader = wait::until("a leader", WITHIN, || cluster.leader(TOPIC, 0));
    let node = cluster.nodes().find(|node| *node != leader).unwrap();
    let produced = Produced::new(&cluster.brokers(), TOPIC);
    let (written, instead) = (record(0, 3), record(0, 3).replace("00003", "99993"));
    (0..5).for_each(|number| produced.send_one(0, &record(0, number)));
    let stored = |hub: &Hub, text: &str| !segments_with(hub, text).is_empty();
    wait::until("the hub to have it", WITHIN, || stored(cluster.hub(node), &record(0, 4)).then_some(()));

    cluster.hub(node).kill();
    let (file, _) = holding(&wal_files(cluster.hub(node).data_dir()), written.as_bytes());
    exchange_in_wal(&file, written.as_bytes(), instead.as_bytes());
    cluster.hub(node).start();
    wait::until("the hub to have the other", WITHIN, || stored(cluster.hub(node), &instead).then_some(()));
    assert_eq!(cluster.hub(node).metric(DIVERGENCE), Some(0.0), "nobody has compared it yet");

    produced.send_one(0, &record(0, 5));
    wait::until("the hub to be found", FOUND_WITHIN, || {
        cluster.hub(node).metric(DIVERGENCE).filter(|count| *count == 1.0)
    });
    let said = cluster.hub(node).printed();
    let alarm = said.lines().find(|line| line.contains("this replica differs from its leader's")).unwrap();
    let alarm: serde_json::Value = serde_json::from_str(alarm).unwrap();
    println!("{alarm}");
    assert_eq!(alarm["level"], "ERROR");
    assert!(alarm["shard"].is_u64() && alarm["offset"] == 6 && alarm["leaders_offset"] == 6, "{alarm}");
    assert_ne!(alarm["hash"], alarm["leaders_hash"], "{alarm}");

    wait::until("the replica to be given up", WITHIN, || {
        cluster.hub(node).metric(GIVEN_UP).filter(|count| *count == 1.0)
    });
    let said = cluster.hub(node).printed();
    assert!(said.contains("it is given up and fetched again"), "{said}");
    wait::until("what was stored to be there again", WITHIN, || {
        stored(cluster.hub(node), &written).then_some(())
    });
    cluster.wait_replicated();
    wait::until("what was not to be gone", WITHIN, || (!stored(cluster.hub(node), &instead)).then_some(()));
    for other in cluster.nodes().filter(|other| *other != node) {
        assert_eq!(cluster.hub(other).metric(DIVERGENCE), Some(0.0), "hub {other}");
        assert_eq!(cluster.hub(other).metric(GIVEN_UP), Some(0.0), "hub {other}");
    }
}
