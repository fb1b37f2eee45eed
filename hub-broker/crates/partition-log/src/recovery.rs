//! Opening a partition: empty, or cut back to exactly what a checkpoint says.
//!
//! Files of segments that came after the checkpoint are deleted; they come again when the entries behind it
//! are applied again. Files of older segments that the state does not name are kept until the owner says that
//! no manifest names them. What was lost below the checkpoint is reported, and stays closed to readers.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemas::PartitionId;

use crate::epochs::EpochHistory;
use crate::error::{Damage, DamageKind, LogError, ReadError, RecoverError, is_unreadable};
use crate::files::{FileCache, ObsoleteFiles};
use crate::index;
use crate::log::{PartitionLog, Parts};
use crate::names::{FileKind, parse_file_name};
use crate::options::LogOptions;
use crate::segment::{SegmentFiles, SegmentView};
use crate::sequence::{Producers, Streams};
use crate::state::{PartitionState, SegmentState};

impl PartitionLog {
    /// A new, empty partition in `dir`, a directory of its own. What lies there from a life that no checkpoint
    /// knew is deleted.
    pub fn create(
        dir: &Path,
        id: PartitionId,
        options: LogOptions,
        files: &FileCache,
    ) -> Result<Self, LogError> {
        let begin = || {
            fs::create_dir_all(dir)?;
            for (path, _) in segment_files(dir)? {
                fs::remove_file(path)?;
            }
            Ok(())
        };
        files.making_way(begin).map_err(|source| LogError::from_io(dir, source))?;
        let first = SegmentState::empty(0, schemas::Offset(0));
        let state = PartitionState {
            id,
            options,
            log_start: first.base_offset,
            last_stable_offset: first.base_offset,
            next_segment_id: 1,
            running_hash: 0,
            segments: vec![first],
            epochs: EpochHistory::default(),
            producers: Producers::default(),
            streams: Streams::default(),
        };
        let dir: Arc<Path> = dir.into();
        let segments = vec![view_of(&dir, files, first)];
        let parts = Parts { dir, state, segments, obsolete: Vec::new(), is_new: true };
        Ok(Self::from_parts(parts, files))
    }

    /// Cuts the files in `dir` back to exactly `state`, makes indexes again where they do not fit, and reports
    /// what is damaged. Batches are verified when they are read; here only what lengths and the last batch tell.
    pub fn recover(
        dir: &Path,
        state: &PartitionState,
        files: &FileCache,
    ) -> Result<(Self, Vec<Damage>), RecoverError> {
        if !state.is_consistent() {
            return Err(RecoverError::BadState { partition: state.id });
        }
        let mut state = state.clone();
        let dir: Arc<Path> = dir.into();
        let io = |source| RecoverError::Io { file: dir.to_path_buf(), source };
        let is_new = !dir.exists();
        fs::create_dir_all(&dir).map_err(io)?;
        let obsolete = clear_away(&dir, &state).map_err(io)?;

        let mut damage = Vec::new();
        let mut segments = Vec::with_capacity(state.segments.len());
        for segment in &state.segments {
            let view = view_of(&dir, files, *segment);
            cut_back(&view, &state.epochs, &mut damage)?;
            segments.push(view);
        }
        let last = segments.last().expect("a consistent state has a segment");
        if !is_whole(last, &state.epochs, &mut damage)? {
            // Nothing can be appended behind a hole: the damaged segment is closed as it is.
            let next = SegmentState::empty(state.next_segment_id, last.state.end_offset);
            state.next_segment_id += 1;
            state.segments.push(next);
            segments.push(view_of(&dir, files, next));
        }
        let parts = Parts { dir, state, segments, obsolete, is_new };
        Ok((Self::from_parts(parts, files), damage))
    }
}

fn view_of(dir: &Arc<Path>, files: &FileCache, state: SegmentState) -> SegmentView {
    let files = SegmentFiles::new(dir.clone(), files.clone(), state.id, state.base_offset, state.batches);
    SegmentView { files: Arc::new(files), state }
}

/// All segment files in `dir`, with their segments' ids.
pub(crate) fn segment_files(dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Some((id, _)) = entry.file_name().to_str().and_then(parse_file_name) {
            found.push((entry.path(), id));
        }
    }
    found.sort();
    Ok(found)
}

/// Deletes what came after the state, and returns what the state does not name though it is older.
fn clear_away(dir: &Path, state: &PartitionState) -> io::Result<Vec<ObsoleteFiles>> {
    let mut obsolete = Vec::new();
    for (path, id) in segment_files(dir)? {
        let named = state.segments.iter().find(|segment| segment.id == id);
        match named {
            Some(segment) if segment.bytes > 0 => {}
            None if id < state.next_segment_id => obsolete.push(path),
            _ => fs::remove_file(path)?,
        }
    }
    Ok(if obsolete.is_empty() { Vec::new() } else { vec![ObsoleteFiles::new(obsolete, Vec::new())] })
}

/// Cuts both files of a segment to their lengths. What is missing is reported, and the index made again.
fn cut_back(
    segment: &SegmentView,
    epochs: &EpochHistory,
    damage: &mut Vec<Damage>,
) -> Result<(), RecoverError> {
    if segment.state.bytes == 0 {
        return Ok(());
    }
    let lost_log = cut(segment, FileKind::Log, u64::from(segment.state.bytes))?;
    let lost_index = cut(segment, FileKind::Index, index::position_of(segment.state.batches))?;
    let lost_index = match lost_index {
        None => bad_header(segment)?,
        lost => lost,
    };
    if lost_index.is_some() {
        let rest = segment.rebuild_index(epochs).map_err(from_read)?;
        damage.extend(lost_index);
        // A file that ends early is reported once, not also by the walk that met its end.
        damage.extend(rest.filter(|_| lost_log.is_none()));
    }
    damage.extend(lost_log);
    Ok(())
}

fn cut(segment: &SegmentView, kind: FileKind, expected_bytes: u64) -> Result<Option<Damage>, RecoverError> {
    let path = segment.files.path(kind);
    let io = |source| RecoverError::Io { file: path.clone(), source };
    let file = match File::options().read(true).write(true).open(&path) {
        Ok(file) => file,
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Some(segment.files.damage(kind, 0, DamageKind::FileMissing)));
        }
        Err(source) if is_unreadable(&source) => {
            return Ok(Some(segment.files.damage(kind, 0, DamageKind::Unreadable)));
        }
        Err(source) => return Err(io(source)),
    };
    let actual_bytes = file.metadata().map_err(io)?.len();
    if actual_bytes < expected_bytes {
        let what = DamageKind::Truncated { expected_bytes, actual_bytes };
        return Ok(Some(segment.files.damage(kind, actual_bytes, what)));
    }
    if actual_bytes > expected_bytes {
        file.set_len(expected_bytes).map_err(io)?;
    }
    Ok(None)
}

fn bad_header(segment: &SegmentView) -> Result<Option<Damage>, RecoverError> {
    let path = segment.files.path(FileKind::Index);
    let mut header = [0; index::HEADER_BYTES];
    let what = match File::open(&path).and_then(|file| file.read_exact_at(&mut header, 0)) {
        Ok(()) if header == index::header(segment.files.id) => return Ok(None),
        Ok(()) => DamageKind::IndexHeader,
        Err(source) if is_unreadable(&source) => DamageKind::Unreadable,
        Err(source) => return Err(RecoverError::Io { file: path, source }),
    };
    Ok(Some(segment.files.damage(FileKind::Index, 0, what)))
}

/// Whether the active segment may be appended to: it is all there, and its last batch is good.
fn is_whole(
    last: &SegmentView,
    epochs: &EpochHistory,
    damage: &mut Vec<Damage>,
) -> Result<bool, RecoverError> {
    let log = last.files.path(FileKind::Log);
    if damage.iter().any(|damage| damage.file == log) {
        return Ok(false);
    }
    let Some(number) = last.state.batches.checked_sub(1) else {
        return Ok(true);
    };
    match last.batch(number) {
        Ok(_) => Ok(true),
        Err(ReadError::Damaged(found)) => {
            let only_index = last.is_index(&found.file);
            damage.push(found);
            let rest = if only_index { last.rebuild_index(epochs).map_err(from_read)? } else { None };
            let whole = only_index && rest.is_none();
            damage.extend(rest);
            Ok(whole)
        }
        Err(error) => Err(from_read(error)),
    }
}

fn from_read(error: ReadError) -> RecoverError {
    match error {
        ReadError::Io { file, source } => RecoverError::Io { file, source },
        other => RecoverError::Io { file: PathBuf::new(), source: io::Error::other(other) },
    }
}
