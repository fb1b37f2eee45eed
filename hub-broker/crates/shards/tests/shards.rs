//! The shards as everyone above sees them.

mod common;

use bytes::Bytes;
use common::*;
use schemas::{Offset, ShardId};
use shards::*;

#[tokio::test]
async fn a_batch_is_stored_and_read_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let shards = start(dir.path());
    open(&shards, 1).await;
    let sent = batch(None, 3, 10);
    let stored = shards.append_future(shard(1), append(1, sent)).await.expect("stored");
    assert_eq!((stored.base_offset, stored.last_offset, stored.duplicate), (Offset(0), Offset(2), false));
    let stored = shards.append_future(shard(1), append(1, batch(None, 2, 10))).await.expect("stored");
    assert_eq!((stored.base_offset, stored.last_offset), (Offset(3), Offset(4)));
    assert_eq!(contents(&shards, 1).iter().map(|(base, _)| *base).collect::<Vec<_>>(), [0, 3]);
    shards.shutdown().await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart_with_and_without_shutdown() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut producer = Producer::new(5);
    let mut expected = Vec::new();
    for orderly in [false, true, false, false, true] {
        let shards = start(dir.path());
        open(&shards, 0).await;
        assert_eq!(contents(&shards, 0), expected);
        for _ in 0..20 {
            shards.append_future(shard(0), append(0, producer.batch(2, 100))).await.expect("stored");
        }
        expected = contents(&shards, 0);
        if orderly {
            shards.shutdown().await;
        }
    }
    assert_eq!(expected.len(), 100);
}

#[tokio::test]
async fn a_batch_sent_twice_is_stored_once_even_across_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut producer = Producer::new(9);
    let sent = producer.batch(4, 50);
    let shards = start(dir.path());
    open(&shards, 2).await;
    shards.append_future(shard(2), append(2, sent.clone())).await.expect("stored");
    drop(shards);
    let shards = start(dir.path());
    let again = shards.append_future(shard(2), append(2, sent)).await.expect("a duplicate is fine");
    assert!(again.duplicate);
    assert_eq!((again.base_offset, again.last_offset), (Offset(0), Offset(3)));
    assert_eq!(high_watermark(&shards, 2), 4);
    let gap = batch(Some((9, 8)), 1, 5);
    let refused = shards.append_future(shard(2), append(2, gap)).await;
    assert!(matches!(refused, Err(AppendError::Sequence(SequenceError::OutOfOrder { .. }))), "{refused:?}");
}

#[tokio::test]
async fn many_appends_at_once_keep_their_order_and_are_each_answered() {
    let dir = tempfile::tempdir().expect("a directory");
    let shards = start(dir.path());
    for n in 0..8 {
        open(&shards, n).await;
    }
    let mut producers: Vec<_> = (0..8).map(Producer::new).collect();
    let mut answers = Vec::new();
    for round in 0..200 {
        for (n, producer) in (0..).zip(&mut producers) {
            let batch = producer.batch(1 + round % 3, 200);
            answers.push(shards.append_future(shard(n), append(n, batch)));
        }
    }
    for answer in answers {
        answer.await.expect("stored in order");
    }
    for (n, producer) in (0..).zip(&producers) {
        assert_eq!(high_watermark(&shards, n), i64::from(producer.next));
    }
    assert_eq!(shards.stats().queued_bytes, 0);
}

#[tokio::test]
async fn refusals_say_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let shards = start(dir.path());
    let unknown = shards.append_future(shard(3), append(3, batch(None, 1, 1))).await;
    assert_eq!(unknown, Err(AppendError::UnknownPartition));
    let nowhere = shards.append_future(ShardId(99), append(3, batch(None, 1, 1))).await;
    assert_eq!(nowhere, Err(AppendError::UnknownPartition));
    let cut = batch(None, 1, 100).slice(..80);
    assert_eq!(shards.append_future(shard(3), append(3, cut)).await, Err(AppendError::Malformed));
    let large = shards.append_future(shard(3), append(3, batch(None, 8, 700 << 10))).await;
    assert!(matches!(large, Err(AppendError::TooLarge { .. })), "{large:?}");
    let roll = PartitionCommand::Roll { partition: partition(3) };
    assert_eq!(shards.command(shard(3), roll).await, Err(CommandError::UnknownPartition));
    shards.clone().shutdown().await;
    let late = shards.append_future(shard(3), append(3, batch(None, 1, 1))).await;
    assert_eq!(late, Err(AppendError::Stopping));
}

#[tokio::test]
async fn more_than_the_bound_is_refused_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let shards = try_start(Config { queued_bytes_max: 10_000, ..config(dir.path()) }).expect("started");
    open(&shards, 0).await;
    let appends: Vec<_> =
        (0..50).map(|_| shards.append_future(shard(0), append(0, batch(None, 1, 2_000)))).collect();
    let (mut stored, mut refused) = (0, 0);
    for append in appends {
        match append.await {
            Ok(_) => stored += 1,
            Err(AppendError::Overloaded) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(stored >= 4 && refused > 0, "{stored} stored, {refused} refused");
    shards.append_future(shard(0), append(0, batch(None, 1, 2_000))).await.expect("there is room again");
}

#[tokio::test]
async fn the_metadata_machine_answers_and_survives() {
    let dir = tempfile::tempdir().expect("a directory");
    for orderly in [true, false, true] {
        let shards = start(dir.path());
        shards.propose_metadata(Bytes::from_static(b"note")).await.expect("applied");
        if orderly {
            shards.shutdown().await;
        }
    }
    let shards = start(dir.path());
    let notes = shards.propose_metadata(Bytes::from_static(b"?")).await.expect("applied");
    assert_eq!(notes, "note,note,note");
}

#[tokio::test]
async fn a_command_of_an_unknown_version_stops_its_group_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let shards = start(dir.path());
    open(&shards, 0).await;
    let unknown = shards.propose_metadata(Bytes::from_static(&[0xff])).await;
    assert_eq!(unknown, Err(ProposeError::Stopped));
    assert_eq!(shards.propose_metadata(Bytes::from_static(b"a")).await, Err(ProposeError::Stopped));
    shards.append_future(shard(0), append(0, batch(None, 1, 10))).await.expect("the shard goes on");
    shards.shutdown().await;
    let shards = start(dir.path());
    assert_eq!(shards.propose_metadata(Bytes::from_static(b"a")).await, Err(ProposeError::Stopped));
    assert_eq!(high_watermark(&shards, 0), 1);
}

#[tokio::test]
async fn a_closed_partition_is_gone_with_its_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let shards = start(dir.path());
    open(&shards, 0).await;
    open(&shards, 4).await;
    shards.append_future(shard(0), append(0, batch(None, 1, 10))).await.expect("stored");
    shards.shutdown().await;
    let shards = start(dir.path());
    shards.command(shard(0), PartitionCommand::Close { partition: partition(0) }).await.expect("closed");
    assert!(shards.partition(partition(0)).is_none());
    drop(shards);
    let shards = start(dir.path());
    assert!(shards.partition(partition(0)).is_none(), "closed is closed, also from the log alone");
    assert!(shards.partition(partition(4)).is_some());
    shards.shutdown().await;
    drop(start(dir.path()));
    let directories = std::fs::read_dir(dir.path().join("log")).expect("a directory").count();
    assert_eq!(directories, 1);
}

#[tokio::test]
async fn retention_moves_the_start_and_survives() {
    let dir = tempfile::tempdir().expect("a directory");
    let shards = start(dir.path());
    open(&shards, 0).await;
    for _ in 0..30 {
        shards.append_future(shard(0), append(0, batch(None, 1, 10_000))).await.expect("stored");
    }
    let keep = Retention { ms: None, bytes: Some(100_000) };
    let moved = shards.enforce_retention(shard(0), partition(0), keep).await.expect("applied");
    let start_offset = moved.expect("there was something to drop");
    assert!(start_offset > Offset(0));
    assert_eq!(shards.enforce_retention(shard(0), partition(0), keep).await, Ok(None));
    drop(shards);
    let shards = start(dir.path());
    assert_eq!(shards.partition(partition(0)).expect("open").log_start(), start_offset);
    assert_eq!(contents(&shards, 0).len(), 30 - usize::try_from(start_offset.0).expect("small"));
}
