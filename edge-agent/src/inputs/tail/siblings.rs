//! Which file is which: the one that is followed, and those that it was rotated to.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::inputs::mark::{FileId, Head, Mark};

/// Rotated files with one of these endings are compressed; they are not read.
const COMPRESSED: [&str; 5] = ["gz", "bz2", "xz", "zst", "lz4"];

/// Where reading goes on in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub path: PathBuf,
    pub offset: u64,
}

/// What can be told of a file by looking at it.
pub struct Seen {
    pub path: PathBuf,
    pub meta: Metadata,
    pub beginning: Vec<u8>,
}

impl Seen {
    pub fn at(path: &Path) -> io::Result<Self> {
        let (file, meta) = open(path)?;
        Ok(Self { path: path.to_owned(), meta, beginning: beginning(&file)? })
    }

    fn is_inode_of(&self, file: &FileId) -> bool {
        (self.meta.dev(), self.meta.ino()) == (file.device, file.inode)
    }

    /// Whether it may hold what comes after the mark.
    fn goes_on(&self, mark: &Mark) -> bool {
        mark.file.head.begins(&self.beginning) && self.meta.len() >= mark.offset
    }

    fn from(&self, offset: u64) -> Place {
        Place { path: self.path.clone(), offset }
    }
}

/// Opens a regular file; anything else is refused without waiting, as a pipe would make one wait for a writer.
pub fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let at_once = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(at_once).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
    }
    Ok((file, meta))
}

/// The first bytes of a file, as far as they tell it from others.
pub fn beginning(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; Head::BYTES_MAX];
    let mut read = 0;
    while let more @ 1.. = file.read_at(&mut bytes[read..], read as u64)? {
        read += more;
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// What is to be read after the mark, in order: the rest of the file that it is of, those that were written after
/// it, and the followed file, which is last. False where the file of the mark is not there any more.
pub fn places_after(followed: &Path, mark: &Mark) -> (Vec<Place>, bool) {
    let live = Seen::at(followed).ok();
    let is_same = |seen: &Seen| seen.is_inode_of(&mark.file);
    if let Some(live) = live.as_ref().filter(|live| is_same(live) && live.goes_on(mark)) {
        return (vec![live.from(mark.offset)], true);
    }
    let rotated = rotated(followed);
    let renamed = rotated.iter().position(|seen| is_same(seen) && seen.goes_on(mark));
    // Where the file was copied and then truncated, the copy is another inode with the same beginning.
    let is_truncated = live.as_ref().is_some_and(is_same);
    let copied = || rotated.iter().rposition(|seen| is_truncated && seen.goes_on(mark));
    let found = renamed.or_else(copied);
    let mut places = Vec::new();
    if let Some(at) = found {
        places.push(rotated[at].from(mark.offset));
        places.extend(rotated[at + 1..].iter().map(|seen| seen.from(0)));
    }
    places.push(Place { path: followed.to_owned(), offset: 0 });
    (places, found.is_some())
}

/// Files beside the followed one whose names begin with its name, the one that was written to longest ago first.
fn rotated(followed: &Path) -> Vec<Seen> {
    let (Some(folder), Some(name)) = (followed.parent(), followed.file_name()) else { return Vec::new() };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_rotated = |path: &Path| {
        let own = path.file_name().unwrap_or_default().as_encoded_bytes();
        let compressed =
            path.extension().and_then(OsStr::to_str).is_some_and(|end| COMPRESSED.contains(&end));
        own.len() > name.len() && own.starts_with(name.as_encoded_bytes()) && !compressed
    };
    let paths = entries.map(|entry| entry.path()).filter(|path| is_rotated(path));
    let mut seen: Vec<Seen> = paths.filter_map(|path| Seen::at(&path).ok()).collect();
    seen.sort_by_key(|seen| (seen.meta.mtime(), seen.meta.mtime_nsec()));
    seen
}
