//! At which offset each key was written last.

use std::collections::HashMap;

use schemas::{Offset, Record};

use super::each_batch;
use super::rewrite::walk;
use crate::epochs::EpochHistory;
use crate::error::CompactError;
use crate::limits::COMPACTION_KEY_BYTES_MAX;
use crate::segment::SegmentView;

#[derive(Debug, Default)]
pub(super) struct LastOffsets {
    by_key: HashMap<Box<[u8]>, Offset>,
    key_bytes: usize,
    /// Records from here on have not been looked at, for want of memory, and all stay.
    end: Option<Offset>,
}

impl LastOffsets {
    pub fn collect(segments: &[SegmentView], epochs: &EpochHistory) -> Result<Self, CompactError> {
        let mut last = Self::default();
        for segment in segments {
            each_batch(segment, epochs, |batch| {
                let base = Offset(batch.header().base_offset);
                if last.key_bytes >= COMPACTION_KEY_BYTES_MAX {
                    last.end = Some(base);
                    return Ok(false);
                }
                walk(batch, |offset, record| last.note(offset, record))?;
                Ok(true)
            })?;
            if last.end.is_some() {
                break;
            }
        }
        Ok(last)
    }

    fn note(&mut self, offset: Offset, record: &Record) {
        let Some(key) = &record.key else {
            return;
        };
        if let Some(known) = self.by_key.get_mut(&key[..]) {
            *known = offset;
        } else {
            self.key_bytes += key.len();
            self.by_key.insert(key[..].into(), offset);
        }
    }

    pub fn keeps(&self, offset: Offset, record: &Record, drops_tombstones: bool) -> bool {
        if self.end.is_some_and(|end| offset >= end) {
            return true;
        }
        let Some(key) = &record.key else {
            return true;
        };
        let is_last = self.by_key.get(&key[..]) == Some(&offset);
        is_last && !(drops_tombstones && record.value.is_none())
    }
}
