//! What a buffer takes of the disk when it is made, and what it owes when that is full.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[allow(dead_code, reason = "a part of it is used")]
#[path = "../../tests/testkit/src/disk.rs"]
mod disk;
#[allow(dead_code, reason = "a part of it is used")]
#[path = "../../tests/testkit/src/tools.rs"]
mod tools;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::world::block_on;
use common::{append, batch, items, noisy_batch, open, options};
use disk::Disk;
use edge_agent::buffer::{Buffer, BufferOptions, Content};
use rustix::fs::{FallocateFlags, fallocate};

const CAP: u64 = 12 << 20;
/// More than half of what is free on most disks.
const LARGE_CAP: u64 = 512 << 30;

async fn close(buffer: Buffer, folder: &Path) {
    buffer.close().await.unwrap();
    if let Some(closing) = heed::env_closing_event(folder.join("buffer").canonicalize().unwrap()) {
        closing.wait();
    }
}

#[test]
fn a_new_buffer_takes_all_that_it_will_ever_need_at_once() {
    for is_preallocated in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        block_on(async {
            let options = BufferOptions { is_preallocated, ..options(folder.path(), CAP, None) };
            let buffer = Buffer::open(&options).unwrap();
            append(&buffer, batch(0..5, 100)).await.unwrap();
            let file = fs::metadata(folder.path().join("buffer/data.mdb")).unwrap();
            let takes_all = file.blocks() * 512 >= CAP / 3 * 4;
            assert_eq!(takes_all, is_preallocated, "{} blocks", file.blocks());
            assert!(file.len() < 1 << 20, "what is read of it is what was written");
        });
    }
}

#[test]
fn a_buffer_to_which_nothing_was_committed_is_as_good_as_new() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let mut caps = Vec::new();
        for records in [0, 0, 5, 0] {
            let buffer = open(folder.path(), LARGE_CAP, None);
            caps.push(buffer.snapshot().cap_bytes);
            if records > 0 {
                append(&buffer, batch(0..records, 0)).await.unwrap();
            }
            close(buffer, folder.path()).await;
        }
        let stat = rustix::fs::statvfs(folder.path()).unwrap();
        let size = stat.f_blocks * stat.f_frsize;
        assert!(caps.iter().all(|cap| *cap <= size / 2), "{caps:?} of {size}");
        assert_eq!(caps[2], caps[3], "from its first commit on it stays");
    });
}

/// Fills what is left of the disk.
fn fill(disk: &Disk) -> PathBuf {
    let ballast = disk.path().join("ballast");
    let stat = rustix::fs::statvfs(disk.path()).unwrap();
    let file = File::create(&ballast).unwrap();
    fallocate(file, FallocateFlags::empty(), 0, stat.f_bavail * stat.f_frsize).unwrap();
    ballast
}

/// How many records could not be taken.
async fn overfill(buffer: &Buffer) -> u64 {
    let (mut stored, mut refused) = (0, 0);
    for number in 5..40 {
        match append(buffer, noisy_batch(number, 200_000)).await {
            Ok(_) => stored += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 10, "{stored} found room");
    refused
}

/// Ends it as a kill does.
async fn kill(buffer: Buffer, folder: &Path) {
    let closing = heed::env_closing_event(folder.join("buffer").canonicalize().unwrap());
    drop(buffer);
    tokio::task::spawn_blocking(move || closing.map(|closing| closing.wait())).await.unwrap();
}

fn gaps(buffer: &Buffer) -> usize {
    items(buffer, 1).into_iter().filter(|item| matches!(item.content, Content::Gap(_))).count()
}

/// Has a buffer that was closed owe a gap, as one that was closed on a full disk.
fn owe(folder: &Path, records: u32) {
    let path = folder.join("marker");
    let mut marker: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!((&marker["owed"], &marker["clean"]), (&serde_json::json!([]), &true.into()));
    let destination = serde_json::json!({"topic": common::topic(), "priority": "telemetry"});
    let lost =
        serde_json::json!({"destination": destination, "records": records, "times": null, "marks": []});
    marker["owed"] = serde_json::json!([lost]);
    fs::write(&path, marker.to_string()).unwrap();
}

#[test]
fn what_is_owed_is_said_once_whenever_the_agent_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    block_on(async {
        for dir in [&first, &second] {
            let buffer = open(dir, CAP, None);
            append(&buffer, batch(0..5, 0)).await.unwrap();
            close(buffer, dir).await;
            owe(dir, 7);
        }
        // Of a start that was killed before it was said, there is what it wrote about itself.
        let buffer = open(&first, CAP, None);
        fs::copy(first.join("marker"), second.join("marker")).unwrap();
        kill(buffer, &first).await;
        for dir in [&first, &second, &first, &second, &second] {
            let buffer = open(dir, CAP, None);
            append(&buffer, batch(40..42, 0)).await.unwrap();
            assert_eq!((gaps(&buffer), buffer.snapshot().counters.dropped), (1, 7));
            kill(buffer, dir).await;
        }
    });
}

#[test]
fn what_was_owed_and_said_is_not_said_again_after_more_was_owed() {
    let test = "what was owed and said";
    if !tools::is_root(test) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::memory(folder.path(), 8);
    let dir = disk.path().join("agent");
    block_on(async {
        let buffer = open(&dir, CAP, None);
        append(&buffer, batch(0..5, 0)).await.unwrap();
        close(buffer, &dir).await;
        owe(&dir, 7);
        let buffer = open(&dir, CAP, None);
        append(&buffer, batch(40..42, 0)).await.unwrap();
        let ballast = fill(&disk);
        let refused = overfill(&buffer).await;
        fs::remove_file(&ballast).unwrap();
        append(&buffer, batch(42..44, 0)).await.unwrap();
        let dropped = buffer.snapshot().counters.dropped;
        assert_eq!(dropped, 7 + refused);
        kill(buffer, &dir).await;
        let buffer = open(&dir, CAP, None);
        append(&buffer, batch(44..46, 0)).await.unwrap();
        assert_eq!(buffer.snapshot().counters.dropped, dropped);
        kill(buffer, &dir).await;
    });
}

#[test]
fn what_a_full_disk_could_not_take_is_said_after_a_stop_and_while_more_is_measured() {
    let test = "what a full disk could not take";
    if !tools::is_root(test) {
        return;
    }
    for is_stopped in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::memory(folder.path(), 8);
        let dir = disk.path().join("agent");
        block_on(async {
            let mut buffer = open(&dir, CAP, None);
            append(&buffer, batch(0..5, 0)).await.unwrap();
            let ballast = fill(&disk);
            let refused = overfill(&buffer).await;
            if is_stopped {
                close(buffer, &dir).await;
                fs::remove_file(&ballast).unwrap();
                buffer = open(&dir, CAP, None);
            } else {
                fs::remove_file(&ballast).unwrap();
            }
            append(&buffer, batch(40..42, 0)).await.unwrap();
            assert_eq!(gaps(&buffer), 1, "stopped: {is_stopped}");
            assert_eq!(buffer.snapshot().counters.dropped, refused, "stopped: {is_stopped}");
            close(buffer, &dir).await;
        });
    }
}
