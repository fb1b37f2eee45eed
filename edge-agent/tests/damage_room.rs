//! A damaged buffer on a disk that has little room: what of it is kept, and what gives way.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
#[allow(dead_code, reason = "a part of it is used")]
#[path = "../../tests/testkit/src/disk.rs"]
mod disk;
#[allow(dead_code, reason = "a part of it is used")]
#[path = "../../tests/testkit/src/tools.rs"]
mod tools;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::world::block_on;
use common::{append, batch, items, noisy_batch, numbers, open, topic};
use disk::Disk;
use edge_agent::buffer::{Buffer, Content, durable};
use rustix::fs::{FallocateFlags, fallocate};
use schemas::RawBatch;

const MEBI: u64 = 1 << 20;
const CAP: u64 = 64 * MEBI;

async fn close(buffer: Buffer, dir: &Path) {
    buffer.close().await.unwrap();
    if let Some(closing) = heed::env_closing_event(dir.join("buffer").canonicalize().unwrap()) {
        closing.wait();
    }
}

fn take(path: &Path, bytes: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fallocate(File::create(path).unwrap(), FallocateFlags::empty(), 0, bytes).unwrap();
}

fn records(buffer: &Buffer) -> Vec<u64> {
    let batches = items(buffer, 1).into_iter().filter_map(|item| match item.content {
        Content::Batch(bytes) => Some(numbers(&RawBatch::parse(bytes).unwrap())),
        Content::Gap(_) => None,
        other => panic!("{other:?}"),
    });
    batches.flatten().collect()
}

/// Salvages a buffer of 18 MB on a disk with so much room.
fn salvages_with_free(bytes: u64) {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::memory(folder.path(), 48);
    let dir = disk.path().join("agent");
    block_on(async {
        let buffer = open(&dir, CAP, None);
        for number in 0..300 {
            append(&buffer, noisy_batch(number, 60_000)).await.unwrap();
        }
        close(buffer, &dir).await;
        fs::rename(dir.join("buffer"), dir.join("buffer.damaged")).unwrap();
        let stat = rustix::fs::statvfs(&dir).unwrap();
        take(&disk.path().join("ballast"), stat.f_bavail * stat.f_frsize - bytes);
        let buffer = open(&dir, CAP, None);
        assert_eq!(records(&buffer), (0..300).collect::<Vec<_>>());
        assert!(!dir.join("buffer.damaged").exists() && !dir.join("buffer.set-aside").exists());
        append(&buffer, noisy_batch(300, 60_000)).await.unwrap();
        close(buffer, &dir).await;
    });
}

#[test]
fn a_disk_without_room_for_both_files_loses_nothing() {
    if !tools::is_root("a_disk_without_room_for_both_files_loses_nothing") {
        return;
    }
    // Less than what is to be copied; than what a commit usually takes of it; than what is left free by others.
    for bytes in [14 * MEBI, 3 * MEBI, MEBI / 4] {
        salvages_with_free(bytes);
    }
}

/// What the damaged file took of the disk for growing is room; where there is none of it either, the agent says so.
#[test]
fn on_a_disk_without_any_room_a_damaged_buffer_takes_its_own_or_waits_for_some() {
    if !tools::is_root("on_a_disk_without_any_room_a_damaged_buffer_takes_its_own_or_waits_for_some") {
        return;
    }
    for has_own in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::memory(folder.path(), 16);
        let dir = disk.path().join("agent");
        block_on(async {
            let buffer = open(&dir, CAP, None);
            append(&buffer, batch(0..5, 0)).await.unwrap();
            close(buffer, &dir).await;
            fs::rename(dir.join("buffer"), dir.join("buffer.damaged")).unwrap();
            if !has_own {
                let file = File::options().write(true).open(dir.join("buffer.damaged/data.mdb")).unwrap();
                file.set_len(file.metadata().unwrap().len()).unwrap();
            }
            let ballast = disk.path().join("ballast");
            let stat = rustix::fs::statvfs(&dir).unwrap();
            take(&ballast, stat.f_bavail * stat.f_frsize);
            let opened = Buffer::open(&common::options(&dir, CAP, None));
            if !has_own {
                let error = opened.as_ref().err().unwrap().to_string();
                assert!(error.contains("buffer.damaged") && error.contains("make room"), "{error}");
                fs::remove_file(&ballast).unwrap();
            }
            let buffer = if has_own { opened.unwrap() } else { open(&dir, CAP, None) };
            assert_eq!(records(&buffer), [0, 1, 2, 3, 4]);
            close(buffer, &dir).await;
        });
    }
}

#[test]
fn what_was_set_aside_is_told_and_gives_way_to_the_buffer() {
    if !tools::is_root("what_was_set_aside_is_told_and_gives_way_to_the_buffer") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::memory(folder.path(), 48);
    let dir = disk.path().join("agent");
    block_on(async {
        let buffer = open(&dir, 20 * MEBI, None);
        assert_eq!(buffer.set_aside_bytes(), None);
        append(&buffer, batch(0..5, 0)).await.unwrap();
        close(buffer, &dir).await;
        take(&dir.join("buffer.set-aside/data.mdb"), 8 * MEBI);
        let buffer = open(&dir, 20 * MEBI, None);
        assert_eq!(buffer.set_aside_bytes(), Some(8 * MEBI), "there is room for both");
        close(buffer, &dir).await;
        take(&dir.join("buffer.set-aside/data.mdb"), 20 * MEBI);
        let buffer = open(&dir, 20 * MEBI, None);
        assert_eq!(buffer.set_aside_bytes(), None);
        assert!(!dir.join("buffer.set-aside").exists());
        assert_eq!(records(&buffer), [0, 1, 2, 3, 4]);
        close(buffer, &dir).await;
    });
}

/// The new buffer was whole when the power went; the damaged one stood beside it still.
#[test]
fn a_salvage_that_was_interrupted_at_its_very_end_leaves_nothing_behind_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path(), CAP, None);
        append(&buffer, batch(0..5, 0)).await.unwrap();
        close(buffer, folder.path()).await;
        take(&folder.path().join("buffer.damaged/data.mdb"), MEBI);
        let buffer = open(folder.path(), CAP, None);
        assert!(!folder.path().join("buffer.damaged").exists());
        assert_eq!((buffer.set_aside_bytes(), records(&buffer).len()), (Some(MEBI), 5));
        close(buffer, folder.path()).await;
    });
}

#[test]
fn what_a_salvage_has_copied_is_kept_where_its_check_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("agent");
    block_on(async {
        let buffer = open(&dir, CAP, None);
        for number in 0..300 {
            append(&buffer, batch(number..number + 1, 100)).await.unwrap();
        }
        close(buffer, &dir).await;
        // All of it was copied, and freed in the damaged file.
        fs::create_dir(dir.join("buffer.new")).unwrap();
        fs::copy(dir.join("buffer/data.mdb"), dir.join("buffer.new/data.mdb")).unwrap();
        fs::rename(dir.join("buffer"), dir.join("buffer.damaged")).unwrap();
        let damaged = File::options().write(true).open(dir.join("buffer.damaged/data.mdb")).unwrap();
        let length = damaged.metadata().unwrap().len();
        damaged.set_len(0).unwrap();
        damaged.set_len(length).unwrap();
        let buffer = open(&dir, CAP, Some(killed_checker(folder.path())));
        assert_eq!(records(&buffer), (0..300).collect::<Vec<_>>());
        close(buffer, &dir).await;
    });
}

/// A check that the kernel kills each time, as for want of memory. Another process writes it: one that this one forks
/// must not hold it open.
fn killed_checker(folder: &Path) -> PathBuf {
    let path = folder.join("check");
    let script = format!("printf '#!/bin/sh\\nkill -KILL $$\\n' > {0}; chmod +x {0}", path.display());
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    path
}

#[test]
fn however_many_batches_there_are_salvage_needs_no_more_memory() {
    const BATCHES: u64 = 300_000;
    // In KiB, of a program with the checks of a test build: an entry may not take 60 bytes of it.
    const DATA_KIBS: u64 = 16 << 10;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    block_on(async {
        let buffer = open(dir, 4 * CAP, None);
        let to = topic().into();
        let mut last = None;
        for number in 0..BATCHES {
            last = Some(buffer.append(&to, None, batch(number..number + 1, 0)).await.unwrap());
        }
        durable(last.unwrap()).await.unwrap();
        close(buffer, dir).await;
    });
    fs::rename(dir.join("buffer"), dir.join("buffer.damaged")).unwrap();
    fs::write(dir.join("device-id"), "pump-1\n").unwrap();
    let limited = format!("ulimit -d {DATA_KIBS}; exec \"$0\" status --json --data-dir \"$1\"");
    let mut command = Command::new("sh");
    let output = command.args(["-c", &limited, env!("CARGO_BIN_EXE_edge-agent")]).arg(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["buffer"]["records"], BATCHES);
}
