//! Finished files of a directory: each is read once, and put out of the way when its rows are durable.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::feed::FeedEnd;
use super::format::open_rows;
use super::mark::{FileId, Head, Mark};
use super::receipt::{NotStored, Receipt};
use super::sink::{Closed, RowSink};
use super::tail::beginning;
use super::{Input, InputError, Running};
use crate::config::{Done, FilesConfig};
use crate::limits::FILES_WATCHED_MAX;

/// The endings of files that were read, and of those that could not be.
const DONE: &str = "done";
const BAD: &str = "bad";

pub struct FilesInput {
    config: FilesConfig,
}

impl FilesInput {
    pub fn new(config: FilesConfig) -> Self {
        Self { config }
    }
}

impl Input for FilesInput {
    fn run(self: Box<Self>, rows: RowSink, stop: CancellationToken) -> Running {
        Box::pin(async move { self.watch(rows, stop).await.or_else(FeedEnd::into_result) })
    }
}

impl FilesInput {
    async fn watch(&self, rows: RowSink, stop: CancellationToken) -> Result<(), FeedEnd> {
        let mut watched = Watched::default();
        // What an earlier life handed on of a file must be durable before this one puts the file out of the way.
        settled(&rows, &stop).await?;
        loop {
            for path in watched.settled(&self.config, Instant::now()) {
                self.take(path, &rows, &stop).await?;
                if stop.is_cancelled() {
                    return Ok(());
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep(self.config.poll) => {}
            }
        }
    }

    /// Reads a file to its end, and puts it out of the way when all of it is durable.
    async fn take(&self, path: PathBuf, rows: &RowSink, stop: &CancellationToken) -> Result<(), FeedEnd> {
        let (receipt, stored) = Receipt::pair();
        rows.progress().expect(stored).await;
        let read = {
            let (path, format) = (path.clone(), self.config.format.clone());
            let (rows, stop) = (rows.clone(), stop.clone());
            let reading = move || {
                let read = read_file(&path, &rows, &stop, &receipt, |file| open_rows(file, &format));
                // This one stands for no row.
                receipt.stored();
                read
            };
            spawn_blocking(reading).await.map_err(|error| FeedEnd::Failed(InputError::new(error)))?
        };
        settled(rows, stop).await?;
        let of_file =
            |error: io::Error| FeedEnd::Failed(InputError::new(format_args!("{}: {error}", path.display())));
        match read.map_err(of_file)? {
            Read::Whole => put_away(&path, &self.config.done).map_err(of_file),
            Read::Refused(why) if rows.source().is_trial => {
                Err(FeedEnd::Failed(InputError::new(format_args!("{}: {why}", path.display()))))
            }
            Read::Refused(why) => {
                rows.bad(&format_args!("{}: {why}; it is renamed to .{BAD}", path.display()));
                rename_beside(&path, BAD).map_err(of_file)
            }
            Read::Unopened(error) if rows.source().is_trial => Err(of_file(error)),
            // Nothing of it was read, and others need not wait for it.
            Read::Unopened(error) => {
                rows.bad(&format_args!("{}: {error}; it is tried again", path.display()));
                Ok(())
            }
            Read::Stopped => Err(FeedEnd::Closed),
        }
    }
}

/// Waits until all that was handed on is durable.
async fn settled(rows: &RowSink, stop: &CancellationToken) -> Result<(), FeedEnd> {
    match stop.run_until_cancelled(rows.progress().stored()).await {
        // The buffer's policy drops what there is no room for, and says so.
        Some(Ok(()) | Err(NotStored::Full)) => Ok(()),
        Some(Err(why @ NotStored::Refused(_))) => {
            rows.bad(&why);
            Ok(())
        }
        Some(Err(NotStored::Closed)) | None => Err(FeedEnd::Closed),
    }
}

enum Read {
    Whole,
    /// It is no document of this format.
    Refused(String),
    Unopened(io::Error),
    Stopped,
}

/// Hands the rows of a file on that come after the mark, where it is of this file.
fn read_file<E: std::fmt::Display>(
    path: &Path,
    rows: &RowSink,
    stop: &CancellationToken,
    receipt: &Receipt,
    open: impl FnOnce(File) -> Result<Box<dyn super::Rows>, E>,
) -> io::Result<Read> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return Ok(Read::Unopened(error)),
    };
    let meta = file.metadata()?;
    let id = FileId { device: meta.dev(), inode: meta.ino(), head: Head::of(&beginning(&file)?) };
    let before = rows.mark().filter(|mark| mark.file == id).map_or(0, |mark| mark.offset);
    let mut parsed = match open(file) {
        Ok(parsed) => parsed,
        Err(why) => return Ok(Read::Refused(why.to_string())),
    };
    let runtime = Handle::current();
    while let Some(said) = parsed.next() {
        let said = said?;
        let offset = parsed.bytes_read();
        if offset <= before {
            continue;
        }
        let Some(row) = rows.good(said) else { continue };
        let sending = rows.send_with(row, Some(receipt), Some(Mark { file: id, offset }));
        // It does not wait for room when the input is to end.
        match runtime.block_on(stop.run_until_cancelled(sending)) {
            Some(Ok(())) => {}
            Some(Err(Closed)) | None => return Ok(Read::Stopped),
        }
    }
    Ok(Read::Whole)
}

fn put_away(path: &Path, done: &Done) -> io::Result<()> {
    match done {
        Done::Rename => rename_beside(path, DONE),
        Done::Delete => fs::remove_file(path),
        Done::Move(folder) => {
            fs::create_dir_all(folder)?;
            rename_free(path, &folder.join(path.file_name().unwrap_or_default()))
        }
    }
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

/// Files that may still be written to.
#[derive(Default)]
struct Watched(HashMap<PathBuf, Looks>);

#[derive(Clone, Copy, PartialEq, Eq)]
struct Looks {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
    /// Since when they are so.
    since: Instant,
}

impl Looks {
    fn of(meta: &Metadata, since: Instant) -> Self {
        Self { inode: meta.ino(), bytes: meta.len(), changed: (meta.mtime(), meta.mtime_nsec()), since }
    }

    fn is_as(&self, other: &Self) -> bool {
        Self { since: other.since, ..*self } == *other
    }
}

impl Watched {
    /// Those that have not changed for long enough, the oldest first.
    fn settled(&mut self, config: &FilesConfig, now: Instant) -> Vec<PathBuf> {
        let mut seen = HashMap::new();
        let paths = glob::glob(&config.pattern).into_iter().flatten().flatten();
        for path in paths.filter(|path| !is_put_away(path)).take(FILES_WATCHED_MAX) {
            let Ok(meta) = fs::metadata(&path) else { continue };
            if meta.is_file() {
                let looks = Looks::of(&meta, now);
                let before = self.0.get(&path).filter(|before| before.is_as(&looks));
                seen.insert(path, before.copied().unwrap_or(looks));
            }
        }
        let is_settled = |looks: &Looks| now.duration_since(looks.since) >= config.settle;
        let mut settled: Vec<_> = seen.iter().filter(|(_, looks)| is_settled(looks)).collect();
        settled.sort_by_key(|(path, looks)| (looks.changed, (*path).clone()));
        let settled = settled.into_iter().map(|(path, _)| path.clone()).collect();
        self.0 = seen;
        settled
    }
}

/// By us, or hidden by whoever writes it.
fn is_put_away(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_ours =
        |ending: &str| name.ends_with(&format!(".{ending}")) || name.contains(&format!(".{ending}."));
    name.starts_with('.') || is_ours(DONE) || is_ours(BAD)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{FormatConfig, RowFormat};

    fn config(folder: &Path, settle_ms: u64) -> FilesConfig {
        FilesConfig {
            pattern: format!("{}/*", folder.display()),
            settle: Duration::from_millis(settle_ms),
            done: Done::Rename,
            poll: Duration::from_millis(10),
            format: FormatConfig::plain(RowFormat::Csv),
        }
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
        assert!(watched.settled(&config, start).is_empty());
        assert!(watched.settled(&config, after(999)).is_empty());
        fs::write(&file, "ts,a\n1,2\n").unwrap();
        assert!(watched.settled(&config, after(1000)).is_empty(), "it has grown");
        assert_eq!(watched.settled(&config, after(2000)), std::slice::from_ref(&file));
    }

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
}
