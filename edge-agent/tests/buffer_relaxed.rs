//! `durability = relaxed`: a power cut loses what came after the last sync and nothing else, and says so.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use common::world::block_on;
use common::{append, batch, items, numbers, options};
use edge_agent::buffer::{
    Amendment, BootOffset, Buffer, BufferOptions, Content, Durability, Marks, NUMBER_STEP, durable,
};
use edge_agent::destination::{Destination, Priority};
use proptest::prelude::*;
use schemas::RawBatch;

const PAGE: usize = 4096;

fn open(folder: &Path) -> Buffer {
    let options = BufferOptions {
        durability: Durability::Relaxed,
        ..options(folder, 64 << 20, Some(env!("CARGO_BIN_EXE_edge-agent").into()))
    };
    Buffer::open(&options).unwrap()
}

fn data_file(folder: &Path) -> PathBuf {
    folder.join("buffer/data.mdb")
}

/// An amendment is durable when it is answered, and everything before it.
async fn sync(buffer: &Buffer) {
    let boot = uuid::Uuid::from_u128(rand::random());
    buffer
        .amend(Amendment::StampBoot(BootOffset { boot, offset_ms: 0, is_provisional: false }))
        .await
        .unwrap();
}

async fn append_some(buffer: &Buffer, numbers: std::ops::Range<u64>) {
    for n in numbers {
        // Small ones share pages, large ones have their own.
        append(buffer, batch(n..n + 1, if n % 3 == 0 { 6000 } else { 200 })).await.unwrap();
    }
}

async fn end(buffer: Buffer, folder: &Path) {
    let mut ended = buffer.subscribe();
    drop(buffer);
    while ended.changed().await.is_ok() {}
    if let Some(closing) = heed::env_closing_event(folder.join("buffer").canonicalize().unwrap()) {
        closing.wait();
    }
}

/// The power fails: of each page the disk has what was synced, or what was written since, as `choose` says. The boot
/// that comes is another one.
fn cut_power(folder: &Path, synced: &[u8], mut choose: impl FnMut(usize) -> bool) {
    let mut torn = fs::read(data_file(folder)).unwrap();
    for (page, kept) in synced.chunks(PAGE).enumerate() {
        if choose(page) {
            torn[page * PAGE..page * PAGE + kept.len()].copy_from_slice(kept);
        }
    }
    fs::write(data_file(folder), torn).unwrap();
    let marker = fs::read_to_string(folder.join("marker")).unwrap();
    let mut marker: serde_json::Value = serde_json::from_str(&marker).unwrap();
    assert!(marker["relaxed"].is_string());
    marker["relaxed"] = uuid::Uuid::from_u128(7).to_string().into();
    fs::write(folder.join("marker"), marker.to_string()).unwrap();
}

/// The numbers of all records, the streams, and how many gaps there are.
fn found(buffer: &Buffer) -> (Vec<u64>, HashSet<i64>, usize) {
    let items = items(buffer, 1);
    let data = items.iter().filter_map(|item| match &item.content {
        Content::Batch(bytes) => Some(numbers(&RawBatch::parse(bytes.clone()).unwrap())),
        _ => None,
    });
    let gaps = items.iter().filter(|item| matches!(item.content, Content::Gap(_))).count();
    (data.flatten().collect(), items.iter().map(|item| item.stored.0).collect(), gaps)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_mixture_of_pages_a_power_cut_leaves(
        synced in 1u64..60,
        later in 1u64..80,
        mixture in prop::collection::vec(any::<bool>(), 64),
    ) {
        let folder = tempfile::tempdir().unwrap();
        block_on(async {
            let buffer = open(folder.path());
            append_some(&buffer, 0..synced).await;
            sync(&buffer).await;
            let on_disk = fs::read(data_file(folder.path())).unwrap();
            append_some(&buffer, synced..synced + later).await;
            let before = found(&buffer).1;
            end(buffer, folder.path()).await;
            cut_power(folder.path(), &on_disk, |page| mixture[page % mixture.len()]);

            let inode = || fs::metadata(data_file(folder.path())).unwrap().ino();
            let cut = inode();
            let buffer = open(folder.path());
            assert_eq!(inode(), cut, "nothing is damaged");
            let (kept, _, gaps) = found(&buffer);
            assert_eq!(kept, (0..synced).collect::<Vec<_>>());
            assert_eq!(gaps, 1, "that something may be lost is said");
            append(&buffer, batch(1000..1001, 0)).await.unwrap();
            let open = buffer.snapshot().lanes[0].open.unwrap();
            assert!(!before.contains(&open), "no sequence is used twice");
        });
    }
}

#[test]
fn a_process_that_dies_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path());
        append_some(&buffer, 0..50).await;
        end(buffer, folder.path()).await;
        let (kept, _, gaps) = found(&open(folder.path()));
        assert_eq!((kept, gaps), ((0..50).collect(), 0));
    });
}

#[test]
fn a_clean_stop_syncs_everything() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path());
        append_some(&buffer, 0..50).await;
        buffer.close().await.unwrap();
        if let Some(closing) = heed::env_closing_event(folder.path().join("buffer").canonicalize().unwrap()) {
            closing.wait();
        }
        let marker = fs::read_to_string(folder.path().join("marker")).unwrap();
        assert!(marker.contains("\"clean\":true"));
        let (kept, _, gaps) = found(&open(folder.path()));
        assert_eq!((kept, gaps), ((0..50).collect(), 0));
    });
}

async fn append_read(buffer: &Buffer, number: u64, is_put_away: bool) {
    let destination = Destination { topic: common::topic(), priority: Priority::Telemetry };
    let marks = Marks { of_inputs: vec![("meter".to_owned(), number.to_string())], is_put_away };
    let answer = buffer.append_marked(&destination, None, batch(number..number + 1, 0), marks).await.unwrap();
    durable(answer).await.unwrap();
}

/// How many entries may be shipped.
fn shippable(buffer: &Buffer) -> u64 {
    let snapshot = buffer.snapshot();
    (snapshot.lanes[0].next - snapshot.lanes[0].first) / NUMBER_STEP
}

/// A power cut takes it back together with the mark, so it is read again and would be in the log twice.
#[test]
fn what_was_read_from_a_file_is_not_shipped_before_it_is_synced() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path());
        append(&buffer, batch(0..1, 0)).await.unwrap();
        append_read(&buffer, 1, false).await;
        append(&buffer, batch(2..3, 0)).await.unwrap();
        assert_eq!((shippable(&buffer), buffer.snapshot().records()), (1, 3));
        sync(&buffer).await;
        assert_eq!(shippable(&buffer), 3);
        append_read(&buffer, 3, false).await;
        let mut commits = buffer.subscribe();
        while shippable(&buffer) < 4 {
            commits.changed().await.unwrap();
        }
    });
}

#[test]
fn a_file_that_is_put_away_is_on_the_disk_before() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let buffer = open(folder.path());
        append_read(&buffer, 0, false).await;
        let before = fs::read(folder.path().join("synced")).unwrap();
        append_read(&buffer, 1, true).await;
        assert_eq!(shippable(&buffer), 2);
        let after = fs::read(folder.path().join("synced")).unwrap();
        assert_ne!(after, before);
        append_read(&buffer, 2, false).await;
        assert_eq!(fs::read(folder.path().join("synced")).unwrap(), after, "most of a file has time");
        buffer.sync().await.unwrap();
        assert_eq!(shippable(&buffer), 3);
        let synced = fs::read(folder.path().join("synced")).unwrap();
        assert_ne!(synced, after);
        buffer.sync().await.unwrap();
        assert_eq!(fs::read(folder.path().join("synced")).unwrap(), synced, "there was nothing to be synced");
    });
}

/// Pages are kept for the last sync, so much is written between two that the map would not hold it.
#[test]
fn a_flood_is_synced_before_the_map_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let cap = 4 << 20;
    block_on(async {
        let options = BufferOptions { durability: Durability::Relaxed, ..options(folder.path(), cap, None) };
        let buffer = Buffer::open(&options).unwrap();
        for n in 0..2000 {
            append(&buffer, common::noisy_batch(n, 30_000)).await.unwrap();
        }
        let snapshot = buffer.snapshot();
        assert!(snapshot.bytes > cap / 2 && snapshot.bytes <= cap);
        let counters = snapshot.counters;
        assert_eq!(counters.appended, counters.dropped + snapshot.records());
        assert!(fs::metadata(data_file(folder.path())).unwrap().len() <= cap / 3 * 4 + (9 << 20));
    });
}
