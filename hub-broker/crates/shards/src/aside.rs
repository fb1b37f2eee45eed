//! What was given up at a start is kept until its successor has everything.
//!
//! At a start nobody can be asked for leave (see `leave`): a replica that cannot go on is given up by what its last
//! checkpoint says of the group, and the others may turn out to be gone. So its files are set aside:
//!
//! ```text
//! given-up/G/            is there before the replica of group G is given up: its files are to be kept
//! given-up/G/checkpoint/ its checkpoints
//! given-up/G/…           the directories of its partitions
//! given-up/G.kept-N/     the same, of a replica whose successor here has everything but what came damaged; N from 1
//! given-up/unnamed/      directories of partitions whose groups' checkpoints cannot be read
//! ```
//!
//! Nothing reads them but a copy that meets segments which nobody else has whole. `given-up/G/` is removed when a snapshot of
//! the group has been installed here that is whole, and is kept under its other name where that is not. The rest is removed
//! when the group has all its replicas, here or elsewhere, and none of these knows of damage: which is for whoever knows
//! the other hubs to find out.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::text_file::sync_directory;

const DIRECTORY: &str = "given-up";
const CHECKPOINT: &str = "checkpoint";
const UNNAMED: &str = "unnamed";
const KEPT: &str = "kept-";

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

    /// The group's next replica has everything but what came damaged, and that may be here: it is kept whatever becomes of
    /// this replica. Returns where; durable then.
    pub(crate) fn keep(&self) -> io::Result<PathBuf> {
        let mut names = (1..u32::MAX).map(|number| self.dir.with_extension(format!("{KEPT}{number}")));
        let kept = names.find(|path| !path.exists()).ok_or(io::ErrorKind::StorageFull)?;
        fs::rename(&self.dir, &kept)?;
        self.dir.parent().map_or(Ok(()), sync_directory)?;
        Ok(kept)
    }

    /// The group's next replica has everything.
    pub(crate) fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.dir)?;
        let Some(all) = self.dir.parent() else { return Ok(()) };
        if names(all)?.iter().all(|name| name == UNNAMED) { fs::remove_dir_all(all) } else { Ok(()) }
    }

    /// The directories in which the partition's segments may lie, of whatever generation. `partition` is the first
    /// generation's.
    pub(crate) fn directories_of(&self, partition: &Path) -> Vec<PathBuf> {
        let group = self.dir.file_name().and_then(OsStr::to_str).and_then(group_of);
        let all = self.dir.parent().and_then(|all| Some((all, names(all).ok()?)));
        let (Some((group, _)), Some((all, names_of_all))) = (group, all) else { return Vec::new() };
        let may_have = names_of_all.iter().filter(|name| is_of(name, group) || *name == UNNAMED);
        let within = may_have.map(|name| all.join(name)).flat_map(|dir| {
            let names = names(&dir).unwrap_or_default();
            names.into_iter().map(move |name| dir.join(name))
        });
        let mut found: Vec<PathBuf> = within.filter(|dir| dir.file_stem() == partition.file_stem()).collect();
        found.sort();
        found
    }
}

/// What is kept of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SetAside {
    pub group: u32,
    /// Its replica's successor here is not whole.
    pub is_kept: bool,
}

/// Everything that is set aside.
pub(crate) fn all(data: &Path) -> io::Result<Vec<SetAside>> {
    let names = names(&data.join(DIRECTORY))?;
    let known = names.iter().filter_map(|name| group_of(name.to_str()?));
    Ok(known.map(|(group, is_kept)| SetAside { group, is_kept }).collect())
}

/// Removes what is kept of the group; that whose successor is still to come only if `with_unkept`.
pub(crate) fn remove_all(data: &Path, group: u32, with_unkept: bool) -> io::Result<()> {
    let all = data.join(DIRECTORY);
    for name in names(&all)?.into_iter().filter(|name| is_of(name, group)) {
        if with_unkept || name.to_str().and_then(group_of).is_some_and(|(_, is_kept)| is_kept) {
            Aside { dir: all.join(name) }.remove()?;
        }
    }
    Ok(())
}

fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.file_name())).collect(),
    }
}

fn is_of(name: &OsStr, group: u32) -> bool {
    name.to_str().and_then(group_of).is_some_and(|(of, _)| of == group)
}

/// Whose directory has this name, and whether it is kept.
fn group_of(name: &str) -> Option<(u32, bool)> {
    match name.split_once('.') {
        Some((group, kept)) => Some((group.parse().ok()?, kept.starts_with(KEPT))).filter(|(_, kept)| *kept),
        None => Some((name.parse().ok()?, false)),
    }
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
        assert!(!asides[0].is_prepared() && all_of(data).is_empty());
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
        assert_eq!(all_of(data), [(3, false), (5, false)]);
        asides[0].remove().unwrap();
        assert!(!asides[0].is_prepared() && all.join("unnamed/p-1/file").exists());
        asides[1].remove().unwrap();
        assert!(!all.exists());
    }

    fn all_of(data: &Path) -> Vec<(u32, bool)> {
        let mut found = all(data).unwrap();
        found.sort();
        found.into_iter().map(|it| (it.group, it.is_kept)).collect()
    }

    #[test]
    fn what_a_damaged_successor_may_need_outlives_the_next_replica_that_is_given_up() {
        let data = tempfile::tempdir().unwrap();
        let (data, all) = (data.path(), data.path().join(DIRECTORY));
        let aside = Aside::of(data, 3);
        let partition = data.join("log/p-0");
        for (number, generation) in [(1, "log/p-0"), (2, "log/p-0.g1")] {
            aside.prepare().unwrap();
            aside.take(&directory(&data.join(generation))).unwrap();
            assert_eq!(aside.keep().unwrap(), all.join(format!("3.kept-{number}")));
            assert!(!aside.is_prepared());
        }
        aside.prepare().unwrap();
        aside.take(&directory(&data.join("log/p-1"))).unwrap();
        for unnamed in ["log/p-0.g2", "log/p-2"] {
            take_unnamed(data, &directory(&data.join(unnamed))).unwrap();
        }
        let other = Aside::of(data, 33);
        other.prepare().unwrap();
        other.take(&directory(&data.join("log/p-0"))).unwrap();
        let found = aside.directories_of(&partition);
        let expected = ["3.kept-1/p-0", "3.kept-2/p-0.g1", "unnamed/p-0.g2"];
        assert_eq!(found, expected.map(|path| all.join(path)));
        assert_eq!(all_of(data), [(3, false), (3, true), (3, true), (33, false)]);
        remove_all(data, 3, false).unwrap();
        assert_eq!(all_of(data), [(3, false), (33, false)]);
        remove_all(data, 3, true).unwrap();
        assert_eq!(all_of(data), [(33, false)]);
    }
}
