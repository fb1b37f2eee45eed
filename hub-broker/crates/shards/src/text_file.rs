//! The small text files of a data directory: a title with the format's number, lines, and a checksum.
//!
//! ```text
//! TITLE, format N
//! …
//! crc32c HEX         over all lines before it
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::DataDirError;

/// Which of the files it is.
pub(crate) struct Kind {
    pub title: &'static str,
    /// The only format that this version reads and writes.
    pub format: u32,
}

impl Kind {
    /// The whole file around `lines`, each of which ends with a line feed.
    pub(crate) fn seal(&self, lines: &str) -> String {
        let body = format!("{}, format {}\n{lines}", self.title, self.format);
        let crc = crc32c::crc32c(body.as_bytes());
        format!("{body}crc32c {crc:08x}\n")
    }

    /// The lines between title and checksum, which are verified.
    pub(crate) fn open<'a>(&self, path: &Path, bytes: &'a [u8]) -> Result<&'a str, DataDirError> {
        let damaged = |what| DataDirError::Damaged { path: path.to_owned(), what };
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("not text"))?;
        let (title, rest) = text.split_once('\n').ok_or_else(|| damaged("the first line has no end"))?;
        let number = title.strip_prefix(self.title).and_then(|rest| rest.strip_prefix(", format "));
        let found: u32 = number
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| damaged("the first line is not this file's"))?;
        if found != self.format {
            return Err(DataDirError::Version { path: path.to_owned(), found, supported: self.format });
        }
        let lines = rest.rfind("crc32c ").and_then(|at| rest.get(..at));
        let lines = lines.ok_or_else(|| damaged("the checksum is missing"))?;
        if self.seal(lines) != text {
            return Err(damaged("the checksum is wrong"));
        }
        Ok(lines)
    }
}

/// What a file holds, if there is one.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, DataDirError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataDirError::Io { path: path.to_owned(), source }),
    }
}

pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes a small file as a whole: the old one or the new one is there, whatever happens.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}
