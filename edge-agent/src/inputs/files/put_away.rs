//! Where files go that were read.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Done;

/// The endings of files that were read, and of those that could not be.
const DONE: &str = "done";
pub const BAD: &str = "bad";

/// Puts a file away that was read. A power cut does not bring it back.
pub fn put_away(path: &Path, done: &Done) -> io::Result<()> {
    match done {
        Done::Rename => rename_beside(path, DONE)?,
        Done::Delete => fs::remove_file(path)?,
        Done::Move(folder) => {
            fs::create_dir_all(folder)?;
            rename_free(path, &folder.join(path.file_name().unwrap_or_default()))?;
            sync_directory(folder);
        }
    }
    path.parent().into_iter().for_each(sync_directory);
    Ok(())
}

/// Whether a file could be put away, as far as that can be told without doing it.
pub fn could_put_away(path: &Path, done: &Done) -> io::Result<()> {
    let Done::Move(folder) = done else { return Ok(()) };
    let there = folder.ancestors().find_map(|folder| fs::metadata(folder).ok());
    if there.is_some_and(|there| fs::metadata(path).is_ok_and(|file| file.dev() != there.dev())) {
        return Err(io::Error::other(
            "`move_to` is on another file system: choose a folder on the file's own",
        ));
    }
    Ok(())
}

/// Where that fails the file is away all the same; a power cut now would have it read again.
fn sync_directory(path: &Path) {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    if let Err(error) = File::open(path).and_then(|directory| directory.sync_all()) {
        tracing::debug!(path = %path.display(), %error, "a directory could not be synced");
    }
}

/// The same with one that could not be.
pub fn put_away_as_bad(path: &Path) -> io::Result<()> {
    rename_beside(path, BAD)
}

fn rename_beside(path: &Path, ending: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{ending}"));
    rename_free(path, Path::new(&name))
}

/// Renames to this, or with a number where that is taken.
fn rename_free(from: &Path, to: &Path) -> io::Result<()> {
    let numbered = (2..).map(|number: u32| {
        let mut name = to.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    });
    let free = std::iter::once(to.to_owned()).chain(numbered).find(|path| !path.exists());
    fs::rename(from, free.unwrap_or_else(|| to.to_owned()))
}

/// By us, or hidden by whoever writes it.
pub fn is_put_away(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_ours =
        |ending: &str| name.ends_with(&format!(".{ending}")) || name.contains(&format!(".{ending}."));
    name.starts_with('.') || is_ours(DONE) || is_ours(BAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_put_away_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.csv");
        for text in ["one", "two", "three"] {
            fs::write(&file, text).unwrap();
            put_away(&file, &Done::Rename).unwrap();
        }
        let kept = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!([kept("a.csv.done"), kept("a.csv.done.2"), kept("a.csv.done.3")], ["one", "two", "three"]);
        fs::write(&file, "four").unwrap();
        put_away(&file, &Done::Move(folder.path().join("old"))).unwrap();
        assert_eq!(kept("old/a.csv"), "four");
    }

    #[test]
    fn a_folder_on_another_file_system_is_told_of_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.csv");
        fs::write(&file, "").unwrap();
        let done = Done::Move(folder.path().join("not/there/yet"));
        assert!(could_put_away(&file, &done).is_ok());
        let refused = could_put_away(Path::new("/proc/version"), &done).unwrap_err();
        assert!(refused.to_string().contains("`move_to`"), "{refused}");
        assert!(could_put_away(Path::new("/proc/version"), &Done::Delete).is_ok());
    }
}
