//! Where a segment lies, and reading from there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;
use schemas::Offset;

use crate::error::{Damage, DamageKind, ReadError, is_unreadable};
use crate::files::{FileCache, FileKey, ObsoleteFiles};
use crate::index::{self, ENTRY_BYTES, IndexEntry, IndexTail};
use crate::names::{FileKind, INDEX_EXTENSION, LOG_EXTENSION, file_name};

#[derive(Debug)]
pub(crate) struct SegmentFiles {
    pub id: u64,
    pub base_offset: Offset,
    dir: Arc<Path>,
    cache: FileCache,
    log_key: FileKey,
    index_key: FileKey,
    pub tail: RwLock<IndexTail>,
}

impl SegmentFiles {
    /// `in_file`: entries that the index file already has.
    pub fn new(dir: Arc<Path>, cache: FileCache, id: u64, base_offset: Offset, in_file: u32) -> Self {
        let tail = RwLock::new(IndexTail::after(in_file));
        Self { id, base_offset, dir, cache, log_key: FileKey::unique(), index_key: FileKey::unique(), tail }
    }

    pub fn path(&self, kind: FileKind) -> PathBuf {
        let extension = match kind {
            FileKind::Log => LOG_EXTENSION,
            FileKind::Index => INDEX_EXTENSION,
        };
        self.dir.join(file_name(self.base_offset, self.id, extension))
    }

    /// For writing. A new segment begins with empty files, whatever lay there under its name.
    pub fn open_for_write(&self, kind: FileKind, fresh: bool) -> io::Result<File> {
        let path = self.path(kind);
        self.cache.making_way(|| OpenOptions::new().write(true).create(true).truncate(fresh).open(&path))
    }

    pub fn obsolete(&self) -> ObsoleteFiles {
        let held = [self.log_key, self.index_key].map(|key| (self.cache.clone(), key));
        ObsoleteFiles::new(vec![self.path(FileKind::Log), self.path(FileKind::Index)], held.to_vec())
    }

    /// Notes damage that a reader of this partition met.
    pub fn damaged(&self, damage: &Damage) {
        self.cache.damaged(damage);
    }

    /// Lets go of a handle that may be of a file which was replaced.
    pub fn forget(&self, kind: FileKind) {
        self.cache.forget(self.key(kind));
    }

    /// The same place, for somebody who writes these files anew.
    pub fn beside(&self) -> Self {
        Self::new(self.dir.clone(), self.cache.clone(), self.id, self.base_offset, 0)
    }

    pub fn directory(&self) -> &Path {
        &self.dir
    }

    fn key(&self, kind: FileKind) -> FileKey {
        match kind {
            FileKind::Log => self.log_key,
            FileKind::Index => self.index_key,
        }
    }

    pub fn damage(&self, kind: FileKind, position: u64, what: DamageKind) -> Damage {
        Damage { file: self.path(kind), position, what }
    }

    /// What a failed read comes to.
    pub fn failed(&self, kind: FileKind, position: u64, source: io::Error) -> ReadError {
        match is_unreadable(&source) {
            true => self.damage(kind, position, DamageKind::Unreadable).into(),
            false => ReadError::Io { file: self.path(kind), source },
        }
    }

    fn open(&self, kind: FileKind) -> Result<Arc<File>, ReadError> {
        self.cache.get(self.key(kind), || self.path(kind)).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => self.damage(kind, 0, DamageKind::FileMissing).into(),
            _ => self.failed(kind, 0, source),
        })
    }

    fn read_at(&self, kind: FileKind, position: u64, out: &mut [u8]) -> Result<(), ReadError> {
        let file = self.open(kind)?;
        file.read_exact_at(out, position).map_err(|source| {
            if source.kind() != io::ErrorKind::UnexpectedEof {
                return self.failed(kind, position, source);
            }
            let actual_bytes = file.metadata().map_or(0, |metadata| metadata.len());
            let expected_bytes = position + out.len() as u64;
            self.damage(kind, actual_bytes, DamageKind::Truncated { expected_bytes, actual_bytes }).into()
        })
    }

    pub fn read_log(&self, position: u32, length: usize) -> Result<Bytes, ReadError> {
        let mut bytes = BytesMut::zeroed(length);
        self.read_at(FileKind::Log, u64::from(position), &mut bytes)?;
        Ok(bytes.freeze())
    }

    /// Appends index entries from `number` on to `out`: at least one, at most `count`.
    pub fn read_index(&self, number: u32, count: u32, out: &mut Vec<IndexEntry>) -> Result<(), ReadError> {
        let in_file = {
            let tail = self.tail.read();
            if let Some(held) = tail.get(number, count).filter(|held| !held.is_empty()) {
                out.extend_from_slice(held);
                return Ok(());
            }
            tail.first().saturating_sub(number)
        };
        let count = count.min(in_file).max(1);
        let mut bytes = vec![0; count as usize * ENTRY_BYTES];
        self.read_at(FileKind::Index, index::position_of(number), &mut bytes)?;
        for (number, entry) in (number..).zip(bytes.chunks_exact(ENTRY_BYTES)) {
            let entry = entry.try_into().expect("a chunk has the length of an entry");
            let decoded = IndexEntry::decode(self.id, number, entry).ok_or_else(|| {
                self.damage(FileKind::Index, index::position_of(number), DamageKind::IndexEntry)
            })?;
            out.push(decoded);
        }
        Ok(())
    }
}
