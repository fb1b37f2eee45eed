//! Which files are ready to be read, and which are to be tried again.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use super::put_away::is_put_away;
use crate::config::FilesConfig;
use crate::inputs::mark::FileId;
use crate::limits::FILES_WATCHED_MAX;

/// What gave trouble is tried again after so long, doubling up to so long.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));

/// Files that are left for later: those that were read, and as many with another trouble.
const POSTPONED_MAX: usize = 2 * FILES_WATCHED_MAX;

/// What is to be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    Read,
    PutAway(Ending),
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was read, and its rows are durable.
    Done(FileId, Looks),
    /// It is no document of its format.
    Bad,
}

impl Rest {
    /// What is told where it cannot be done.
    pub fn undone(self) -> &'static str {
        match self {
            Self::Read => "it cannot be read",
            Self::PutAway(Ending::Done(..)) => "it was read and cannot be put away",
            Self::PutAway(Ending::Bad) => "it is bad and cannot be put away",
        }
    }
}

/// Files that may still be written to, and those that gave trouble.
#[derive(Default)]
pub struct Watched {
    /// How they look, and since when.
    seen: HashMap<PathBuf, (Looks, Instant)>,
    postponed: HashMap<PathBuf, Postponed>,
    /// At the last look there were more than are looked at.
    pub has_more: bool,
}

struct Postponed {
    rest: Rest,
    /// Of another file under this name there is nothing to be done yet.
    looks: Looks,
    wait: Duration,
    again: Instant,
}

/// What shows that a file is another, or has been written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Looks {
    pub fn of(meta: &Metadata) -> Self {
        let changed = (meta.mtime(), meta.mtime_nsec());
        Self { device: meta.dev(), inode: meta.ino(), bytes: meta.len(), changed }
    }
}

impl Watched {
    /// Those that have not changed for long enough, the oldest first, and what is to be done with each; without those
    /// that were postponed until later. Of the files in `gone` those stay there that are not in the folder any more.
    pub fn settled(
        &mut self,
        config: &FilesConfig,
        gone: &mut Vec<FileId>,
        now: Instant,
    ) -> Vec<(PathBuf, Rest)> {
        let seen = self.look(config, gone, now);
        let is_same = |path: &PathBuf, looks: &Looks| seen.get(path).is_some_and(|(now, _)| now == looks);
        self.postponed.retain(|path, postponed| is_same(path, &postponed.looks));
        let is_settled = |since: Instant| now.duration_since(since) >= config.settle;
        let mut settled: Vec<_> = seen.iter().filter(|(_, (_, since))| is_settled(*since)).collect();
        settled.sort_by_key(|(path, (looks, _))| (looks.changed, (*path).clone()));
        let rest = |path: &PathBuf| match self.postponed.get(path) {
            Some(postponed) => (postponed.again <= now).then_some(postponed.rest),
            None => Some(Rest::Read),
        };
        let settled = settled.into_iter().filter_map(|(path, _)| Some((path.clone(), rest(path)?))).collect();
        self.seen = seen;
        settled
    }

    /// All that gave trouble, and as many others as fit.
    fn look(
        &mut self,
        config: &FilesConfig,
        gone: &mut Vec<FileId>,
        now: Instant,
    ) -> HashMap<PathBuf, (Looks, Instant)> {
        let mut seen = HashMap::new();
        let mut room = FILES_WATCHED_MAX;
        // What lies on a disk that is not mounted may still be there.
        let mut devices: HashSet<u64> = device_of(&config.pattern).into_iter().collect();
        self.has_more = false;
        for path in glob::glob(&config.pattern).into_iter().flatten() {
            let Ok(path) = path else {
                // What lies in a folder that cannot be read may still be there.
                gone.clear();
                continue;
            };
            // Those that gave trouble do not hide the others.
            let is_new = !self.postponed.contains_key(&path);
            let is_beyond = is_new && room == 0;
            if is_put_away(&path) {
                continue;
            }
            self.has_more |= is_beyond;
            if is_beyond && gone.is_empty() {
                continue;
            }
            let meta = match fs::metadata(&path) {
                Ok(meta) => meta,
                Err(error) => {
                    if error.kind() != io::ErrorKind::NotFound {
                        gone.clear();
                    }
                    continue;
                }
            };
            devices.insert(meta.dev());
            gone.retain(|file| (file.device, file.inode) != (meta.dev(), meta.ino()));
            if meta.is_file() && !is_beyond {
                room -= usize::from(is_new);
                let looks = Looks::of(&meta);
                let before = self.seen.get(&path).filter(|(before, _)| *before == looks);
                seen.insert(path, (looks, before.map_or(now, |(_, since)| *since)));
            }
        }
        gone.retain(|file| devices.contains(&file.device));
        seen
    }

    /// Leaves a file for a while.
    pub fn postpone(&mut self, path: &Path, rest: Rest, now: Instant) {
        let Some((looks, _)) = self.seen.get(path).copied() else { return };
        if self.postponed.len() >= POSTPONED_MAX && !self.postponed.contains_key(path) {
            return;
        }
        let before = self.postponed.get(path).map(|postponed| postponed.wait * 2);
        let wait = before.unwrap_or(AGAIN_AFTER.0).min(AGAIN_AFTER.1);
        self.postponed.insert(path.to_owned(), Postponed { rest, looks, wait, again: now + wait });
    }

    /// How many were read and cannot be put away.
    pub fn stuck(&self) -> usize {
        let is_read = |postponed: &&Postponed| matches!(postponed.rest, Rest::PutAway(Ending::Done(..)));
        self.postponed.values().filter(is_read).count()
    }

    /// There is nothing left to be done with it.
    pub fn forget(&mut self, path: &Path) {
        self.postponed.remove(path);
    }
}

/// That of the folder before the pattern's first wildcard, if it is there.
fn device_of(pattern: &str) -> Option<u64> {
    let is_fixed = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
    let folder: PathBuf = Path::new(pattern).parent()?.components().take_while(is_fixed).collect();
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
    Some(fs::metadata(folder).ok()?.dev())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Done, FormatConfig, RowFormat};
    use crate::inputs::mark::Head;

    fn config(folder: &Path, settle_ms: u64) -> FilesConfig {
        FilesConfig {
            pattern: format!("{}/*", folder.display()),
            settle: Duration::from_millis(settle_ms),
            done: Done::Rename,
            poll: Duration::from_millis(10),
            format: FormatConfig::plain(RowFormat::Csv),
        }
    }

    fn settled(watched: &mut Watched, config: &FilesConfig, now: Instant) -> Vec<(PathBuf, Rest)> {
        watched.settled(config, &mut Vec::new(), now)
    }

    #[test]
    fn files_of_a_disk_that_is_not_mounted_are_not_gone() {
        let folder = tempfile::tempdir().unwrap();
        let device = fs::metadata(folder.path()).unwrap().dev();
        let file = |device| FileId { device, inode: 1, head: Head::of(b"") };
        let gone = |folder: &Path| {
            let mut gone = vec![file(device), file(device + 1)];
            Watched::default().settled(&config(folder, 0), &mut gone, Instant::now());
            gone
        };
        assert_eq!(gone(folder.path()), [file(device)]);
        assert_eq!(gone(&folder.path().join("card")), []);
    }

    #[test]
    fn a_file_is_finished_when_it_has_not_changed_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), 1000);
        let file = folder.path().join("a.csv");
        fs::write(&file, "ts,a\n").unwrap();
        fs::write(folder.path().join("b.csv.done"), "ts,a\n").unwrap();
        fs::write(folder.path().join(".hidden"), "ts,a\n").unwrap();
        let (mut watched, start) = (Watched::default(), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        assert!(settled(&mut watched, &config, start).is_empty());
        assert!(settled(&mut watched, &config, after(999)).is_empty());
        fs::write(&file, "ts,a\n1,2\n").unwrap();
        assert!(settled(&mut watched, &config, after(1000)).is_empty(), "it has grown");
        assert_eq!(settled(&mut watched, &config, after(2000)), [(file, Rest::Read)]);
    }

    #[test]
    fn a_file_that_gave_trouble_is_left_for_longer_each_time_until_it_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), 0);
        let (file, other) = (folder.path().join("a.csv"), folder.path().join("b.csv"));
        fs::write(&file, "ts,a\n").unwrap();
        fs::write(&other, "ts,a\n").unwrap();
        let (mut watched, start) = (Watched::default(), Instant::now());
        let after = |ms| start + Duration::from_millis(ms);
        let id = FileId { device: 1, inode: 2, head: Head::of(b"") };
        let rest = Rest::PutAway(Ending::Done(id, Looks::of(&fs::metadata(&file).unwrap())));
        assert_eq!(settled(&mut watched, &config, start).len(), 2);
        watched.postpone(&file, rest, start);
        let others = [(other.clone(), Rest::Read)];
        assert_eq!(settled(&mut watched, &config, after(999)), others, "they go on");
        fs::remove_file(&other).unwrap();
        assert_eq!(settled(&mut watched, &config, after(1000)), [(file.clone(), rest)]);
        watched.postpone(&file, rest, after(1000));
        assert_eq!(settled(&mut watched, &config, after(2999)), []);
        assert_eq!(settled(&mut watched, &config, after(3000)), [(file.clone(), rest)]);
        fs::write(&file, "ts,a\n1,2\n").unwrap();
        assert_eq!(settled(&mut watched, &config, after(3001)), [(file, Rest::Read)], "it has grown");
    }

    #[test]
    fn files_that_gave_trouble_do_not_hide_those_after_them() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), 0);
        let path = |n: usize| folder.path().join(format!("{n:05}.csv"));
        (0..=FILES_WATCHED_MAX).for_each(|n| fs::write(path(n), "").unwrap());
        let (mut watched, now) = (Watched::default(), Instant::now());
        let id = FileId { device: 1, inode: 2, head: Head::of(b"") };
        let first = settled(&mut watched, &config, now);
        assert_eq!(first.len(), FILES_WATCHED_MAX);
        for (path, _) in &first {
            let looks = Looks::of(&fs::metadata(path).unwrap());
            watched.postpone(path, Rest::PutAway(Ending::Done(id, looks)), now);
        }
        assert_eq!(settled(&mut watched, &config, now), [(path(FILES_WATCHED_MAX), Rest::Read)]);
        assert_eq!(watched.stuck(), FILES_WATCHED_MAX);
    }

    #[test]
    fn files_are_gone_that_are_under_no_name_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), 0);
        let path = |name: &str| folder.path().join(name);
        let names = ["stays", "renamed", "replaced", "removed"];
        names.iter().for_each(|name| fs::write(path(name), "").unwrap());
        let id = |name| {
            let meta = fs::metadata(path(name)).unwrap();
            FileId { device: meta.dev(), inode: meta.ino(), head: Head::of(b"") }
        };
        let known = names.map(id);
        // As many that are looked at before them.
        (0..FILES_WATCHED_MAX).for_each(|n| fs::write(path(&format!("a{n}")), "").unwrap());
        fs::rename(path("renamed"), path("z")).unwrap();
        fs::rename(path("a0"), path("replaced")).unwrap();
        fs::remove_file(path("removed")).unwrap();
        let mut gone = known.to_vec();
        Watched::default().settled(&config, &mut gone, Instant::now());
        assert_eq!(gone, known[2..]);
    }
}
