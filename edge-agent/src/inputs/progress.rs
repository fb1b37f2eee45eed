//! How far an input has handed on what it reads, over all its lives: it is started again after a failure, with other
//! settings, or after it was left out for a while.
//!
//! The buffer keeps the mark of the file that was read last. Those of files before it that could not be put away are in
//! a file of their own, a line each, before anything of the next file is handed on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use super::mark::{FileId, Head, Mark};
use super::sink::Closed;
use crate::data_dir::{DataDirError, replace_file};
use crate::limits::FILES_WATCHED_MAX;

/// More than as many marks as there can be take up.
const KEPT_BYTES_MAX: u64 = 256 << 10;

/// One of an input's lives. What an earlier one still had in hand when it ended is read again by the next, and so is
/// refused should it come after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life(u64);

/// Kept under an input's name while the agent runs.
#[derive(Debug, Default)]
pub struct Progress {
    state: Mutex<State>,
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Where the marks of files that could not be put away are kept.
    kept: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct State {
    /// That of the present life.
    life: u64,
    /// Of the file that was read last.
    mark: Option<Mark>,
    /// That file is out of the way: what is like it is another one.
    is_put_away: bool,
    /// Of files before it that could not be put away yet.
    aside: Vec<Mark>,
    /// They are not as they are kept.
    has_changed: bool,
}

impl From<Option<Mark>> for Progress {
    /// An earlier run of the agent has made durable what comes before the mark.
    fn from(mark: Option<Mark>) -> Self {
        Self { state: Mutex::new(State { mark, ..State::default() }), ..Self::default() }
    }
}

impl Progress {
    /// With the files that an earlier run of the agent could not put away, which are kept there.
    pub fn keeping(self, path: PathBuf) -> Self {
        let read = || match fs::metadata(&path)? {
            meta if meta.is_file() && meta.len() <= KEPT_BYTES_MAX => fs::read(&path),
            _ => Err(io::Error::other("it is no list of files")),
        };
        let aside = match read() {
            Ok(bytes) => {
                String::from_utf8_lossy(&bytes).lines().filter_map(|line| line.parse().ok()).collect()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "which files were read before is not known: those that are still there are read again");
                Vec::new()
            }
        };
        self.state().aside = aside;
        Self { kept: Some(path), ..self }
    }

    /// Makes durable what is remembered of files, where that has changed. In the input's turn alone.
    pub fn keep(&self) -> Result<(), DataDirError> {
        let Some(path) = &self.kept else { return Ok(()) };
        let text: String = {
            let mut state = self.state();
            if !std::mem::take(&mut state.has_changed) {
                return Ok(());
            }
            state.aside.iter().map(|mark| format!("{mark}\n")).collect()
        };
        let kept = if text.is_empty() { remove(path) } else { replace_file(path, text.as_bytes()) };
        kept.inspect_err(|_| self.state().has_changed = true)
    }

    /// Whether the file that was read last may be there yet: it is remembered when another one is turned to, as far as it
    /// was handed on.
    pub fn has_last(&self) -> bool {
        let state = self.state();
        state.mark.is_some() && !state.is_put_away
    }

    /// Ends the present life; the next one begins where it has come to.
    pub fn next_life(&self) -> Life {
        let mut state = self.state();
        state.life += 1;
        Life(state.life)
    }

    /// How far the source was read with what was handed on.
    pub fn mark(&self) -> Option<Mark> {
        self.state().mark
    }

    /// Hands something on, with how far the source was read with it, unless the life that does it is over.
    pub fn pass(&self, life: Option<Life>, mark: Option<Mark>, put: impl FnOnce()) -> Result<(), Closed> {
        let mut state = self.state();
        if life.is_some_and(|Life(life)| life != state.life) {
            return Err(Closed);
        }
        put();
        if mark.is_some() {
            (state.mark, state.is_put_away) = (mark, false);
        }
        Ok(())
    }

    /// Up to where a file that is to be read was handed on before, perhaps when less was known of its beginning, which
    /// `is_of` tells. The one that was read last is remembered unless it was put away. `None` where it is a new one and
    /// no more can be remembered.
    pub fn turn_to(&self, file: &FileId, is_of: impl Fn(&Head) -> bool) -> Option<u64> {
        let mut state = self.state();
        let last = state.mark.filter(|_| !state.is_put_away);
        if let Some(last) = last.filter(|last| !state.aside.contains(last)) {
            state.aside.retain(|mark| !mark.file.is_in_place_of(&last.file));
            state.aside.push(last);
            state.has_changed = true;
        }
        let known = |mark: &&Mark| mark.file.is_in_place_of(file) && is_of(&mark.file.head);
        let known = state.aside.iter().find(known).map(|mark| mark.offset);
        known.or_else(|| (state.aside.len() < FILES_WATCHED_MAX).then_some(0))
    }

    /// Whether it remembers other files than the last.
    pub fn has_aside(&self) -> bool {
        !self.state().aside.is_empty()
    }

    /// Those files.
    pub fn aside(&self) -> Vec<FileId> {
        self.state().aside.iter().map(|mark| mark.file).collect()
    }

    /// There is nothing more to be read of a file, and nothing to be remembered.
    pub fn put_away(&self, file: &FileId) {
        let mut state = self.state();
        let before = state.aside.len();
        state.aside.retain(|mark| !mark.file.is_in_place_of(file));
        state.has_changed |= state.aside.len() < before;
        state.is_put_away |= state.mark.is_some_and(|mark| mark.file.is_in_place_of(file));
    }

    /// The turn to work on the input's files, for one thread at a time: that of an earlier life may still wait for its
    /// disk.
    pub async fn turn(&self) -> OwnedMutexGuard<()> {
        self.turn.clone().lock_owned().await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(path: &Path) -> Result<(), DataDirError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DataDirError { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(offset: u64) -> Option<Mark> {
        Some(Mark { file: FileId { device: 1, inode: 2, head: Head::of(b"") }, offset })
    }

    fn turn_to(progress: &Progress, file: &FileId) -> Option<u64> {
        progress.turn_to(file, |head| *head == file.head)
    }

    #[test]
    fn a_life_that_is_over_hands_nothing_on_and_moves_no_mark() {
        let progress = Progress::from(mark(5));
        let mut passed = 0;
        let first = progress.next_life();
        assert_eq!(progress.pass(Some(first), mark(7), || passed += 1), Ok(()));
        let second = progress.next_life();
        assert_eq!(progress.mark(), mark(7), "the next life goes on after it");
        assert_eq!(progress.pass(Some(first), mark(9), || passed += 10), Err(Closed));
        assert_eq!((progress.mark(), passed), (mark(7), 1));
        assert_eq!(progress.pass(Some(second), None, || passed += 1), Ok(()));
        assert_eq!(progress.pass(None, mark(8), || passed += 1), Ok(()), "whose source has one reader");
        assert_eq!((progress.mark(), passed), (mark(8), 3));
    }

    #[test]
    fn files_that_stay_where_they_are_are_remembered_and_others_are_not() {
        let progress = Progress::default();
        let file = |inode| FileId { device: 1, inode, head: Head::of(b"") };
        let read = |inode, offset| progress.pass(None, Some(Mark { file: file(inode), offset }), || ());
        assert_eq!(turn_to(&progress, &file(1)), Some(0));
        read(1, 10).unwrap();
        assert_eq!(turn_to(&progress, &file(2)), Some(0));
        read(2, 20).unwrap();
        assert_eq!((turn_to(&progress, &file(1)), turn_to(&progress, &file(2))), (Some(10), Some(20)));
        read(1, 15).unwrap();
        assert_eq!((turn_to(&progress, &file(1)), turn_to(&progress, &file(2))), (Some(15), Some(20)));
        progress.put_away(&file(2));
        progress.put_away(&file(1));
        assert_eq!(turn_to(&progress, &file(2)), Some(0));
        assert_eq!(turn_to(&progress, &file(1)), Some(0), "another one has its inode by now");
        assert_eq!(progress.mark(), Some(Mark { file: file(1), offset: 15 }), "as it stands in the buffer");
    }

    #[test]
    fn files_that_stay_where_they_are_are_remembered_by_the_next_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stuck-in.files");
        let file = |inode| FileId { device: 1, inode, head: Head::of(b"n\n1\n") };
        let run = |mark: Option<Mark>| Progress::from(mark).keeping(path.clone());
        let progress = run(None);
        for inode in 1..=3 {
            assert_eq!(turn_to(&progress, &file(inode)), Some(0));
            progress.keep().unwrap();
            progress.pass(None, Some(Mark { file: file(inode), offset: 10 * inode }), || ()).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "1 1 1 10 4 49d5bf3b\n1 1 2 20 4 49d5bf3b\n");
        let next = run(progress.mark());
        assert_eq!([1, 2, 3].map(|inode| turn_to(&next, &file(inode))), [Some(10), Some(20), Some(30)]);
        next.put_away(&file(1));
        next.keep().unwrap();
        let last = run(next.mark());
        assert_eq!([1, 2, 3].map(|inode| turn_to(&last, &file(inode))), [Some(0), Some(20), Some(30)]);
        [2, 3].iter().for_each(|inode| last.put_away(&file(*inode)));
        last.keep().unwrap();
        assert!(!path.exists());
        fs::write(&path, b"1 1 2 20 4 49d5bf3b\nforeign\xff").unwrap();
        assert_eq!(run(None).aside(), [file(2)]);
    }

    #[test]
    fn no_file_is_read_that_could_not_be_remembered() {
        let progress = Progress::default();
        let file = |inode| FileId { device: 1, inode, head: Head::of(b"") };
        let files = FILES_WATCHED_MAX as u64;
        for inode in 0..files {
            assert_eq!(turn_to(&progress, &file(inode)), Some(0));
            progress.pass(None, Some(Mark { file: file(inode), offset: 7 }), || ()).unwrap();
        }
        assert_eq!(turn_to(&progress, &file(files)), None);
        assert!((0..files).all(|inode| turn_to(&progress, &file(inode)) == Some(7)), "all are known");
        progress.put_away(&file(0));
        assert_eq!(turn_to(&progress, &file(files)), Some(0));
    }
}
