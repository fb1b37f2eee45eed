//! What of a replica is known to be damaged, from one start to the next: the file `checkpoint/G.damaged` of group G.
//!
//! ```text
//! headwater damaged files, format 1
//! replica N          the number of the replica that it is about
//! doubted GENERATION only where the replica, with its state of this generation, may not be what its group has
//! file PATH          below `log/`, rising; these are damaged
//! …
//! crc32c HEX
//! ```
//!
//! There is no file where nothing is damaged. It is written behind the state that it is about, and counts only as far as
//! that still needs the files. One that cannot be read says nothing: damage is found again by whoever reads it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::DataDirError;
use crate::text_file::{self, Kind, replace_file, sync_directory};

const KIND: Kind = Kind { title: "headwater damaged files", format: 1 };

/// Of one replica.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KnownDamage {
    pub replica_number: u32,
    pub files: BTreeSet<PathBuf>,
    /// The generation of the state that may not be what its group has.
    pub doubted: Option<u32>,
}

/// Beside the group's checkpoints.
fn file_of(checkpoint: &Path) -> PathBuf {
    checkpoint.with_extension("damaged")
}

/// The directory of the partitions' directories.
fn log_of(checkpoint: &Path) -> PathBuf {
    checkpoint.ancestors().nth(2).unwrap_or(checkpoint).join("log")
}

impl KnownDamage {
    /// Whether the state of this generation may not be what the group has.
    pub(crate) fn doubts(&self, generation: u32) -> bool {
        self.doubted == Some(generation)
    }

    fn is_empty(&self) -> bool {
        self.files.is_empty() && self.doubted.is_none()
    }

    /// What is known of the replica with this number, whose group's checkpoints lie there.
    pub(crate) fn read(checkpoint: &Path, replica_number: u32) -> Option<Self> {
        let file = file_of(checkpoint);
        let known = text_file::read(&file)
            .and_then(|bytes| bytes.map(|bytes| decode(&file, &log_of(checkpoint), &bytes)).transpose());
        let known = known.unwrap_or_else(|error| {
            tracing::warn!(%error, "what is damaged must be found anew");
            None
        });
        known.filter(|known| known.replica_number == replica_number)
    }

    /// Durable when this returns.
    pub(crate) fn write(&self, checkpoint: &Path) -> io::Result<()> {
        if self.is_empty() {
            return remove(checkpoint);
        }
        replace_file(&file_of(checkpoint), self.encode(&log_of(checkpoint)).as_bytes())
    }

    fn encode(&self, log: &Path) -> String {
        let mut lines = format!("replica {}\n", self.replica_number);
        // A string takes everything.
        if let Some(generation) = self.doubted {
            let _ = writeln!(lines, "doubted {generation}");
        }
        for file in &self.files {
            if let Some(path) = file.strip_prefix(log).ok().and_then(Path::to_str) {
                let _ = writeln!(lines, "file {path}");
            }
        }
        KIND.seal(&lines)
    }
}

pub(crate) fn remove(checkpoint: &Path) -> io::Result<()> {
    match fs::remove_file(file_of(checkpoint)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => checkpoint.parent().map_or(Ok(()), sync_directory),
    }
}

fn decode(file: &Path, log: &Path, bytes: &[u8]) -> Result<KnownDamage, DataDirError> {
    let lines = KIND.open(file, bytes)?;
    let what = "a line is no damaged file's";
    parse(lines, log).ok_or_else(|| DataDirError::Damaged { path: file.to_owned(), what })
}

fn parse(lines: &str, log: &Path) -> Option<KnownDamage> {
    let mut lines = lines.lines().peekable();
    let replica_number = lines.next()?.strip_prefix("replica ")?.parse().ok()?;
    let doubted = match lines.next_if(|line| line.starts_with("doubted ")) {
        Some(line) => Some(line.strip_prefix("doubted ")?.parse().ok()?),
        None => None,
    };
    let files = lines.map(|line| Some(log.join(line.strip_prefix("file ")?))).collect::<Option<_>>()?;
    Some(KnownDamage { replica_number, files, doubted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_stays_what_it_is() {
        let data = tempfile::tempdir().unwrap();
        let checkpoint = data.path().join("checkpoint/3");
        fs::create_dir_all(&checkpoint).unwrap();
        let files =
            ["t-0.g1/7-00000001.log", "t-1/0-00000000.log"].map(|name| data.path().join("log").join(name));
        let known = KnownDamage { replica_number: 9, files: files.into(), doubted: Some(1) };
        known.write(&checkpoint).unwrap();
        let golden = include_str!("../tests/golden/damaged-v1.txt");
        assert_eq!(fs::read_to_string(data.path().join("checkpoint/3.damaged")).unwrap(), golden);
        assert_eq!(KnownDamage::read(&checkpoint, 9), Some(known));
        assert_eq!(KnownDamage::read(&checkpoint, 10), None, "it is another replica");
        KnownDamage { replica_number: 9, ..KnownDamage::default() }.write(&checkpoint).unwrap();
        assert!(!data.path().join("checkpoint/3.damaged").exists());
        assert_eq!(KnownDamage::read(&checkpoint, 9), None);
    }

    #[test]
    fn a_list_that_cannot_be_read_says_nothing() {
        let data = tempfile::tempdir().unwrap();
        let checkpoint = data.path().join("checkpoint/3");
        fs::create_dir_all(&checkpoint).unwrap();
        let golden = include_bytes!("../tests/golden/damaged-v1.txt");
        for at in 0..golden.len() {
            let mut bytes = golden.to_vec();
            bytes[at] ^= 1;
            fs::write(data.path().join("checkpoint/3.damaged"), bytes).unwrap();
            assert_eq!(KnownDamage::read(&checkpoint, 9), None, "byte {at}");
        }
        for lines in [
            "",
            "replica x\n",
            "replica 9\nfile a\ndoubted 1\n",
            "replica 9\ndoubted\n",
            "replica 9\nother\n",
        ] {
            fs::write(data.path().join("checkpoint/3.damaged"), KIND.seal(lines)).unwrap();
            assert_eq!(KnownDamage::read(&checkpoint, 9), None, "{lines}");
        }
    }
}
