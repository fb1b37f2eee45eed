//! Reads old entries back, for replicas that are behind.
//!
//! An entry is looked for in the newest file that may hold it first: what was written last is what counts. So a file
//! that cannot be read through is no reason to look into older ones; whatever it may have held counts as gone. A file
//! that is used again meanwhile has another generation, which no frame's checksum survives.

use crate::{
    codec::Kind,
    disk::Disk,
    error::OpenError,
    file_header::file_name,
    frame::{Entry, GroupId, Lsn},
    library::{Library, Look},
    limits::{READ_ENTRIES_MAX, SURVEYED_SPOTS_MAX, SURVEYS_MIN},
    observe,
    reader::read_frame,
    recovery::{LogFile, open_file},
    survey::{Spot, Survey},
};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::PathBuf,
    sync::{Arc, Weak},
};

/// Entries of one group that somebody wants back. All of them MUST be durable, and none may be replaced any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntriesWanted {
    pub group: GroupId,
    pub from: u64,
    pub through: u64,
    /// So many bytes of payload at most, but for one entry that alone has more.
    pub bytes_max: u64,
    /// Where the log has more bytes from `from` on, nothing is read.
    pub worth_bytes: u64,
}

/// At least one entry, without holes, and the term of the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntriesRead {
    pub before_term: u64,
    pub entries: Vec<Entry>,
}

/// Why entries were not read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the write-ahead log does not have entry {index} of group {group} any more")]
    Gone { group: GroupId, index: u64 },
    #[error("the write-ahead log has {bytes} bytes of group {group} to be read: more than it is worth")]
    NotWorth { group: GroupId, bytes: u64 },
    #[error("cannot read {}: {error}", file.display())]
    Io { file: PathBuf, error: io::Error },
}

/// One owner, on a thread that may wait for the disk.
pub struct LogReader {
    library: Arc<Library>,
    disk: Weak<dyn Disk>,
    surveys: BTreeMap<u64, (u64, Survey)>,
    /// Counts the reads, so that the surveys that were used least recently go first.
    reads: u64,
    void: Arc<HashMap<GroupId, Lsn>>,
}

impl LogReader {
    pub(crate) fn new(library: Arc<Library>, disk: Weak<dyn Disk>) -> Self {
        LogReader { library, disk, surveys: BTreeMap::new(), reads: 0, void: Arc::default() }
    }

    pub fn read(&mut self, wanted: &EntriesWanted) -> Result<EntriesRead, ReadError> {
        let EntriesWanted { group, from, through, bytes_max, worth_bytes } = *wanted;
        self.reads += 1;
        let look = self.library.look(group);
        self.forget_outdated(&look);
        let bytes = bytes_from(&look, from);
        if bytes > worth_bytes {
            return Err(ReadError::NotWorth { group, bytes });
        }
        let gone = |index| ReadError::Gone { group, index };
        let before = from.saturating_sub(1);
        let before_term = self.entry(&look, group, before)?.ok_or_else(|| gone(before))?.term;
        let mut entries: Vec<Entry> = Vec::new();
        let mut left = bytes_max;
        for index in from..=through {
            let Some(entry) = self.entry(&look, group, index)? else { break };
            let payload_bytes = entry.payload.len() as u64;
            if entries.len() == READ_ENTRIES_MAX || (payload_bytes > left && !entries.is_empty()) {
                break;
            }
            left = left.saturating_sub(payload_bytes);
            entries.push(entry);
        }
        self.forget_surplus();
        if entries.is_empty() {
            return Err(gone(from));
        }
        observe::read_back(entries.iter().map(|entry| entry.payload.len() as u64).sum());
        Ok(EntriesRead { before_term, entries })
    }

    fn entry(&mut self, look: &Look, group: GroupId, index: u64) -> Result<Option<Entry>, ReadError> {
        let Some((file, spot)) = self.find(look, group, index)? else { return Ok(None) };
        let Some((_, survey)) = self.surveys.get(&file) else { return Ok(None) };
        let (log, generation) = (&survey.file.file, survey.file.header.generation);
        let read = read_frame(log.as_ref(), generation, u64::from(spot.position), spot.frame_bytes as usize);
        let frame = read.map_err(|error| ReadError::Io { file: self.path(file), error })?;
        match frame {
            Some((header, payload)) if header.group == group && header.index == index => {
                let Kind::Entry { entry_kind, .. } = header.kind else { return Ok(None) };
                Ok(Some(Entry { index, term: header.term, entry_kind, payload }))
            }
            _ => Err(self.damaged(file, group, index)),
        }
    }

    fn find(&mut self, look: &Look, group: GroupId, index: u64) -> Result<Option<(u64, Spot)>, ReadError> {
        for candidate in &look.candidates {
            if candidate.span.is_some_and(|span| !span.contains(index)) {
                continue;
            }
            let found = self.survey(candidate.file, look, group, index)?.spot(group, index);
            if let Some(spot) = found {
                return Ok(Some((candidate.file, spot)));
            }
        }
        Ok(None)
    }

    /// Where everything in the file lies; looked for on the entry's account.
    fn survey(&mut self, file: u64, look: &Look, group: GroupId, index: u64) -> Result<&Survey, ReadError> {
        let (last, durable) = look.current;
        let end = if file == last { durable } else { u64::MAX };
        let mut survey = match self.surveys.remove(&file) {
            Some((_, survey)) => survey,
            None => self.open(file)?.map(Survey::new).ok_or(ReadError::Gone { group, index })?,
        };
        let is_new = !survey.is_sealed();
        let is_whole = survey
            .advance(end, &look.void)
            .map_err(|error| ReadError::Io { file: self.path(file), error })?;
        if !is_whole || (file != last && !survey.is_sealed()) {
            return Err(self.damaged(file, group, index));
        }
        if file != last && is_new {
            self.library.know(file, survey.spans());
        }
        Ok(&self.surveys.entry(file).or_insert((self.reads, survey)).1)
    }

    /// `None` where there is no such file, or no log any more.
    fn open(&self, file: u64) -> Result<Option<LogFile>, ReadError> {
        let Some(disk) = self.disk.upgrade() else { return Ok(None) };
        let opened = match open_file(disk.as_ref(), &file_name(file)) {
            Ok(opened) => opened,
            Err(OpenError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => None,
            Err(OpenError::Io { file, error, .. }) => return Err(ReadError::Io { file, error }),
            Err(other) => {
                return Err(ReadError::Io { file: self.path(file), error: io::Error::other(other) });
            }
        };
        Ok(opened.filter(|opened| opened.header.id == file))
    }

    /// For messages.
    fn path(&self, file: u64) -> PathBuf {
        let name = file_name(file);
        self.disk.upgrade().map_or_else(|| PathBuf::from(&name), |disk| disk.path(&name))
    }

    /// A file that is being used again is not damaged.
    fn damaged(&self, file: u64, group: GroupId, index: u64) -> ReadError {
        if self.library.has(file) {
            let path = self.path(file);
            tracing::error!(file = %path.display(), %group, index, "a file of the write-ahead log cannot be read back");
        }
        ReadError::Gone { group, index }
    }

    /// What is known of files that are no more, or of entries that count no more.
    fn forget_outdated(&mut self, look: &Look) {
        if !Arc::ptr_eq(&self.void, &look.void) {
            self.void = look.void.clone();
            self.surveys.clear();
        }
        let library = &self.library;
        self.surveys.retain(|file, _| library.has(*file));
    }

    fn forget_surplus(&mut self) {
        let mut spots: usize = self.surveys.values().map(|(_, survey)| survey.len()).sum();
        while spots > SURVEYED_SPOTS_MAX && self.surveys.len() > SURVEYS_MIN {
            let oldest = self.surveys.iter().min_by_key(|(_, (used, _))| *used).map(|(file, _)| *file);
            let Some((_, survey)) = oldest.and_then(|file| self.surveys.remove(&file)) else { return };
            spots -= survey.len();
        }
    }
}

/// Bytes of the group in files that reach to the index, as far as that is known.
fn bytes_from(look: &Look, from: u64) -> u64 {
    let spans = look.candidates.iter().filter_map(|candidate| candidate.span);
    spans.filter(|span| span.last >= from).map(|span| span.bytes).sum()
}
