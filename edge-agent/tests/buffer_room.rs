//! What a buffer takes of the disk when it is made.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;

use common::world::block_on;
use common::{append, batch, options};
use edge_agent::buffer::{Buffer, BufferOptions};

const CAP: u64 = 12 << 20;

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
