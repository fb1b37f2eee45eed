//! Finished files of a directory: each is read once, and put out of the way when its rows are durable. One that gives
//! trouble is tried again later and holds up none of the others.

mod put_away;
mod watched;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{AtFlags, StatxFlags, statx};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::put_away::{BAD, put_away, put_away_as_bad};
use self::watched::{Ending, Looks, Rest, Watched};
use super::feed::FeedEnd;
use super::format::{DocumentError, open_rows};
use super::mark::{FileId, Head, Mark};
use super::receipt::{NotStored, Receipt};
use super::sink::{Closed, RowSink};
use super::tail::beginning;
use super::{Input, InputError, Running};
use crate::config::{Done, FilesConfig, FormatConfig};

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

/// What could not be done with a file now.
struct Left {
    rest: Rest,
    error: io::Error,
}

impl FilesInput {
    async fn watch(&self, rows: RowSink, stop: CancellationToken) -> Result<(), FeedEnd> {
        let mut watched = Watched::default();
        // What an earlier life handed on of a file must be durable before this one puts the file out of the way.
        settled(&rows, &stop).await?;
        loop {
            for (path, rest) in watched.settled(&self.config, Instant::now()) {
                match self.take(&path, rest, &rows, &stop).await? {
                    Ok(()) => watched.forget(&path),
                    Err(Left { rest, error }) => {
                        let what = rest.undone();
                        rows.bad(&format_args!("{}: {what}: {error}; it is tried again", path.display()));
                        watched.postpone(&path, rest, Instant::now());
                    }
                }
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

    /// Does what is left to be done with a file. In a trial nothing is put away, and any trouble is the input's.
    async fn take(
        &self,
        path: &Path,
        rest: Rest,
        rows: &RowSink,
        stop: &CancellationToken,
    ) -> Result<Result<(), Left>, FeedEnd> {
        let is_trial = rows.source().is_trial;
        let ending = match rest {
            Rest::PutAway(ending) => ending,
            Rest::Read => match self.read(path, rows, stop).await? {
                Read::Whole(..) if is_trial => return Ok(Ok(())),
                Read::Whole(id, looks) => Ending::Done(id, looks),
                Read::Refused(why) if is_trial => return Err(failed(path, &why)),
                Read::Refused(why) => {
                    rows.bad(&format_args!("{}: {why}; it is renamed to .{BAD}", path.display()));
                    Ending::Bad
                }
                Read::Failed(error) if is_trial => return Err(failed(path, &error)),
                Read::Failed(error) => return Ok(Err(Left { rest, error })),
                Read::Stopped => return Err(FeedEnd::Closed),
            },
        };
        let done = {
            let (path, done) = (path.to_owned(), self.config.done.clone());
            // It waits for the disk.
            spawn_blocking(move || end(&path, ending, &done))
                .await
                .map_err(|error| FeedEnd::Failed(InputError::new(error)))?
        };
        if let (Ok(true), Ending::Done(id, _)) = (&done, ending) {
            rows.progress().put_away(&id);
        }
        Ok(done.map(drop).map_err(|error| Left { rest: Rest::PutAway(ending), error }))
    }

    /// Hands on what is left of a file, and waits until all of it is durable.
    async fn read(&self, path: &Path, rows: &RowSink, stop: &CancellationToken) -> Result<Read, FeedEnd> {
        let (receipt, stored) = Receipt::pair();
        rows.progress().expect(stored).await;
        let (path, format) = (path.to_owned(), self.config.format.clone());
        let (own_rows, own_stop) = (rows.clone(), stop.clone());
        let reading = move || {
            let read = read_file(&path, &own_rows, &own_stop, &receipt, &format);
            // This one stands for no row.
            receipt.stored();
            read.unwrap_or_else(Read::Failed)
        };
        let read = spawn_blocking(reading).await.map_err(|error| FeedEnd::Failed(InputError::new(error)))?;
        settled(rows, stop).await?;
        Ok(read)
    }
}

/// Puts a file away, unless it is another file by now, or more of it: that has to settle, and is read. True where it is
/// away.
fn end(path: &Path, ending: Ending, done: &Done) -> io::Result<bool> {
    match ending {
        Ending::Done(_, looks) if fs::metadata(path).is_ok_and(|meta| Looks::of(&meta) != looks) => Ok(false),
        Ending::Done(..) => put_away(path, done).map(|()| true),
        Ending::Bad => put_away_as_bad(path).map(|()| true),
    }
}

fn failed(path: &Path, what: &dyn std::fmt::Display) -> FeedEnd {
    FeedEnd::Failed(InputError::new(format_args!("{}: {what}", path.display())))
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
    /// As it was when it was opened.
    Whole(FileId, Looks),
    /// It is no document of this format.
    Refused(String),
    Failed(io::Error),
    Stopped,
}

/// When a file was made, where its file system knows.
fn made(file: &File) -> Option<(i64, u32)> {
    let stat = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
    let is_known = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    is_known.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec))
}

/// Hands the rows of a file on that were not handed on before.
fn read_file(
    path: &Path,
    rows: &RowSink,
    stop: &CancellationToken,
    receipt: &Receipt,
    format: &FormatConfig,
) -> io::Result<Read> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    let head = Head::of_made(&beginning(&file)?, made(&file).unwrap_or_default());
    let id = FileId { device: meta.dev(), inode: meta.ino(), head };
    let before = rows.progress().turn_to(&id);
    let looks = Looks::of(&meta);
    let mut parsed = match open_rows(file, format) {
        Ok(parsed) => parsed,
        Err(DocumentError::Unreadable(error)) => return Err(error),
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
    Ok(Read::Whole(id, looks))
}
