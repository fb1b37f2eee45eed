//! What was given up at a start is kept until its successor has everything.
//!
//! At a start nobody can be asked for leave (see `leave`): a replica that cannot go on is given up by what its last
//! checkpoint says of the group, and the others may turn out to be gone. So its files are set aside:
//!
//! ```text
//! given-up/G/            is there before the replica of group G is given up: its files are to be kept
//! given-up/G/checkpoint/ its checkpoints
//! given-up/G/…           the directories of its partitions
//! given-up/unnamed/      directories of partitions whose groups' checkpoints cannot be read
//! ```
//!
//! Nothing reads them. They are removed when a snapshot of the group has been installed here, or when the group has all its
//! replicas on other hubs and none of these knows of damage, which is for whoever knows the other hubs to find out.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::text_file::sync_directory;

const DIRECTORY: &str = "given-up";
const CHECKPOINT: &str = "checkpoint";
const UNNAMED: &str = "unnamed";

pub(crate) struct Aside {
    dir: PathBuf,
}

impl Aside {
    /// `data`: the hub's data directory.
    pub(crate) fn of(data: &Path, group: u32) -> Self {
        Self { dir: data.join(DIRECTORY).join(group.to_string()) }
    }

    /// Of the group whose checkpoints lie there.
    pub(crate) fn of_checkpoint(checkpoint: &Path) -> Option<Self> {
        let (data, group) = (checkpoint.parent()?.parent()?, checkpoint.file_name()?);
        Some(Self { dir: data.join(DIRECTORY).join(group) })
    }

    /// What is removed of the group's replica from now on is kept here. Durable when this returns.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let above = self.dir.ancestors().skip(1).take(2);
        above.into_iter().try_for_each(sync_directory)
    }

    pub(crate) fn is_prepared(&self) -> bool {
        self.dir.is_dir()
    }

    /// Takes a partition's directory in.
    pub(crate) fn take(&self, directory: &Path) -> io::Result<()> {
        match directory.file_name() {
            Some(name) => take_as(&self.dir, directory, name),
            None => Ok(()),
        }
    }

    /// Takes the replica's checkpoints in, when its partitions are here.
    pub(crate) fn take_checkpoint(&self, directory: &Path) -> io::Result<()> {
        take_as(&self.dir, directory, OsStr::new(CHECKPOINT))
    }

    /// The group's next replica has everything.
    pub(crate) fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.dir)?;
        let Some(all) = self.dir.parent() else { return Ok(()) };
        let names = fs::read_dir(all)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        if names.iter().all(|name| name == UNNAMED) { fs::remove_dir_all(all) } else { Ok(()) }
    }
}

/// The groups of which something is kept.
pub(crate) fn groups(data: &Path) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(data.join(DIRECTORY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// Takes in the directory of a partition that nobody can say the group of.
pub(crate) fn take_unnamed(data: &Path, directory: &Path) -> io::Result<()> {
    let Some(name) = directory.file_name() else { return Ok(()) };
    let unnamed = data.join(DIRECTORY).join(UNNAMED);
    fs::create_dir_all(&unnamed)?;
    take_as(&unnamed, directory, name)
}

/// What is here already is of the one that was given up first; a later one that had everything has removed it.
fn take_as(dir: &Path, directory: &Path, name: &OsStr) -> io::Result<()> {
    let place = dir.join(name);
    let done = if place.exists() { fs::remove_dir_all(directory) } else { fs::rename(directory, &place) };
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        done => done?,
    }
    sync_directory(dir)?;
    directory.parent().map_or(Ok(()), sync_directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(path: &Path) -> PathBuf {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("file"), path.display().to_string()).unwrap();
        path.to_owned()
    }

    #[test]
    fn what_was_given_up_first_is_kept_until_the_last_group_is_whole_again() {
        let data = tempfile::tempdir().unwrap();
        let (data, all) = (data.path(), data.path().join(DIRECTORY));
        let asides = [3, 5].map(|group| Aside::of(data, group));
        assert!(!asides[0].is_prepared() && groups(data).unwrap().is_empty());
        for aside in &asides {
            aside.prepare().unwrap();
        }
        let (checkpoint, partition) = (data.join("checkpoint/3"), data.join("log/p-0"));
        let same = Aside::of_checkpoint(&checkpoint).unwrap();
        assert!(same.is_prepared());
        for _ in 0..2 {
            same.take(&directory(&partition)).unwrap();
            same.take_checkpoint(&directory(&checkpoint)).unwrap();
            assert!(!checkpoint.exists() && !partition.exists());
        }
        same.take(&partition).unwrap();
        take_unnamed(data, &directory(&data.join("log/p-1"))).unwrap();
        assert!(all.join("3/p-0/file").exists() && all.join("3/checkpoint/file").exists());
        let mut kept = groups(data).unwrap();
        kept.sort_unstable();
        assert_eq!(kept, [3, 5]);
        asides[0].remove().unwrap();
        assert!(!asides[0].is_prepared() && all.join("unnamed/p-1/file").exists());
        asides[1].remove().unwrap();
        assert!(!all.exists());
    }
}
