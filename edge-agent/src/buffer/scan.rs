//! Finds whole entries in the pages of an LMDB file, without its tree.
//!
//! LMDB's pages (mdb.c): `pgno, pad u16, flags u16, then lower u16, upper u16` of a leaf, whose `u16` offsets of nodes
//! follow; a node is `size low u16, size high u16, flags u16, key size u16, key, data`. A page number is a word of the
//! machine that wrote it, so that everything is 4 bytes further in front in a file of a 32-bit machine. Which it is
//! shows at the magic number of the meta page.
//!
//! A page that the disk cannot read is left out: the others are as good as before.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use schemas::is_stream_id;
use schemas::limits::AGENT_BATCH_BYTES_MAX;

use super::entry::{Head, length_of, verify};

/// Pages are a multiple of this, wherever the file was written.
const PAGE_BYTES: usize = 4096;
/// The largest pages that there are: a leaf of theirs holds as much.
const PAGE_BYTES_MAX: usize = 64 << 10;
const FLAG_LEAF: u16 = 0x02;
const FLAG_OVERFLOW: u16 = 0x04;
const NODE_HEADER_BYTES: usize = 8;
const NODE_FLAG_BIG: u16 = 0x01;
const ENTRY_BYTES_MAX: usize = AGENT_BATCH_BYTES_MAX + 64;
/// At the beginning of what a meta page says.
const MAGIC: u32 = 0xBEEF_C0DE;

/// Where pages are read from, any of which may be unreadable.
pub(super) trait Pages {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize>;
}

/// There is nothing in a file that cannot be opened.
impl Pages for Option<File> {
    fn read_at(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        self.as_ref().map_or(Ok(0), |file| file.read_at(into, position))
    }
}

/// A whole entry in the file.
#[derive(Clone, Debug)]
pub(super) struct Scrap {
    pub head: Head,
    pub position: u64,
    pub bytes: usize,
}

/// What could not be read.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    pub pages: u64,
    pub last: Option<io::Error>,
}

/// A file of which nothing is believed but what its pages show.
pub(super) struct Scan<'a> {
    pages: &'a dyn Pages,
    length: u64,
    page_bytes: usize,
    layout: Layout,
}

/// Where things stand in a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    header_bytes: usize,
}

impl Layout {
    const OF_32_BITS: Self = Self { header_bytes: 12 };
    const OF_64_BITS: Self = Self { header_bytes: 16 };

    /// By either meta page; this machine's where both are gone.
    fn of(pages: &dyn Pages, page_bytes: usize) -> Self {
        for position in [0, page_bytes, PAGE_BYTES] {
            let page = read_up_to(pages, position as u64, 64).unwrap_or_default();
            let found = [Self::OF_32_BITS, Self::OF_64_BITS];
            let layout = found.into_iter().find(|layout| u32_at(&page, layout.header_bytes) == Some(MAGIC));
            if let Some(layout) = layout {
                return layout;
            }
        }
        if cfg!(target_pointer_width = "32") { Self::OF_32_BITS } else { Self::OF_64_BITS }
    }

    fn flags(self, page: &[u8]) -> u16 {
        u16_at(page, self.header_bytes - 6).unwrap_or(0)
    }

    fn lower(self, page: &[u8]) -> usize {
        usize::from(u16_at(page, self.header_bytes - 4).unwrap_or(0))
    }
}

impl<'a> Scan<'a> {
    pub fn of(pages: &'a dyn Pages, length: u64) -> Self {
        let page_bytes = rustix::param::page_size().clamp(PAGE_BYTES, PAGE_BYTES_MAX);
        Self { pages, length, page_bytes, layout: Layout::of(pages, page_bytes) }
    }

    /// Shows every whole entry in the file, as often as it is there.
    pub fn each(&self, mut show: impl FnMut(Scrap)) -> Unreadable {
        let mut unreadable = Unreadable::default();
        let mut position = 0;
        while position < self.length {
            let mut pages = 1;
            match read_up_to(self.pages, position, self.page_bytes) {
                Ok(page) => pages = self.show_page(&page, position, &mut show),
                Err(error) => {
                    unreadable.pages += 1;
                    unreadable.last = Some(error);
                }
            }
            position += pages * PAGE_BYTES as u64;
        }
        unreadable
    }

    /// Answers how many pages that was.
    fn show_page(&self, page: &[u8], position: u64, show: &mut impl FnMut(Scrap)) -> u64 {
        let flags = self.layout.flags(page);
        if flags & FLAG_OVERFLOW != 0 {
            let at = position + self.layout.header_bytes as u64;
            let bytes = page.get(self.layout.header_bytes..).and_then(length_of);
            if let Some(scrap) = bytes.and_then(|bytes| self.entry(at, bytes)).map(|(scrap, _)| scrap) {
                let pages = (self.layout.header_bytes + scrap.bytes).div_ceil(PAGE_BYTES) as u64;
                show(scrap);
                return pages;
            }
        } else if flags & FLAG_LEAF != 0 {
            for (at, bytes) in leaf_values(page, self.layout) {
                let value = page.get(at..at + bytes).map(Bytes::copy_from_slice);
                value.and_then(|value| whole(&value, position + at as u64)).into_iter().for_each(&mut *show);
            }
        }
        1
    }

    /// The entry that stands there, if it is whole.
    pub fn entry(&self, position: u64, bytes: usize) -> Option<(Scrap, Bytes)> {
        let value = read_up_to(self.pages, position, Some(bytes).filter(|bytes| *bytes <= ENTRY_BYTES_MAX)?);
        let value = Bytes::from(value.ok()?);
        Some((whole(&value, position)?, value))
    }

    /// The part of the file that nobody needs once this entry is copied; `None` where others are in it that are
    /// still needed.
    pub fn freed_by(
        &self,
        position: u64,
        bytes: usize,
        is_done: impl Fn(&Head) -> bool,
    ) -> Option<Range<u64>> {
        let begin = position - position % self.page_bytes as u64;
        if position == begin + self.layout.header_bytes as u64 {
            return Some(begin..(position + bytes as u64).next_multiple_of(PAGE_BYTES as u64));
        }
        // How large a leaf is in a file of another machine is not known.
        let page =
            read_up_to(self.pages, begin, self.page_bytes).ok().filter(|page| page.len() == PAGE_BYTES)?;
        let mut is_free = true;
        self.show_page(&page, begin, &mut |scrap: Scrap| is_free &= is_done(&scrap.head));
        is_free.then_some(begin..begin + PAGE_BYTES as u64)
    }
}

fn whole(value: &Bytes, position: u64) -> Option<Scrap> {
    let head = verify(value).ok().filter(|head| is_stream_id(head.stream))?;
    Some(Scrap { head, position, bytes: value.len() })
}

/// Position and length of the values that lie in a leaf page itself.
fn leaf_values(page: &[u8], layout: Layout) -> impl Iterator<Item = (usize, usize)> {
    (layout.header_bytes..layout.lower(page)).step_by(2).filter_map(move |pointer| {
        let node = usize::from(u16_at(page, pointer)?);
        let size = usize::from(u16_at(page, node)?) | usize::from(u16_at(page, node + 2)?) << 16;
        let (flags, key_bytes) = (u16_at(page, node + 4)?, usize::from(u16_at(page, node + 6)?));
        let at = node + NODE_HEADER_BYTES + key_bytes;
        (flags & NODE_FLAG_BIG == 0 && at + size <= page.len()).then_some((at, size))
    })
}

/// LMDB writes the machine's own byte order.
fn u16_at(page: &[u8], at: usize) -> Option<u16> {
    page.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u32_at(page: &[u8], at: usize) -> Option<u32> {
    page.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn read_up_to(pages: &dyn Pages, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut page = vec![0; bytes];
    let mut read = 0;
    while read < bytes {
        match pages.read_at(&mut page[read..], position + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    page.truncate(read);
    Ok(page)
}
