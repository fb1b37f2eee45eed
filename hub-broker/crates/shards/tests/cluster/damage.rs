//! A hub that finds damage in what it has stored gives its replica up; the others have everything.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::*;
use crate::hubs::*;

const GROUP: u32 = 1;

/// Flips a bit in the first file whose name ends like this and that holds 500 of these bytes.
fn flip(dir: &Path, end: &str, byte: u8) {
    let place =
        files(dir).into_iter().filter(|path| path.to_string_lossy().ends_with(end)).find_map(|path| {
            let bytes = fs::read(&path).expect("a file");
            let at = bytes.windows(500).position(|window| window == [byte; 500])?;
            Some((path, bytes, at))
        });
    let (path, mut bytes, at) = place.expect("the batch is there");
    bytes[at + 100] ^= 0x10;
    fs::write(path, bytes).expect("written");
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

/// One hub of three has stored these two, and is down.
async fn of_three_with(cluster: &mut Cluster, orderly: bool) -> u32 {
    open(cluster.shards(1), 0).await;
    // Records are filled with the letter of their place.
    for _ in 0..2 {
        append_surely(cluster.shards(1), 0, batch(None, 2, 1_000)).await;
    }
    cluster.agreed(0, 2).await;
    let node = cluster.other_than_leader(0).await;
    match orderly {
        true => cluster.stop(node).await,
        false => cluster.kill(node).await,
    }
    node
}

/// The replica is lost, and only that one; it is replaced, and everything is there again.
async fn is_given_up_and_replaced(mut cluster: Cluster, node: u32) {
    let lost = cluster.shards(node).lost_replicas();
    eventually("the replica is given up", || async { !lost.borrow().is_empty() }).await;
    let lost = lost.borrow().clone();
    assert_eq!(lost.iter().map(|(group, _)| *group).collect::<Vec<_>>(), [GROUP]);
    append_surely(cluster.shards(node), 0, batch(None, 1, 50)).await;
    cluster.replace(GROUP, lost[0].1).await;
    cluster.agreed(0, 3).await;
    assert!(cluster.shards(node).lost_replicas().borrow().is_empty());
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_frame_of_the_wal_that_is_damaged_costs_the_replica_that_wrote_it() {
    let mut cluster = Cluster::of_three().await;
    let node = of_three_with(&mut cluster, false).await;
    flip(&cluster.dir(node).join("wal"), "", b'a');
    cluster.start(node).await;
    assert!(cluster.dir(node).join("wal-damaged-1").is_dir(), "the damaged log is set aside");
    is_given_up_and_replaced(cluster, node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_is_cut_short_costs_the_replica_that_has_it() {
    let mut cluster = Cluster::of_three().await;
    let node = of_three_with(&mut cluster, true).await;
    let log = files(&cluster.dir(node).join("log"))
        .into_iter()
        .find(|path| path.extension().is_some_and(|it| it == "log"));
    let log = fs::File::options().write(true).open(log.expect("a segment")).expect("opened");
    log.set_len(700).expect("cut");
    cluster.start(node).await;
    is_given_up_and_replaced(cluster, node).await;
}
