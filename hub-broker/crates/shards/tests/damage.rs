//! Bits that flip and files that shrink while the hub is down: found, named, and never served.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::*;
use partition_log::ReadError;
use schemas::Offset;
use shards::{Salvage, Shards};

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a file");
    bytes[at] ^= 0x10;
    fs::write(path, bytes).expect("written");
}

/// The files below a directory whose names end like this, sorted.
fn files(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn position_of(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

async fn stored_twice(dir: &Path, orderly: bool) {
    for value in [b'x', b'y'] {
        let shards = start(dir);
        open(&shards, 0).await;
        store(&shards, 0, value).await;
        if orderly {
            shards.shutdown().await;
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_in_an_acknowledged_frame_of_the_wal_keeps_the_hub_from_starting() {
    let dir = tempfile::tempdir().expect("a directory");
    stored_twice(dir.path(), false).await;
    let wal = files(&dir.path().join("wal"), "");
    let place = wal.iter().find_map(|path| {
        let at = position_of(&fs::read(path).expect("a file"), &[b'x'; 500])?;
        Some((path.clone(), at))
    });
    let (file, at) = place.expect("the batch is in the WAL");
    flip(&file, at + 100);
    let error = try_start(config(dir.path())).err().expect("refused").to_string();
    assert!(error.contains(&file.display().to_string()), "{error}");
    assert!(error.contains("damaged at"), "{error}");
    flip(&file, at + 100);
    assert_eq!(contents(&start(dir.path()), 0).len(), 2, "nothing was changed by the refusal");
}

/// Flips a bit of the batch of this value where it lies in the WAL.
fn damage_in_wal(dir: &Path, value: u8) {
    let place = files(&dir.join("wal"), "").into_iter().find_map(|path| {
        let at = position_of(&fs::read(&path).expect("a file"), &[value; 500])?;
        Some((path, at))
    });
    let (file, at) = place.expect("the batch is in the WAL");
    flip(&file, at + 100);
}

async fn store(shards: &Shards, index: i32, value: u8) {
    let mut builder = schemas::BatchBuilder::new(schemas::BuilderOptions {
        compression: schemas::Compression::None,
        ..Default::default()
    });
    builder.push(1, None, Some(&[value; 500]), &[]).expect("it fits");
    let batch = builder.finish().expect("a batch");
    shards.append_future(shard(index), append(index, batch)).await.expect("stored");
}

#[tokio::test]
async fn salvage_cuts_one_shard_behind_the_damage_and_keeps_the_rest() {
    let dir = tempfile::tempdir().expect("a directory");
    let shards = start(dir.path());
    open(&shards, 0).await;
    open(&shards, 1).await;
    for value in [b'p', b'q', b'r'] {
        store(&shards, 0, value).await;
        store(&shards, 1, value + 1).await;
    }
    assert!(Salvage::examine(dir.path()).is_err(), "not while a hub runs");
    drop(shards);
    assert!(Salvage::examine(dir.path()).expect("examined").is_none(), "nothing to salvage");
    // Only the first batch of partition 0 holds p.
    damage_in_wal(dir.path(), b'p');
    let before = fs::read_dir(dir.path().join("wal")).expect("a directory").count();
    let salvage = Salvage::examine(dir.path()).expect("examined").expect("damaged");
    let cut: Vec<u32> = salvage
        .groups
        .iter()
        .filter(|kept| kept.known_index > kept.through_index)
        .map(|kept| kept.group)
        .collect();
    assert_eq!(cut, [1], "only the group whose entry is damaged");
    let set_aside = salvage.set_aside.clone();
    drop(salvage);
    assert!(try_start(config(dir.path())).is_err(), "looking changes nothing");
    Salvage::examine(dir.path()).expect("examined").expect("damaged").carry_out().expect("salvaged");
    assert_eq!(fs::read_dir(&set_aside).expect("a directory").count(), before, "nothing is deleted");
    let shards = start(dir.path());
    assert_eq!(contents(&shards, 0).len(), 0, "partition 0 ends before the damage");
    assert_eq!(contents(&shards, 1).len(), 3);
    store(&shards, 0, b'y').await;
    store(&shards, 1, b'z').await;
    drop(shards);
    let shards = start(dir.path());
    assert_eq!((contents(&shards, 0).len(), contents(&shards, 1).len()), (1, 4));
}

#[tokio::test]
async fn salvage_goes_on_from_the_checkpoint_where_the_whole_log_is_unreadable() {
    let dir = tempfile::tempdir().expect("a directory");
    stored_twice(dir.path(), true).await;
    for file in files(&dir.path().join("wal"), "") {
        flip(&file, 20);
    }
    assert!(try_start(config(dir.path())).is_err());
    Salvage::examine(dir.path()).expect("examined").expect("damaged").carry_out().expect("salvaged");
    let shards = start(dir.path());
    assert_eq!(contents(&shards, 0).len(), 2, "the checkpoint holds everything");
    store(&shards, 0, b'z').await;
    drop(shards);
    assert_eq!(contents(&start(dir.path()), 0).len(), 3);
}

#[tokio::test]
async fn a_flipped_bit_in_a_segment_is_reported_and_not_served() {
    let dir = tempfile::tempdir().expect("a directory");
    stored_twice(dir.path(), true).await;
    let segment = &files(&dir.path().join("log"), ".log")[0];
    let at = position_of(&fs::read(segment).expect("a file"), &[b'x'; 500]).expect("the batch");
    flip(segment, at + 3);
    let shards = start(dir.path());
    let reader = shards.partition(partition(0)).expect("open");
    let read = reader.read(Offset(0), 1 << 20);
    let Err(ReadError::Damaged(damage)) = read else { panic!("{read:?}") };
    assert_eq!(&damage.file, segment);
    assert!(reader.read(Offset(1), 1 << 20).is_ok(), "the rest is served");
    shards.append_future(shard(0), append(0, batch(None, 1, 10))).await.expect("and appended to");
}

#[tokio::test]
async fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    let dir = tempfile::tempdir().expect("a directory");
    stored_twice(dir.path(), true).await;
    stored_twice(dir.path(), true).await;
    let group = dir.path().join("checkpoint").join("1");
    let mut manifests = files(&group, "");
    manifests.retain(|path| path.to_string_lossy().contains("manifest-"));
    let [older, newer] = &manifests[..] else { panic!("{manifests:?}") };
    flip(newer, 20);
    let shards = start(dir.path());
    assert_eq!(contents(&shards, 0).len(), 4, "the WAL has what the older checkpoint lacks");
    drop(shards);
    flip(older, 20);
    let error = try_start(config(dir.path())).err().expect("refused").to_string();
    assert!(error.contains("manifest-"), "{error}");
}

#[tokio::test]
async fn a_segment_cut_short_is_reported_and_its_rest_served() {
    let dir = tempfile::tempdir().expect("a directory");
    stored_twice(dir.path(), true).await;
    let segment = &files(&dir.path().join("log"), ".log")[0];
    let file = fs::File::options().write(true).open(segment).expect("a file");
    let length = file.metadata().expect("a length").len();
    file.set_len(length - 10).expect("cut");
    let shards = start(dir.path());
    let reader = shards.partition(partition(0)).expect("open");
    assert!(reader.read(Offset(0), 600).is_ok());
    let read = reader.read(Offset(1), 1 << 20);
    assert!(matches!(read, Err(ReadError::Damaged(_))), "{read:?}");
    assert_eq!(high_watermark(&shards, 0), 2, "no offset is given out twice");
}
