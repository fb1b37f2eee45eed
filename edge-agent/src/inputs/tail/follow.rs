//! Reads a growing file in chunks of whole lines. It opens, stats and reads; when to do it again is its caller's.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::siblings::{Place, beginning, open, places_after};
use crate::config::{TailConfig, TailFrom};
use crate::inputs::mark::{FileId, Head, Mark};
use crate::limits::{LINE_BYTES_MAX, READ_BYTES};

/// A file that was renamed is written to for a while still, by those that have it open.
const ROTATION_GRACE: Duration = Duration::from_secs(2);

/// What one look at the file gave.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The lines are of another file than those before, or of the same from its beginning.
    pub begun: Option<Begun>,
    pub lines: Vec<TailLine>,
    /// There is nothing more for now.
    pub is_idle: bool,
}

#[derive(Debug)]
pub struct Begun {
    /// Its first line, where it is not read from its beginning.
    pub header: Option<Vec<u8>>,
}

#[derive(Debug)]
pub struct TailLine {
    /// From where reading began, from 1.
    pub number: u64,
    /// `None` where it is too long.
    pub text: Option<Vec<u8>>,
    /// Just after it.
    pub mark: Mark,
}

pub struct Follower {
    path: PathBuf,
    from: TailFrom,
    /// How far was read.
    mark: Option<Mark>,
    /// What is read after the open file; the followed one is last.
    next: VecDeque<Place>,
    open: Option<OpenFile>,
    /// Since when the followed path leads to another file.
    rotated: Option<Instant>,
}

struct OpenFile {
    file: File,
    id: FileId,
    /// Whether it is the one at the followed path, which grows.
    is_live: bool,
    /// Up to where lines were given out; what follows is in `part`.
    offset: u64,
    part: Vec<u8>,
    /// The rest of a line is left out: it is too long, or began before we did.
    skipping: Option<Skip>,
    number: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Skip {
    TooLong,
    Begun,
}

impl Follower {
    pub fn new(config: &TailConfig, mark: Option<Mark>) -> Self {
        Self {
            path: config.path.clone(),
            from: config.from,
            mark,
            next: VecDeque::new(),
            open: None,
            rotated: None,
        }
    }

    /// The lines that have come since the last time, as far as they fit a chunk.
    pub fn read(&mut self) -> io::Result<Chunk> {
        let mut chunk = Chunk::default();
        if self.open.is_none() {
            chunk.begun = self.open_next()?;
        }
        let path = self.path.clone();
        let Some(open) = &mut self.open else {
            chunk.is_idle = true;
            return Ok(chunk);
        };
        if open.is_live && open.was_truncated()? {
            tracing::info!(file = %path.display(), "the file was truncated; it is read from its beginning");
            self.turn_to_next();
            return Ok(chunk);
        }
        let is_at_end = !open.read(&mut chunk.lines)?;
        if is_at_end && !open.is_live {
            open.finish(&mut chunk.lines);
            self.note(&chunk);
            self.open = None;
            return Ok(chunk);
        }
        self.note(&chunk);
        if is_at_end {
            chunk.is_idle = true;
            self.watch_rotation(&mut chunk)?;
        } else {
            self.rotated = None;
        }
        Ok(chunk)
    }

    fn note(&mut self, chunk: &Chunk) {
        if let Some(line) = chunk.lines.last() {
            self.mark = Some(line.mark);
        }
    }

    /// The first file to read, or the next one; the followed one may not be there yet.
    fn open_next(&mut self) -> io::Result<Option<Begun>> {
        if self.next.is_empty() {
            self.next = match &self.mark {
                Some(mark) => self.places_after(mark),
                None => [Place { path: self.path.clone(), offset: 0 }].into(),
            };
        }
        while let Some(place) = self.next.pop_front() {
            let is_live = self.next.is_empty();
            match OpenFile::at(&place, is_live) {
                Ok(mut open) => {
                    if is_live && self.mark.is_none() && self.from == TailFrom::End {
                        open.skip_to_end()?;
                    }
                    let header = if open.offset > 0 { Some(open.first_line()?) } else { None };
                    self.from = TailFrom::Beginning;
                    self.rotated = None;
                    self.open = Some(open);
                    return Ok(Some(Begun { header }));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // A file that comes later is new from its beginning.
                    self.from = TailFrom::Beginning;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn places_after(&self, mark: &Mark) -> VecDeque<Place> {
        let (places, is_found) = places_after(&self.path, mark);
        if !is_found && self.open.is_none() && self.rotated.is_none() {
            let file = self.path.display();
            tracing::warn!(%file, "the file that was read last is gone; lines may be missing from it");
        }
        places.into()
    }

    /// The open file is done with; what comes after it is looked for.
    fn turn_to_next(&mut self) {
        let mark = self.open.as_ref().map(OpenFile::mark);
        self.next = mark.map(|mark| self.places_after(&mark)).unwrap_or_default();
        self.open = None;
    }

    /// At the end of the followed file: whether its path leads to another one by now, and for how long.
    fn watch_rotation(&mut self, chunk: &mut Chunk) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let is_other = match std::fs::metadata(&self.path) {
            Ok(meta) => (meta.dev(), meta.ino()) != (open.id.device, open.id.inode),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !is_other {
            self.rotated = None;
            return Ok(());
        }
        if self.rotated.get_or_insert_with(Instant::now).elapsed() >= ROTATION_GRACE {
            open.finish(&mut chunk.lines);
            self.note(chunk);
            self.turn_to_next();
            chunk.is_idle = false;
        }
        Ok(())
    }
}

impl OpenFile {
    fn at(place: &Place, is_live: bool) -> io::Result<Self> {
        let (mut file, meta) = open(&place.path)?;
        file.seek(SeekFrom::Start(place.offset))?;
        let head = Head::of(&beginning(&file)?);
        let id = FileId { device: meta.dev(), inode: meta.ino(), head };
        let (offset, part) = (place.offset, Vec::new());
        Ok(Self { file, id, is_live, offset, part, skipping: None, number: 0 })
    }

    fn mark(&self) -> Mark {
        Mark { file: self.id, offset: self.offset }
    }

    fn first_line(&self) -> io::Result<Vec<u8>> {
        let mut start = BufReader::new(Beginning { file: &self.file, at: 0 });
        let mut line = Vec::new();
        start.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        Ok(line)
    }

    /// What was there before is not read, nor the rest of a line that was begun.
    fn skip_to_end(&mut self) -> io::Result<()> {
        self.offset = self.file.seek(SeekFrom::End(0))?;
        let mut last = [b'\n'];
        if self.offset > 0 {
            self.file.read_exact_at(&mut last, self.offset - 1)?;
        }
        self.skipping = (last != [b'\n']).then_some(Skip::Begun);
        Ok(())
    }

    /// Whether it is shorter than what was read of it, or begins otherwise. What it begins with is known better
    /// the longer it is.
    fn was_truncated(&mut self) -> io::Result<bool> {
        let read = self.offset + self.part.len() as u64;
        if self.file.metadata()?.len() < read {
            return Ok(true);
        }
        let beginning = beginning(&self.file)?;
        if !self.id.head.begins(&beginning) {
            return Ok(true);
        }
        self.id.head = Head::of(&beginning);
        Ok(false)
    }

    /// Reads a piece and gives out its whole lines; false at the end.
    fn read(&mut self, lines: &mut Vec<TailLine>) -> io::Result<bool> {
        let mut piece = vec![0; READ_BYTES];
        let bytes = self.file.read(&mut piece)?;
        for text in piece[..bytes].split_inclusive(|byte| *byte == b'\n') {
            self.take(text, lines);
        }
        Ok(bytes > 0)
    }

    /// A piece of one line, perhaps with its end.
    fn take(&mut self, text: &[u8], lines: &mut Vec<TailLine>) {
        let is_end = text.ends_with(b"\n");
        if self.skipping.is_some() {
            self.offset += text.len() as u64;
        } else {
            self.part.extend_from_slice(text);
            if self.part.len() > LINE_BYTES_MAX {
                self.offset += self.part.len() as u64;
                self.part = Vec::new();
                self.skipping = Some(Skip::TooLong);
            }
        }
        if is_end {
            self.end_line(lines);
        }
    }

    fn end_line(&mut self, lines: &mut Vec<TailLine>) {
        let skipped = self.skipping.take();
        if skipped == Some(Skip::Begun) {
            return;
        }
        let text = skipped.is_none().then(|| std::mem::take(&mut self.part));
        self.offset += text.as_ref().map_or(0, |text| text.len() as u64);
        self.number += 1;
        lines.push(TailLine { number: self.number, text, mark: self.mark() });
    }

    /// Nobody will end its last line any more.
    fn finish(&mut self, lines: &mut Vec<TailLine>) {
        if !self.part.is_empty() || self.skipping.is_some() {
            self.end_line(lines);
        }
    }
}

/// Reads a file from its start without moving its position.
struct Beginning<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Beginning<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
