//! A stopped hub's segments, read from its data directory: not by the code that wrote them.
//!
//! A partition's directory is `log/TOPIC-INDEX` or `log/TOPIC-INDEX.gN`, of which the highest generation counts;
//! a segment's file is named by its base offset, and holds RecordBatches one after another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use schemas::RawBatch;

/// A partition on a disk: the topic's id and the index.
pub type PartitionName = String;

/// What a replica has of a batch: its base offset and the CRC-32C over all its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredBatch {
    pub base_offset: i64,
    pub crc: u32,
}

/// Every partition in a data directory with its batches in the order of the files.
///
/// # Panics
/// Where a file holds anything but whole batches whose own checksums are right.
pub fn partitions(data_dir: &Path) -> BTreeMap<PartitionName, Vec<StoredBatch>> {
    let mut newest: BTreeMap<PartitionName, (u32, PathBuf)> = BTreeMap::new();
    for entry in std::fs::read_dir(data_dir.join("log")).expect("a hub's log directory") {
        let path = entry.expect("a readable directory").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (partition, generation) = match name.rsplit_once(".g") {
            Some((partition, generation)) => (partition.to_owned(), generation.parse().expect("a number")),
            None => (name, 0),
        };
        let known = newest.entry(partition).or_insert((generation, path.clone()));
        if generation > known.0 {
            *known = (generation, path);
        }
    }
    newest.into_iter().map(|(partition, (_, directory))| (partition, batches(&directory))).collect()
}

fn batches(directory: &Path) -> Vec<StoredBatch> {
    let entries = std::fs::read_dir(directory).expect("a partition's directory");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable directory").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    files.iter().flat_map(|file| batches_of(file)).collect()
}

fn batches_of(file: &Path) -> Vec<StoredBatch> {
    let mut rest = Bytes::from(std::fs::read(file).expect("a readable segment"));
    let mut found = Vec::new();
    while !rest.is_empty() {
        let batch = RawBatch::split_first(&mut rest).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let batch = batch.unwrap_or_else(|| panic!("{file:?} ends within a batch"));
        batch.verify_crc().unwrap_or_else(|error| panic!("{file:?}: {error}"));
        found.push(StoredBatch {
            base_offset: batch.header().base_offset,
            crc: crc32c::crc32c(batch.bytes()),
        });
    }
    found
}

/// `whole` names the topics, by id, that nobody writes to any more: of those the replicas have the same batches. Of the
/// others, to which a hub that still ran may have written something, they have the same as far as the shorter goes.
///
/// # Panics
/// Where two replicas differ: names the partition and the first offset that is not the same.
pub fn assert_equal(
    replicas: &[(usize, BTreeMap<PartitionName, Vec<StoredBatch>>)],
    whole: &BTreeSet<String>,
) {
    let Some(((first, expected), others)) = replicas.split_first() else { return };
    for (node, found) in others {
        for (partition, batches) in expected {
            let Some(other) = found.get(partition) else {
                panic!("hub {node} has nothing of {partition}, hub {first} has {}", batches.len());
            };
            let differs = batches.iter().zip(other).find(|(one, other)| one != other);
            assert!(differs.is_none(), "{partition}: hub {first} and hub {node} differ: {differs:?}");
            let (one, other) = (batches.len(), other.len());
            let is_whole = partition.rsplit_once('-').is_some_and(|(topic, _)| whole.contains(topic));
            if is_whole {
                assert_eq!(one, other, "{partition}: hub {first} has {one} batches, hub {node} has {other}");
            }
        }
        assert_eq!(expected.len(), found.len(), "hubs {first} and {node} have the same partitions");
    }
}
