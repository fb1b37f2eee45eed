//! Whether LMDB's own pages make sense: each page of the trees is there once, is what it is taken for, and is not free.
//!
//! LMDB believes its pages. A free list of garbage is not met before a commit takes pages from it, maybe days later, and
//! then ends the process or writes over what is in use. So the file is read here page by page, without a map.
//!
//! What scan.rs says of pages holds here; a word is that of this machine. A meta page goes on (mdb.c):
//! `magic u32, version u32, address, map size, two trees, last page, transaction`; a tree is
//! `pad u32, flags u16, depth u16, branches, leaves, overflows, entries, root`, first that of the free list. A branch's
//! nodes have their child in place of size and flags. The free list's values are a count and so many page numbers,
//! falling.

use std::fs::File;
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::environment::EnvironmentError;
use crate::limits::MAP_BYTES_MAX;

const WORD: usize = size_of::<usize>();
const HEADER: usize = WORD + 8;
const MAGIC: u32 = 0xBEEF_C0DE;
const FLAG_BRANCH: u16 = 0x01;
const FLAG_LEAF: u16 = 0x02;
const FLAG_OVERFLOW: u16 = 0x04;
/// What says which kind a page is.
const KINDS: u16 = 0x6F;
const NODE_HEADER: usize = 8;
const NODE_FLAG_BIG: u16 = 0x01;
const TREE_BYTES: usize = 8 + 5 * WORD;
const TREES: usize = HEADER + 8 + 2 * WORD;
/// The root of a tree that is empty.
const NO_PAGE: u64 = if WORD == 8 { u64::MAX } else { u32::MAX as u64 };
const META_PAGES: u64 = 2;
const FREE: usize = 0;
const ENTRIES: usize = 1;
const PAGE_BYTES: RangeInclusive<u64> = 512..=65536;

/// Reads all pages of the trees and of the free list. A file that is none of this machine's is for LMDB to refuse.
///
/// # Errors
/// Damage, or pages that cannot be read.
pub(super) fn verify(path: &Path) -> Result<(), EnvironmentError> {
    let file = File::open(path)?;
    let Some(Metas { page_bytes, newest }) = metas(&file) else { return Ok(()) };
    let file_pages = file.metadata()?.len() / page_bytes;
    let last = word_at(&newest, TREES + 2 * TREE_BYTES).unwrap_or(0);
    if last > MAP_BYTES_MAX / page_bytes {
        return Err(damage(last, "no file has so many"));
    }
    let root = |tree: usize| word_at(&newest, TREES + (tree + 1) * TREE_BYTES - WORD).unwrap_or(NO_PAGE);
    let mut check = Check { file, page_bytes, file_pages, last, seen: vec![0; last as usize / 64 + 1] };
    (0..META_PAGES).try_for_each(|number| check.take(number))?;
    check.tree(root(ENTRIES), |_, _, _| ())?;
    let mut free = Vec::new();
    check.tree(root(FREE), |number, page, value| {
        free.push((
            number,
            if let Value::Here(at) = &value { Ok(page[at.clone()].to_vec()) } else { Err(value) },
        ));
    })?;
    for (number, value) in free {
        let bytes = value.or_else(|value| check.own(&value))?;
        check.free_list(number, &bytes)?;
    }
    Ok(())
}

struct Metas {
    page_bytes: u64,
    newest: Vec<u8>,
}

/// `None` where neither is this machine's.
fn metas(file: &File) -> Option<Metas> {
    let own = |position: u64| {
        let mut meta = vec![0; TREES + 2 * TREE_BYTES + 2 * WORD];
        file.read_exact_at(&mut meta, position).ok()?;
        let page_bytes = u64::from(u32_at(&meta, TREES)?);
        let is_own = u32_at(&meta, HEADER)? == MAGIC && PAGE_BYTES.contains(&page_bytes);
        (is_own && page_bytes.is_power_of_two()).then_some((page_bytes, meta))
    };
    let first = own(0);
    let page_bytes = first.as_ref().map_or(rustix::param::page_size() as u64, |(bytes, _)| *bytes);
    let both = [first, own(page_bytes)].into_iter().flatten();
    let (page_bytes, newest) = both.max_by_key(|(_, meta)| word_at(meta, TREES + 2 * TREE_BYTES + WORD))?;
    Some(Metas { page_bytes, newest })
}

struct Check {
    file: File,
    page_bytes: u64,
    /// Behind these there may be free ones.
    file_pages: u64,
    last: u64,
    /// A bit a page.
    seen: Vec<u64>,
}

impl Check {
    fn tree(&mut self, root: u64, mut show: impl FnMut(u64, &[u8], Value)) -> Result<(), EnvironmentError> {
        let mut pending = if root == NO_PAGE { Vec::new() } else { vec![root] };
        while let Some(number) = pending.pop() {
            self.take(number)?;
            let page = self.read(number, self.page_bytes as usize)?;
            let is_branch = match kind_of(&page, number)? {
                FLAG_BRANCH => true,
                FLAG_LEAF => false,
                _ => return Err(damage(number, "it is no page of a tree")),
            };
            for node in nodes(&page, number)? {
                let (low, high, flags) =
                    (u16_at(&page, node), u16_at(&page, node + 2), u16_at(&page, node + 4));
                let (Some(low), Some(high), Some(flags)) = (low, high, flags) else {
                    return Err(damage(number, "a node goes beyond it"));
                };
                let size = u64::from(low) | u64::from(high) << 16;
                if is_branch {
                    let upper = if WORD == 8 { u64::from(flags) << 32 } else { 0 };
                    pending.push(size | upper);
                } else {
                    show(number, &page, self.value(&page, number, node, (size, flags))?);
                }
            }
        }
        Ok(())
    }

    /// Where a leaf's value lies; its own pages are taken.
    fn value(
        &mut self,
        page: &[u8],
        number: u64,
        node: usize,
        (size, flags): (u64, u16),
    ) -> Result<Value, EnvironmentError> {
        let key = usize::from(u16_at(page, node + 6).unwrap_or(0));
        let at = node + NODE_HEADER + key;
        if flags & NODE_FLAG_BIG == 0 {
            let value = at..at.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
            let is_there = value.end <= page.len();
            return if is_there {
                Ok(Value::Here(value))
            } else {
                Err(damage(number, "a value goes beyond it"))
            };
        }
        let first = word_at(page, at).ok_or_else(|| damage(number, "a value goes beyond it"))?;
        let head = self.read(first, HEADER)?;
        if kind_of(&head, first)? != FLAG_OVERFLOW {
            return Err(damage(first, "it is no page of a value"));
        }
        let pages = u32_at(&head, HEADER - 4).map_or(0, u64::from);
        // They may be those of a longer value that was there before.
        if pages * self.page_bytes < size + HEADER as u64 || first + pages > self.file_pages {
            return Err(damage(first, "it is shorter than its value"));
        }
        (first..first + pages).try_for_each(|number| self.take(number))?;
        Ok(Value::Own { first, bytes: size })
    }

    /// A value on pages of its own.
    fn own(&self, value: &Value) -> Result<Vec<u8>, EnvironmentError> {
        let Value::Own { first, bytes } = value else { return Ok(Vec::new()) };
        let mut value = self.read(*first, HEADER + usize::try_from(*bytes).unwrap_or(usize::MAX - HEADER))?;
        Ok(value.split_off(HEADER))
    }

    fn free_list(&mut self, page: u64, value: &[u8]) -> Result<(), EnvironmentError> {
        let wrong = || damage(page, "its list of free pages makes no sense");
        let count = word_at(value, 0).and_then(|count| usize::try_from(count).ok()).ok_or_else(wrong)?;
        let mut before = u64::MAX;
        for at in 1..=count {
            let number = at.checked_mul(WORD).and_then(|at| word_at(value, at)).ok_or_else(wrong)?;
            if number >= before {
                return Err(wrong());
            }
            before = number;
            self.take(number)?;
        }
        Ok(())
    }

    /// Of a page, and of those behind it where it is longer.
    fn read(&self, number: u64, bytes: usize) -> Result<Vec<u8>, EnvironmentError> {
        let pages = (bytes as u64).div_ceil(self.page_bytes);
        if number.checked_add(pages).is_none_or(|end| end > self.file_pages) {
            return Err(damage(number, "the file ends before it"));
        }
        let mut page = vec![0; bytes];
        self.file.read_exact_at(&mut page, number * self.page_bytes)?;
        Ok(page)
    }

    /// Each page is used once.
    fn take(&mut self, number: u64) -> Result<(), EnvironmentError> {
        if number > self.last {
            return Err(damage(number, "it is not in the file"));
        }
        let (word, bit) = (number as usize / 64, 1 << (number % 64));
        let seen = self.seen.get_mut(word).ok_or_else(|| damage(number, "it is not in the file"))?;
        if *seen & bit != 0 {
            return Err(damage(number, "it is used twice"));
        }
        *seen |= bit;
        Ok(())
    }
}

enum Value {
    /// In the leaf.
    Here(Range<usize>),
    /// On pages of its own.
    Own { first: u64, bytes: u64 },
}

fn kind_of(page: &[u8], number: u64) -> Result<u16, EnvironmentError> {
    if word_at(page, 0) != Some(number) {
        return Err(damage(number, "another page is in its place"));
    }
    Ok(u16_at(page, WORD + 2).unwrap_or(0) & KINDS)
}

fn nodes(page: &[u8], number: u64) -> Result<Vec<usize>, EnvironmentError> {
    let lower = usize::from(u16_at(page, WORD + 4).unwrap_or(0));
    let upper = usize::from(u16_at(page, WORD + 6).unwrap_or(0));
    if lower < HEADER || lower > upper || upper > page.len() {
        return Err(damage(number, "its bounds make no sense"));
    }
    let pointers = (HEADER..lower).step_by(2).map(|at| u16_at(page, at).map(usize::from));
    let nodes: Option<Vec<usize>> = pointers.map(|node| node.filter(|node| *node >= upper)).collect();
    nodes.ok_or_else(|| damage(number, "a node lies outside of its place"))
}

fn damage(page: u64, why: &'static str) -> EnvironmentError {
    EnvironmentError::Structure { page, why }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(|word| usize::from_ne_bytes(word) as u64)
}

#[cfg(test)]
mod tests;
