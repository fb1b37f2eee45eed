//! The newest index entries of the active segment: in memory until there are enough for one write.

use super::IndexEntry;

#[derive(Debug, Default)]
pub(crate) struct IndexTail {
    /// Number of the first entry held here; those before it are in the file.
    first: u32,
    entries: Vec<IndexEntry>,
}

impl IndexTail {
    /// A tail behind `in_file` entries that are in the file.
    pub fn after(in_file: u32) -> Self {
        Self { first: in_file, entries: Vec::new() }
    }

    pub fn first(&self) -> u32 {
        self.first
    }

    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    pub fn extend(&mut self, entries: &mut Vec<IndexEntry>) {
        self.entries.append(entries);
    }

    /// Everything held is in the file now.
    pub fn written(&mut self) {
        self.first += u32::try_from(self.entries.len()).expect("a tail is short");
        self.entries = Vec::new();
    }

    /// `in_file` entries were written to the file directly.
    pub fn skip_to(&mut self, in_file: u32) {
        self.first = in_file;
    }

    /// Up to `count` entries from `number` on, if they are here.
    pub fn get(&self, number: u32, count: u32) -> Option<&[IndexEntry]> {
        let skip = usize::try_from(number.checked_sub(self.first)?).expect("u32 fits usize");
        let held = self.entries.get(skip..)?;
        Some(&held[..held.len().min(count as usize)])
    }
}
