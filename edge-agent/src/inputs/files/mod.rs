//! Finished files of a directory: each is read once, and put out of the way when its rows are durable. One that gives
//! trouble is tried again later and holds up none of the others.

mod put_away;
mod watched;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, StatxFlags, statx};
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::put_away::{BAD, could_put_away, put_away, put_away_as_bad};
use self::watched::{Ending, Looks, Rest, Watched};
use super::beside::beside;
use super::feed::FeedEnd;
use super::format::{DocumentError, open_rows};
use super::mark::{FileId, Head, Mark};
use super::receipt::NotStored;
use super::sink::{Closed, RowSink};
use super::tail::beginning;
use super::{Input, InputError, Running};
use crate::config::{Done, FilesConfig, FormatConfig};
use crate::limits::FILES_WATCHED_MAX;

/// A thread that waits for its disk for so long is told of.
const TURN_WITHIN: Duration = Duration::from_secs(60);

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
        let mut stuck = 0;
        loop {
            let (config, own_rows) = (self.config.clone(), rows.clone());
            let looking = move || {
                let progress = own_rows.progress();
                let mut gone = progress.aside();
                let files = watched.settled(&config, &mut gone, Instant::now());
                gone.iter().for_each(|file| progress.put_away(file));
                // What is not forgotten now is forgotten at a later look.
                let _ = progress.keep();
                (files, watched)
            };
            let files;
            (files, watched) = on_disk(&rows, &stop, looking).await?;
            let mut files = files.into_iter().peekable();
            while let Some((path, rest)) = files.next() {
                let has_next = files.peek().is_some() || watched.has_more;
                match self.take(&path, rest, has_next, &rows, &stop).await? {
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
            if std::mem::replace(&mut stuck, watched.stuck()) != stuck {
                tell_stuck(&rows, stuck);
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
        has_next: bool,
        rows: &RowSink,
        stop: &CancellationToken,
    ) -> Result<Result<(), Left>, FeedEnd> {
        let is_trial = rows.source().is_trial;
        if is_trial && let Err(error) = could_put_away(path, &self.config.done) {
            return Err(failed(path, &error));
        }
        let ending = match rest {
            Rest::PutAway(ending) => ending,
            Rest::Read => match self.read(path, has_next, rows, stop).await? {
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
        let (own_path, done) = (path.to_owned(), self.config.done.clone());
        let done = on_disk(rows, stop, move || end(&own_path, ending, &done)).await?;
        if let (Ok(true), Ending::Done(id, _)) = (&done, ending) {
            rows.progress().put_away(&id);
        }
        Ok(done.map(drop).map_err(|error| Left { rest: Rest::PutAway(ending), error }))
    }

    /// Hands on what is left of a file, and waits until all of it is durable. It does not linger where a next one waits:
    /// a device that makes one more often than batches end would be ahead for ever.
    async fn read(
        &self,
        path: &Path,
        has_next: bool,
        rows: &RowSink,
        stop: &CancellationToken,
    ) -> Result<Read, FeedEnd> {
        // The file before it is remembered as read when this one is begun.
        if !rows.source().is_trial && rows.progress().has_last() {
            self.settled(rows, stop, true).await?;
        }
        let (path, format) = (path.to_owned(), self.config.format.clone());
        let (own_rows, own_stop) = (rows.clone(), stop.clone());
        let reading = move || read_file(&path, &own_rows, &own_stop, &format).unwrap_or_else(Read::Failed);
        let read = on_disk(rows, stop, reading).await?;
        if matches!(read, Read::Whole(..)) && !rows.source().is_trial {
            self.settled(rows, stop, has_next).await?;
        }
        Ok(read)
    }

    /// Waits until all that was handed on is durable, or a gap for it is: on a full disk, for as long as that is full.
    async fn settled(&self, rows: &RowSink, stop: &CancellationToken, at_once: bool) -> Result<(), FeedEnd> {
        loop {
            match stop.run_until_cancelled(rows.settled(at_once)).await {
                // The buffer's policy drops what there is no room for, and says so.
                Some(Ok(()) | Err(NotStored::Full)) => break,
                Some(Err(why @ NotStored::Refused(_))) => {
                    rows.bad(&why);
                    break;
                }
                Some(Err(why @ NotStored::NoRoom)) => rows.source().health.note_failing(why.to_string()),
                Some(Err(NotStored::Closed)) | None => return Err(FeedEnd::Closed),
            }
            stop.run_until_cancelled(sleep(self.config.poll)).await.ok_or(FeedEnd::Closed)?;
        }
        rows.source().health.note_well();
        Ok(())
    }
}

/// Does what may wait for the disk beside the agent's one thread.
async fn on_disk<T: Send + 'static>(
    rows: &RowSink,
    stop: &CancellationToken,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, FeedEnd> {
    let turn = turn(rows, stop).await?;
    let work = move || {
        let done = work();
        drop(turn);
        done
    };
    beside(work).await.map_err(FeedEnd::Failed)
}

/// Waits until no thread of an earlier life is at work.
async fn turn(rows: &RowSink, stop: &CancellationToken) -> Result<OwnedMutexGuard<()>, FeedEnd> {
    let mut turn = pin!(stop.run_until_cancelled(rows.progress().turn()));
    if let Ok(turn) = timeout(TURN_WITHIN, &mut turn).await {
        return turn.ok_or(FeedEnd::Closed);
    }
    let why = "it still waits for the disk that its files are on: look whether that answers";
    let source = rows.source();
    tracing::warn!(input = source.name, "{why}");
    source.health.note_failing(why.to_owned());
    let turn = turn.await.ok_or(FeedEnd::Closed)?;
    source.health.note_well();
    Ok(turn)
}

/// So many files were read and cannot be put away.
fn tell_stuck(rows: &RowSink, files: usize) {
    let health = &rows.source().health;
    let why = format!("{files} files were read and cannot be put away");
    if files >= FILES_WATCHED_MAX {
        return health.note_failing(format!("{why}: no other is read before"));
    }
    health.note_well();
    if files > 0 {
        health.note_trouble(why);
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
    format: &FormatConfig,
) -> io::Result<Read> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    let (beginning, made) = (beginning(&file)?, made(&file).unwrap_or_default());
    let head = Head::of_made(&beginning, made);
    let id = FileId { device: meta.dev(), inode: meta.ino(), head };
    let too_many = || io::Error::other("too many files before it were read and cannot be put away");
    let is_of = |head: &Head| head.begins_made(&beginning, made);
    let before = rows.progress().turn_to(&id, is_of).ok_or_else(too_many)?;
    if let Err(error) = rows.progress().keep() {
        rows.bad(&format_args!("files that cannot be put away are read again after a restart: {error}"));
    }
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
        let sending = rows.send_with(row, None, Some(Mark { file: id, offset }));
        // It does not wait for room when the input is to end.
        match runtime.block_on(stop.run_until_cancelled(sending)) {
            Some(Ok(())) => {}
            Some(Err(Closed)) | None => return Ok(Read::Stopped),
        }
    }
    Ok(Read::Whole(id, looks))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use tokio::sync::mpsc;

    use super::*;
    use crate::config::RowFormat;
    use crate::destination::Destination;
    use crate::inputs::{Filter, Handed, Health, InputState, Source, queue};
    use crate::time::Clock;

    /// An input that reads this folder, and what takes its rows.
    fn input(folder: &Path, done: Done) -> (FilesInput, RowSink, mpsc::Receiver<Handed>) {
        let config = FilesConfig {
            pattern: format!("{}/*.json", folder.display()),
            settle: Duration::ZERO,
            done,
            poll: Duration::from_millis(10),
            format: FormatConfig::plain(RowFormat::JsonLines),
        };
        let destination = Destination::from(schemas::TopicName::try_from("t").unwrap());
        let (name, health) = ("test".to_owned(), Health::default());
        let source = Source { name, destination, tags: Vec::new(), health, is_trial: false };
        let (rows, inbox) = queue(4);
        let clock = Arc::new(Clock::of_this_machine());
        let sink = RowSink::new(source, Filter::default(), clock, rows, Arc::default());
        (FilesInput::new(config), sink, inbox)
    }

    async fn until(holds: impl Fn() -> bool) {
        let holding = async {
            while !holds() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(600), holding).await.expect("it holds some time");
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_cannot_be_put_away_are_remembered_while_they_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        // A file is where the folder is to be.
        ["a.json", "b.json", "done"].iter().for_each(|name| fs::write(path(name), "{\"n\":1}\n").unwrap());
        let (input, sink, mut inbox) = input(folder.path(), Done::Move(path("done/here")));
        let stop = CancellationToken::new();
        let running = tokio::spawn(Box::new(input).run(sink.next_life(), stop.clone()));
        let storing = tokio::spawn(async move {
            while let Some(handed) = inbox.recv().await {
                if let Handed::End { receipt, .. } = handed {
                    receipt.stored();
                }
            }
        });
        until(|| sink.source().health.view().bad >= 4).await;
        assert!(sink.progress().has_aside());
        ["a.json", "b.json"].iter().for_each(|name| fs::remove_file(path(name)).unwrap());
        until(|| !sink.progress().has_aside()).await;
        assert_eq!(sink.source().health.view().rows, 2);
        stop.cancel();
        assert_eq!(running.await.unwrap(), Ok(()));
        storing.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_last_file_of_all_lingers() {
        let folder = tempfile::tempdir().unwrap();
        let files = FILES_WATCHED_MAX + 2;
        for n in 0..files {
            fs::write(folder.path().join(format!("{n}.json")), "{\"n\":1}\n").unwrap();
        }
        let (input, sink, mut inbox) = input(folder.path(), Done::Delete);
        let stop = CancellationToken::new();
        let running = tokio::spawn(Box::new(input).run(sink, stop.clone()));
        let mut lingering = Vec::new();
        let mut read = 0;
        while read < files {
            if let Some(Handed::End { receipt, at_once }) = inbox.recv().await {
                read += 1;
                lingering.extend((!at_once).then_some(read));
                receipt.stored();
            }
        }
        assert_eq!(lingering, [files]);
        stop.cancel();
        assert_eq!(running.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_file_that_grows_before_it_is_put_away_is_read_on() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.json");
        let (input, sink, mut inbox) = input(folder.path(), Done::Delete);
        let stop = CancellationToken::new();
        fs::write(&file, "").unwrap();
        let mut growing = File::options().append(true).open(&file).unwrap();
        growing.write_all(b"{\"n\":1}\n").unwrap();
        let running = tokio::spawn(Box::new(input).run(sink.clone(), stop.clone()));
        for more in ["{\"n\":2}\n{\"n\":3}\n", "\n", ""] {
            let receipt = loop {
                match inbox.recv().await {
                    Some(Handed::End { receipt, .. }) => break receipt,
                    handed => assert!(handed.is_some()),
                }
            };
            growing.write_all(more.as_bytes()).unwrap();
            receipt.stored();
        }
        until(|| !file.exists()).await;
        assert_eq!(sink.source().health.view().rows, 3);
        stop.cancel();
        assert_eq!(running.await.unwrap(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_of_an_earlier_life_is_waited_for_and_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.json");
        fs::write(&file, "{\"n\":1}\n").unwrap();
        let (input, sink, mut inbox) = input(folder.path(), Done::Delete);
        let health = || sink.source().health.view();

        let turn = sink.next_life().progress().turn().await;
        let stop = CancellationToken::new();
        let running = tokio::spawn(Box::new(input).run(sink.next_life(), stop.clone()));
        sleep(TURN_WITHIN - Duration::from_secs(1)).await;
        assert_eq!(health().state, InputState::Running);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(health().state, InputState::Failing);
        assert!(health().last_error.unwrap().contains("waits for the disk"));
        // It ends, though not as it should.
        let panicking = std::thread::spawn(move || {
            let _turn = turn;
            panic!("as asked");
        });
        assert!(panicking.join().is_err());
        assert!(matches!(inbox.recv().await, Some(Handed::Row(_))));
        assert_eq!(health().state, InputState::Running);
        let Some(Handed::End { receipt, .. }) = inbox.recv().await else { panic!("its end is waited for") };
        assert!(file.exists());
        receipt.stored();
        while file.exists() {
            sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
        assert_eq!(running.await.unwrap(), Ok(()));
    }
}
