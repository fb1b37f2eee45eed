//! A hub that was away for longer than what the others have in memory.

use super::*;

const BATCH_BYTES: usize = 256 << 10;
/// More than idle groups' entries hold on to.
const BATCHES: usize = 160;

fn keeping(config: Config) -> Config {
    Config { checkpoint_bytes: 2 << 20, wal_keep_bytes: 256 << 20, ..config }
}

fn keeping_nothing(config: Config) -> Config {
    Config { checkpoint_bytes: 2 << 20, wal_keep_bytes: 0, ..config }
}

/// A hub is away while 40 MiB are written at the others, then it comes back and gets them. Returns it and the leader.
async fn away_and_back(tune: fn(Config) -> Config) -> (Cluster, u32, u32) {
    let mut cluster = Cluster::of_three_with(tune).await;
    open(cluster.shards(1), 0).await;
    let mut producer = Producer::new(5);
    append_surely(cluster.shards(1), 0, producer.batch(1, 100)).await;
    cluster.agreed(0, 1).await;
    let leader = cluster.leader_of(0).await;
    // One that has copied a snapshot when it joined, and may be found to have copied another.
    let away = (2..=3).find(|node| *node != leader).expect("a follower");
    cluster.kill(away).await;
    let group = group(shard(0));
    let is_missed = || async {
        let status = cluster.shards(leader).status().await;
        let progress = status.into_iter().filter(|it| it.group == group).flat_map(|it| it.progress);
        progress.into_iter().any(|it| it.id.node() == away && !it.recently_active)
    };
    eventually("it is missed", is_missed).await;
    for _ in 0..BATCHES {
        append_surely(cluster.shards(leader), 0, producer.batch(1, BATCH_BYTES)).await;
    }
    assert_eq!(cluster.leader_of(0).await, leader);
    cluster.start(away).await;
    cluster.agreed(0, BATCHES + 1).await;
    (cluster, away, leader)
}

/// Directories of partitions in which the hub put a second snapshot.
fn second_snapshots(cluster: &Cluster, node: u32) -> usize {
    let entries = std::fs::read_dir(cluster.dir(node).join("log")).expect("a directory");
    entries
        .filter(|entry| entry.as_ref().is_ok_and(|it| it.path().extension() == Some("g2".as_ref())))
        .count()
}

fn wal_files(cluster: &Cluster, node: u32) -> usize {
    std::fs::read_dir(cluster.dir(node).join("wal")).expect("a directory").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_sent_what_the_log_was_kept_for_and_then_the_log_goes() {
    let (cluster, away, leader) = away_and_back(keeping).await;
    assert_eq!(second_snapshots(&cluster, away), 0);
    // Those in use, the next one, and a few to be used again.
    eventually("the log is let go", || async { wal_files(&cluster, leader) <= 9 }).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_log_is_not_kept_it_copies_a_snapshot() {
    let (cluster, away, _) = away_and_back(keeping_nothing).await;
    assert_eq!(second_snapshots(&cluster, away), 1);
    cluster.stop_all().await;
}
