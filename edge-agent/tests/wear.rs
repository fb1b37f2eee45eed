//! A year of appends to a full buffer: the map is never full, and the file grows no more.
//!
//! `WEAR_COMMITS` says how many there are; a million is a year at two a minute.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::fs;
use std::path::Path;

use common::world::block_on;
use common::{append, items, noisy_batch, open};
use edge_agent::buffer::Buffer;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const COMMITS: u64 = 50_000;
const CAP: u64 = 16 << 20;
const LARGEST: usize = 64 << 10;

/// Mostly small, some large, some of any size.
fn size(random: &mut StdRng) -> usize {
    match random.gen_range(0..10) {
        0..=5 => random.gen_range(0..500),
        6..=8 => random.gen_range(0..6000),
        _ => random.gen_range(0..LARGEST),
    }
}

/// Now and then a hub comes and takes some.
async fn trim_some(buffer: &Buffer, random: &mut StdRng) {
    let first = buffer.snapshot().lanes[0].first;
    let some = buffer.reader().read(1, first..u64::MAX, usize::MAX, random.gen_range(1..200)).unwrap();
    buffer.trim(1, some.last().unwrap().number, Vec::new(), true).await.unwrap();
}

#[test]
fn a_year_of_appends_at_the_cap_neither_fills_the_map_nor_grows_the_file() {
    let commits = std::env::var("WEAR_COMMITS").map_or(COMMITS, |text| text.parse().unwrap());
    let memory = Path::new("/dev/shm");
    let folder = if memory.exists() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let mut random = StdRng::seed_from_u64(1);
    block_on(async {
        let buffer = open(folder.path(), CAP, None);
        let file_bytes = || fs::metadata(folder.path().join("buffer/data.mdb")).unwrap().len();
        let mut is_full = false;
        let mut bytes_of_half = 0;
        for number in 0..commits {
            append(&buffer, noisy_batch(number, size(&mut random))).await.unwrap();
            let bytes = buffer.snapshot().bytes;
            is_full |= bytes > CAP - 2 * LARGEST as u64;
            // A full map would show here: a sixteenth is dropped at once to make room in it.
            assert!(!is_full || bytes > CAP / 100 * 96, "{bytes} bytes after {number} commits");
            assert!(bytes <= CAP);
            if number == commits / 2 {
                bytes_of_half = file_bytes();
            }
            if random.gen_bool(0.0005) {
                trim_some(&buffer, &mut random).await;
                is_full = false;
            }
        }
        let bytes = file_bytes();
        println!("{commits} commits, a file of {bytes} bytes, {bytes_of_half} at half of them");
        assert!(bytes <= CAP / 3 * 4 + (9 << 20), "the file has {bytes} bytes");
        assert!(bytes <= bytes_of_half / 10 * 11, "{bytes_of_half} bytes have become {bytes}");
        let counters = buffer.snapshot().counters;
        assert_eq!(counters.appended, commits);
        assert_eq!(counters.appended, counters.acknowledged + counters.dropped + buffer.snapshot().records());
        assert!(!items(&buffer, 1).is_empty());
    });
}
