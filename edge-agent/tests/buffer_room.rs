//! What a buffer takes of the disk when it is made.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::world::block_on;
use common::{append, batch, open, options};
use edge_agent::buffer::{Buffer, BufferOptions};

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
