//! Finds whole entries in the pages of an LMDB file, without its tree.
//!
//! LMDB's pages (mdb.c): `pgno, pad u16, flags u16, then lower u16, upper u16` of a leaf, whose `u16` offsets of nodes
//! follow; a node is `size low u16, size high u16, flags u16, key size u16, key, data`. A page number is a word of the
//! machine that wrote it, so that everything is 4 bytes further in front in a file of a 32-bit machine. Which it is
//! shows at the magic number of the meta page.

use std::fs::File;
use std::io;
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

/// A whole entry in the file.
#[derive(Clone, Debug)]
pub(super) struct Scrap {
    pub head: Head,
    pub position: u64,
    pub bytes: usize,
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
    fn of(file: &File, page_bytes: usize) -> io::Result<Self> {
        for position in [0, page_bytes, PAGE_BYTES] {
            let page = read_up_to(file, position as u64, 64)?;
            let found = [Self::OF_32_BITS, Self::OF_64_BITS];
            let layout = found.into_iter().find(|layout| u32_at(&page, layout.header_bytes) == Some(MAGIC));
            if let Some(layout) = layout {
                return Ok(layout);
            }
        }
        let is_short = cfg!(target_pointer_width = "32");
        Ok(if is_short { Self::OF_32_BITS } else { Self::OF_64_BITS })
    }

    fn flags(self, page: &[u8]) -> u16 {
        u16_at(page, self.header_bytes - 6).unwrap_or(0)
    }

    fn lower(self, page: &[u8]) -> usize {
        usize::from(u16_at(page, self.header_bytes - 4).unwrap_or(0))
    }
}

/// Every whole entry in the file.
pub(super) fn scan(file: &File) -> io::Result<Vec<Scrap>> {
    let length = file.metadata()?.len();
    let page_bytes = rustix::param::page_size().clamp(PAGE_BYTES, PAGE_BYTES_MAX);
    let layout = Layout::of(file, page_bytes)?;
    let mut scraps = Vec::new();
    let mut position = 0;
    while position < length {
        let page = read_up_to(file, position, page_bytes)?;
        let flags = layout.flags(&page);
        if flags & FLAG_OVERFLOW != 0 {
            let at = position + layout.header_bytes as u64;
            let bytes =
                page.get(layout.header_bytes..).and_then(length_of).filter(|bytes| *bytes <= ENTRY_BYTES_MAX);
            if let Some(bytes) = bytes {
                let value = read_up_to(file, at, bytes)?;
                scraps.extend(whole(&value.into(), at));
            }
        } else if flags & FLAG_LEAF != 0 {
            scraps.extend(leaf_values(&page, layout).filter_map(|(at, bytes)| {
                let value = Bytes::copy_from_slice(page.get(at..at + bytes)?);
                whole(&value, position + at as u64)
            }));
        }
        position += PAGE_BYTES as u64;
    }
    Ok(scraps)
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

fn read_up_to(file: &File, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut page = vec![0; bytes];
    let mut read = 0;
    while read < bytes {
        match file.read_at(&mut page[read..], position + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    page.truncate(read);
    Ok(page)
}

/// So many bytes, all of them.
pub(super) fn read(file: &File, position: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut value = vec![0; bytes];
    file.read_exact_at(&mut value, position)?;
    Ok(value)
}
