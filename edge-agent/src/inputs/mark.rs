//! How far a file was read: a file's identity and an offset in it, small enough to be written with every batch.
//!
//! ```text
//! 1 {device} {inode} {offset} {head bytes} {CRC-32C of the head, hex}
//! ```

use std::fmt;
use std::str::FromStr;

const VERSION: &str = "1";

/// Everything before `offset` of this file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub file: FileId,
    pub offset: u64,
}

/// A file, under whatever name: inodes are used again, so what it begins with belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
    pub head: Head,
}

impl FileId {
    /// Only one of such files can still be there.
    pub fn is_in_place_of(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// The first bytes of a file that may still grow; of one that is finished, also when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub bytes: u32,
    pub crc: u32,
}

impl Head {
    /// What of a file is looked at.
    pub const BYTES_MAX: usize = 256;

    pub fn of(beginning: &[u8]) -> Self {
        let head = &beginning[..beginning.len().min(Self::BYTES_MAX)];
        Self { bytes: head.len() as u32, crc: crc32c::crc32c(head) }
    }

    /// The same with when the file was made, in seconds and nanoseconds: exports begin alike, and one that is made later
    /// in the same place is another.
    pub fn of_made(beginning: &[u8], made: (i64, u32)) -> Self {
        let head = Self::of(beginning);
        let crc = crc32c::crc32c_append(head.crc, &made.0.to_le_bytes());
        Self { crc: crc32c::crc32c_append(crc, &made.1.to_le_bytes()), ..head }
    }

    /// Whether a finished file that begins so and was made then may be the one that this is of, grown since.
    pub fn begins_made(&self, beginning: &[u8], made: (i64, u32)) -> bool {
        beginning.get(..self.bytes as usize).is_some_and(|head| Self::of_made(head, made) == *self)
    }

    /// Whether a file that begins so may be the one that this is of, grown since.
    pub fn begins(&self, beginning: &[u8]) -> bool {
        usize::try_from(self.bytes)
            .ok()
            .and_then(|bytes| beginning.get(..bytes))
            .is_some_and(|head| crc32c::crc32c(head) == self.crc)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileId { device, inode, head } = self.file;
        write!(f, "{VERSION} {device} {inode} {} {} {:08x}", self.offset, head.bytes, head.crc)
    }
}

/// It is of another version, or no mark at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMark;

impl FromStr for Mark {
    type Err = NoMark;

    fn from_str(text: &str) -> Result<Self, NoMark> {
        let words: Vec<&str> = text.split(' ').collect();
        let [VERSION, device, inode, offset, bytes, crc] = words.as_slice() else { return Err(NoMark) };
        let number = |word: &str| word.parse::<u64>().map_err(|_| NoMark);
        let head = Head {
            bytes: bytes.parse().map_err(|_| NoMark)?,
            crc: u32::from_str_radix(crc, 16).map_err(|_| NoMark)?,
        };
        let file = FileId { device: number(device)?, inode: number(inode)?, head };
        Ok(Self { file, offset: number(offset)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_being_written() {
        let file = FileId { device: 64770, inode: u64::MAX, head: Head::of(b"time,a\n") };
        let mark = Mark { file, offset: 12_345_678_901 };
        assert_eq!(mark.to_string().parse(), Ok(mark));
        for wrong in ["", "2 1 1 1 1 0", "1 1 1 1 1", "1 1 1 x 1 0", "1 1 1 1 1 0 7"] {
            assert_eq!(wrong.parse::<Mark>(), Err(NoMark), "{wrong}");
        }
    }

    #[test]
    fn a_file_that_has_grown_is_the_same_and_another_beginning_is_not() {
        let head = Head::of(b"time,a\n");
        assert!(head.begins(b"time,a\n1,2\n") && !head.begins(b"time,b\n1,2\n") && !head.begins(b"time"));
        assert!(Head::of(b"").begins(b"anything"), "nothing was known of it");
        assert_eq!(Head::of(&[7; 1000]).bytes as usize, Head::BYTES_MAX);
    }

    #[test]
    fn a_file_that_begins_alike_and_was_made_later_is_another() {
        let made = |beginning, seconds| Head::of_made(beginning, (seconds, 5));
        assert_eq!(made(b"time,a\n", 1), made(b"time,a\n", 1));
        assert_ne!(made(b"time,a\n", 1), made(b"time,a\n", 2));
        assert_ne!(made(b"time,a\n", 1), made(b"time,b\n", 1));
        let grown = |beginning, seconds| made(b"time,a\n", 1).begins_made(beginning, (seconds, 5));
        assert!(grown(b"time,a\n1,2\n", 1) && grown(b"time,a\n", 1));
        assert!(!grown(b"time,a\n1,2\n", 2) && !grown(b"time,b\n1,2\n", 1) && !grown(b"time", 1));
    }
}
