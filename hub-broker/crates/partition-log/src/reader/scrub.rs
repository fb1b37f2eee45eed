//! Reading everything in turn, so that damage is found before anyone needs the bytes.

use schemas::{BatchHeader, Offset};

use super::PartitionReader;
use crate::error::{Damage, ReadError};
use crate::view::View;

/// How far a scrub has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScrubStep {
    /// Where to go on; `None` at the end.
    pub next: Option<Offset>,
    /// Bytes that were read for it, about.
    pub bytes: usize,
    pub damage: Option<Damage>,
}

impl PartitionReader {
    /// Verifies about `max_bytes` from `from` on, and says where to go on: after a damaged batch behind it.
    /// Where `from` is no longer kept, the scrub goes on at the log's start.
    pub fn scrub(&self, from: Offset, max_bytes: usize) -> Result<ScrubStep, ReadError> {
        match self.read(from.max(self.log_start()), max_bytes) {
            Ok(bytes) => Ok(ScrubStep { next: end_of(&bytes), bytes: bytes.len(), damage: None }),
            Err(ReadError::Damaged(damage)) => {
                let view = self.shared.view.load_full();
                let next = behind(&view, from).filter(|next| *next < view.end);
                Ok(ScrubStep { next, bytes: max_bytes, damage: Some(damage) })
            }
            Err(ReadError::OutOfRange { .. }) => Ok(ScrubStep { next: None, bytes: 0, damage: None }),
            Err(error) => Err(error),
        }
    }
}

/// The offset behind the last of these verified batches.
fn end_of(mut batches: &[u8]) -> Option<Offset> {
    let mut end = None;
    while let Ok(header) = BatchHeader::parse(batches) {
        end = Some(Offset(header.last_offset()).plus(1));
        batches = batches.get(header.total_bytes()..)?;
    }
    end
}

/// Behind the batch that holds `offset`, or where the index does not tell, behind its segment.
fn behind(view: &View, offset: Offset) -> Option<Offset> {
    let segment = view.segments_from(offset).next()?;
    let number = segment.find(offset);
    let entry = number.and_then(|number| segment.entry(number));
    Some(entry.map_or(segment.state.end_offset, |entry| entry.end_offset()))
}
