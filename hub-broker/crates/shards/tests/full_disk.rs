//! A full disk: appends are refused, reads go on, and so does the hub when there is room again.

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::*;
use shards::*;

#[tokio::test]
async fn below_the_reserve_appends_are_refused_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let shards = start(dir.path());
    open(&shards, 0).await;
    open(&shards, 4).await;
    shards.append_future(shard(0), append(0, batch(None, 1, 10))).await.expect("stored");
    shards.shutdown().await;
    let full = Config { reserve_bytes: u64::MAX / 4, ..config(dir.path()) };
    let shards = try_start(full).expect("a full disk does not keep a hub from starting");
    assert!(shards.stats().disk_full);
    let refused = shards.append_future(shard(0), append(0, batch(None, 1, 10))).await;
    assert_eq!(refused, Err(AppendError::NoSpace));
    let open = PartitionCommand::Open { partition: partition(1), options: LogOptions::default() };
    assert_eq!(shards.command(shard(1), open).await, Err(CommandError::NoSpace));
    assert_eq!(contents(&shards, 0).len(), 1, "reads go on");
    // What frees room is let through.
    shards.command(shard(0), PartitionCommand::Close { partition: partition(4) }).await.expect("closed");
    shards.propose_metadata(bytes::Bytes::from_static(b"delete a topic")).await.expect("applied");
}

/// A file system of its own, gone with this value.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let option = format!("size={size}");
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &option, "tmpfs"]).arg(dir.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut ballast = fs::File::create(self.path().join("ballast")).expect("a file");
        for bytes in [1 << 16, 1 << 12, 1] {
            while ballast.write_all(&vec![1; bytes]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.path().join("ballast")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

#[tokio::test]
async fn a_shard_waits_for_room_and_goes_on_by_itself() {
    let Some(disk) = SmallDisk::mount("48m") else {
        return eprintln!("skipped: this user may not mount a tmpfs");
    };
    let config = || Config { reserve_bytes: 0, ..config(&disk.path().join("data")) };
    let shards = try_start(config()).expect("started");
    open(&shards, 0).await;
    let mut producer = Producer::new(3);
    for _ in 0..10 {
        shards.append_future(shard(0), append(0, producer.batch(1, 1_000))).await.expect("stored");
    }
    disk.fill();
    // The WAL's files are there already; what does not fit is the segment.
    let mut waiting = Vec::new();
    let refused = loop {
        let batch = producer.batch(1, 4_000);
        let mut answer = Box::pin(shards.append_future(shard(0), append(0, batch)));
        match tokio::time::timeout(Duration::from_millis(500), &mut answer).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => break error,
            Err(_) => waiting.push(answer),
        }
    };
    assert_eq!(refused, AppendError::NoSpace);
    assert!(!waiting.is_empty(), "an entry was committed that cannot be applied");
    assert_eq!(shards.stats().paused_shards, 1);
    let before = contents(&shards, 0);
    assert!(before.len() >= 10, "reads go on");
    disk.make_room();
    for answer in waiting {
        let stored = tokio::time::timeout(Duration::from_secs(20), answer).await.expect("it goes on");
        stored.expect("what was accepted is stored");
    }
    let resumed = async {
        // Refused until the next look at the disk.
        while shards.append_future(shard(0), append(0, batch(None, 1, 10))).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), resumed).await.expect("appends are taken again");
    let after = contents(&shards, 0);
    assert!(after.starts_with(&before), "nothing has changed");
    drop(shards);
    let shards = try_start(config()).expect("started");
    assert_eq!(contents(&shards, 0), after);
    shards.shutdown().await;
}
