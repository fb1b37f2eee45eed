//! Entries for replicas of other hubs that are behind: read back from the write-ahead log on a thread of its own, no
//! faster than the log's writes bear.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use consensus::LogEntry;
use wal::{EntriesRead, EntriesWanted, LogReader, ReadError, Wal};

use crate::fail::StopOnPanic;
use crate::pacer::{Pacer, Place, Turn};

/// Entries without holes, and the term of the one before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OldEntries {
    pub before_term: u64,
    pub entries: Vec<LogEntry>,
}

/// Called with what was found, or nothing; must not block.
pub(crate) type Found = Box<dyn FnOnce(Option<OldEntries>) + Send>;

/// The way to the thread. What waits is bounded by the groups: each asks one question at a time. The thread ends with
/// the last of these.
#[derive(Clone)]
pub(crate) struct LogReads {
    questions: Sender<(EntriesWanted, Found)>,
}

/// The thread; it leaves off what it does once the first half is dropped.
pub(crate) type ReadingThread = (SyncSender<()>, JoinHandle<()>);

impl LogReads {
    pub(crate) fn start(wal: &Wal, pacer: Pacer) -> io::Result<(Self, ReadingThread)> {
        let (questions, asked) = channel();
        let (stop, stopped) = sync_channel(0);
        let reads = Reads { reader: wal.reader(), pacer };
        let run = move || {
            let _guard = StopOnPanic;
            reads.run(&asked, &stopped);
        };
        let thread = std::thread::Builder::new().name("wal-reads".to_owned()).spawn(run)?;
        Ok((Self { questions }, (stop, thread)))
    }

    pub(crate) fn read(&self, wanted: EntriesWanted, found: Found) {
        // The thread is gone only when the hub stops.
        let _ = self.questions.send((wanted, found));
    }
}

struct Reads {
    reader: LogReader,
    pacer: Pacer,
}

impl Reads {
    fn run(mut self, asked: &Receiver<(EntriesWanted, Found)>, stopped: &Receiver<()>) {
        while let Ok((wanted, found)) = asked.recv() {
            let Some(_turn) = self.turn(wanted.bytes_max, stopped) else { return };
            found(old_entries(self.reader.read(&wanted)));
        }
    }

    /// Waits for it; `None` once the hub stops.
    fn turn(&self, bytes: u64, stopped: &Receiver<()>) -> Option<Turn> {
        let mut place = Place::default();
        loop {
            let asked = self.pacer.ask(bytes, &mut place);
            let wait = asked.as_ref().err().copied().unwrap_or_default();
            if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return None;
            }
            if let Ok(turn) = asked {
                return Some(turn);
            }
        }
    }
}

/// What a read of the log has brought.
pub(crate) fn old_entries(read: Result<EntriesRead, ReadError>) -> Option<OldEntries> {
    match read {
        Ok(EntriesRead { before_term, entries }) => {
            Some(OldEntries { before_term, entries: entries.into_iter().map(to_log_entry).collect() })
        }
        Err(error @ (ReadError::Gone { .. } | ReadError::NotWorth { .. })) => {
            tracing::debug!(%error, "a replica that is behind gets a snapshot");
            None
        }
        Err(error @ ReadError::Io { .. }) => {
            tracing::warn!(%error, "a replica that is behind gets a snapshot");
            None
        }
    }
}

pub(crate) fn to_log_entry(entry: wal::Entry) -> LogEntry {
    LogEntry { index: entry.index, term: entry.term, kind: entry.entry_kind, payload: entry.payload }
}
