//! How far an input has handed on what it reads, over all its lives: it is started again after a failure, with other
//! settings, or after it was left out for a while.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::mark::Mark;
use super::receipt::{NotStored, Stored};
use super::sink::Closed;

/// One of an input's lives. What an earlier one still had in hand when it ended is read again by the next, and so is
/// refused should it come after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life(u64);

/// Kept under an input's name while the agent runs.
#[derive(Debug, Default)]
pub struct Progress {
    state: Mutex<State>,
    unstored: tokio::sync::Mutex<Option<Stored>>,
}

#[derive(Debug, Default)]
struct State {
    /// That of the present life.
    life: u64,
    mark: Option<Mark>,
}

impl From<Option<Mark>> for Progress {
    /// An earlier run of the agent has made durable what comes before the mark.
    fn from(mark: Option<Mark>) -> Self {
        Self { state: Mutex::new(State { life: 0, mark }), ..Self::default() }
    }
}

impl Progress {
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
            state.mark = mark;
        }
        Ok(())
    }

    /// What is handed on from now on is durable when this says so. What came before must be.
    pub async fn expect(&self, stored: Stored) {
        *self.unstored.lock().await = Some(stored);
    }

    /// Waits until what was expected is durable, also by an earlier life. May be cancelled.
    pub async fn stored(&self) -> Result<(), NotStored> {
        let mut unstored = self.unstored.lock().await;
        let stored = match unstored.as_mut() {
            Some(stored) => stored.answered().await,
            None => Ok(()),
        };
        *unstored = None;
        stored
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::inputs::Receipt;
    use crate::inputs::mark::{FileId, Head};

    fn mark(offset: u64) -> Option<Mark> {
        Some(Mark { file: FileId { device: 1, inode: 2, head: Head::of(b"") }, offset })
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

    #[tokio::test(start_paused = true)]
    async fn a_new_life_knows_when_what_the_former_one_handed_on_is_durable() {
        let progress = Progress::default();
        assert_eq!(progress.stored().await, Ok(()), "nothing was");
        let (receipt, stored) = Receipt::pair();
        progress.expect(stored).await;
        for _ in 0..2 {
            assert!(timeout(Duration::from_secs(9), progress.stored()).await.is_err());
            progress.next_life();
        }
        receipt.stored();
        assert_eq!(progress.stored().await, Ok(()));
        assert_eq!(progress.stored().await, Ok(()));
    }
}
