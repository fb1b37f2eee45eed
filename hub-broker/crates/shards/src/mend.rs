//! A segment that is damaged is read once more from the disk, and a closed one that stays so is made again from another
//! replica's batches, asked for by their offsets.
//!
//! ```text
//!   a reader, the scrub or a copy meets damage ─> Message::Damaged ─> the group ─> Wish::Mend ─> the mender's thread
//!   the mender's thread                           reads the file here: it may be whole by now
//!   where it is not                               range(offset) ──> another replica's hub: batches that it has verified
//!   the segment has the checksum of its state     takes the damaged file's place ─> Message::Mended
//! ```
//!
//! The replica keeps its id meanwhile, serves everything but what is damaged, and leaves the lead to others. Where
//! nobody gives what is missing it is given up as a whole if the others are a majority, and goes on asking if not. What
//! cannot be made again, active segments and compacted ones, costs the replica as soon as it was read here once more, or is
//! kept, and read from time to time: a disk that could not read it may be another one, or read it after a start.
//!
//! A leader that has found nobody to have it whole gives the segment to whoever copies from it as it is, and says so:
//! the copy is as damaged, knows that, and has at least the rest. It asks for the segment as well: somebody may be back
//! who has it.

pub(crate) mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use consensus::ReplicaId;
use parking_lot::Mutex;
use partition_log::{ImportError, PartitionReader};
use schemas::PartitionId;

use crate::limits::RANGE_BYTES_MAX;
use crate::readers::Readers;
use wire::Range;

/// A segment's file that is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damaged {
    pub group: u32,
    pub partition: PartitionId,
    pub file: PathBuf,
    /// Those who may have its batches, to be asked in this order. None where it cannot be made again.
    pub others: Vec<ReplicaId>,
}

/// The files of a replica's state that were ever found damaged, whatever was done about them, and whether the copy that
/// is to take its place has heard of each. Equal is only the same list.
#[derive(Debug, Clone, Default)]
pub(crate) struct DamagedFiles(Arc<Mutex<BTreeMap<PathBuf, bool>>>);

impl DamagedFiles {
    pub(crate) fn add(&self, file: &Path) {
        self.0.lock().insert(file.to_owned(), false);
    }

    /// Those in a directory, for a copy that is about to take files from there.
    pub(crate) fn hear(&self, directory: &Path) -> Vec<PathBuf> {
        let mut files = self.0.lock();
        let there = files.iter_mut().filter(|(file, _)| file.parent() == Some(directory));
        let heard = there.map(|(file, is_heard)| {
            *is_heard = true;
            file.clone()
        });
        heard.collect()
    }

    /// Those that no copy has heard of.
    pub(crate) fn unheard(&self) -> Vec<PathBuf> {
        let files = self.0.lock();
        files.iter().filter(|(_, is_heard)| !**is_heard).map(|(file, _)| file.clone()).collect()
    }
}

impl PartialEq for DamagedFiles {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for DamagedFiles {}

/// What has become of a damaged segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mended {
    Whole,
    /// Not all of the others have given what it lacks, but all have answered.
    NotYet,
    /// Some of them were not there, or what they gave could not be written.
    Awaited,
    /// They have, and none has what was written here.
    Never,
}

#[derive(Debug, thiserror::Error)]
enum MendError {
    #[error("replica {0} does not give what is missing")]
    Refused(ReplicaId),
    #[error("replica {0} does not answer")]
    Silent(ReplicaId),
    #[error("what replica {from} has does not take its place: {source}")]
    Import { from: ReplicaId, source: ImportError },
}

/// What a replica says to whoever asks for a range.
pub(crate) enum Given {
    Batches(Bytes),
    /// It has not got them, or not whole.
    Nothing,
    /// It is not there.
    NoAnswer,
}

/// Asks a replica for a range.
pub(crate) type AskRange<'a> = dyn FnMut(ReplicaId, Range) -> Given + 'a;

/// Told of bytes that were read here; says whether to read on.
pub(crate) type GoOn<'a> = dyn FnMut(usize) -> bool + 'a;

/// Makes the segment again, if it does not read whole here. One that the log needs no more, or that cannot be made again
/// from what others give, counts as whole: there is nothing to do.
pub(crate) fn mend(
    damaged: &Damaged,
    reader: &PartitionReader,
    go_on: &mut GoOn<'_>,
    ask: &mut AskRange<'_>,
) -> Mended {
    let mut outcome = match reader.reads_whole(&damaged.file, &mut *go_on) {
        Ok(true) => {
            tracing::info!(file = %damaged.file.display(), "what was damaged reads whole here");
            return Mended::Whole;
        }
        Ok(false) => Mended::Never,
        Err(error) => {
            tracing::warn!(file = %damaged.file.display(), %error, "a damaged segment could not be read once more");
            Mended::Awaited
        }
    };
    for from in &damaged.others {
        let Err(error) = mend_from(damaged, reader, *from, ask) else { return Mended::Whole };
        tracing::warn!(file = %damaged.file.display(), %error, "a damaged segment was not made again");
        match error {
            MendError::Import { source: ImportError::Checksum(_), .. } => {}
            MendError::Refused(_) if outcome == Mended::Never => outcome = Mended::NotYet,
            MendError::Refused(_) => {}
            MendError::Silent(_) | MendError::Import { .. } => outcome = Mended::Awaited,
        }
    }
    outcome
}

fn mend_from(
    damaged: &Damaged,
    reader: &PartitionReader,
    from: ReplicaId,
    ask: &mut AskRange<'_>,
) -> Result<(), MendError> {
    let failed = |source| MendError::Import { from, source };
    let Some(mut repair) = reader.repair(&damaged.file).map_err(failed)? else { return Ok(()) };
    while repair.left() > 0 {
        let bytes = repair.left().min(RANGE_BYTES_MAX);
        let range = Range { partition: damaged.partition, from: repair.next(), bytes };
        let batches = match ask(from, range) {
            Given::Batches(batches) => batches,
            Given::Nothing => return Err(MendError::Refused(from)),
            Given::NoAnswer => return Err(MendError::Silent(from)),
        };
        if batches.is_empty() {
            // Compaction has left nothing there.
            return Err(failed(ImportError::Checksum(damaged.file.clone())));
        }
        repair.push(&batches).map_err(failed)?;
    }
    repair.finish().map_err(failed)
}

/// Every batch is verified on its way; `None` where what is asked for is not here yet, or any more, or not whole.
pub(crate) fn answer(readers: &Readers, body: Bytes) -> Option<Bytes> {
    let Range { partition, from, bytes } = Range::decode(body)?;
    let reader = readers.get(partition).filter(|reader| from < reader.high_watermark())?;
    reader.read(from, bytes.min(RANGE_BYTES_MAX) as usize).ok()
}
