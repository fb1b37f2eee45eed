//! A disk that forgets a bit.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use schemas::PartitionId;

/// Flips a bit of a value that lies in the partition's segments below this data directory.
pub fn spoil(data_dir: &Path, partition: PartitionId, value: &str) {
    let name = format!("{}-{}", partition.topic.0, partition.index.0);
    // One that came with a snapshot has that snapshot's number for an extension.
    let directories = entries(&data_dir.join("log")).into_iter();
    let own = directories.filter(|path| path.file_stem().is_some_and(|stem| stem == name.as_str()));
    let segments = own.flat_map(|directory| entries(&directory));
    let place = segments.filter(|path| path.extension().is_some_and(|it| it == "log")).find_map(|path| {
        let bytes = fs::read(&path).unwrap();
        let at = bytes.windows(value.len()).position(|window| window == value.as_bytes())?;
        Some((path, at, bytes[at]))
    });
    let (path, at, byte) = place.expect("the value is in a segment");
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[byte ^ 0x10], at as u64).unwrap();
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}
