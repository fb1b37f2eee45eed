//! What becomes of rows, told to the input that sent them: a hub's PUBACK to a sensor, an HTTP 204.

use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tokio::sync::oneshot;

use super::filter::SharedFilter;

/// Why rows are not durable. Where there were several, others of them may be. The graver reasons come later.
#[derive(Clone, Debug, Error, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotStored {
    /// It cannot become a record, now or later.
    #[error("{0}")]
    Refused(String),
    /// The buffer is full and its policy drops the newest; later ones may be taken.
    #[error("the buffer is full")]
    Full,
    /// The disk is full: not even the gap that stands for them is on it.
    #[error("the disk has no room for the buffer")]
    NoRoom,
    /// The agent stops, or its buffer has failed.
    #[error("the agent takes no more rows")]
    Closed,
}

/// Held by a row until it is durable. One that is dropped before says that its row is not.
#[derive(Debug)]
pub struct Receipt {
    shared: Arc<Shared>,
    is_answered: bool,
}

/// Comes when the last clone of a receipt is answered.
#[derive(Debug)]
pub struct Stored {
    answer: oneshot::Receiver<Result<(), NotStored>>,
    /// What let the rows through. Where they are not stored, or nobody waits for the answer, they are sent again.
    filter: Option<SharedFilter>,
}

#[derive(Debug)]
struct Shared {
    /// The gravest reason of any clone.
    why_not: Mutex<Option<NotStored>>,
    done: Option<oneshot::Sender<Result<(), NotStored>>>,
}

impl Receipt {
    pub fn pair() -> (Self, Stored) {
        let (done, answer) = oneshot::channel();
        let shared = Arc::new(Shared { why_not: Mutex::default(), done: Some(done) });
        (Self { shared, is_answered: false }, Stored { answer, filter: None })
    }

    /// The row is durable.
    pub fn stored(mut self) {
        self.is_answered = true;
    }

    /// The row is not durable and will not be.
    pub fn not_stored(mut self, why: NotStored) {
        self.shared.note(why);
        self.is_answered = true;
    }
}

impl Shared {
    fn note(&self, why: NotStored) {
        let mut known = self.why_not.lock().unwrap_or_else(PoisonError::into_inner);
        *known = known.take().max(Some(why));
    }
}

impl Clone for Receipt {
    /// For one row more.
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), is_answered: false }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.is_answered {
            self.shared.note(NotStored::Closed);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            let why_not = self.why_not.get_mut().unwrap_or_else(PoisonError::into_inner).take();
            let _ = done.send(why_not.map_or(Ok(()), Err));
        }
    }
}

impl Stored {
    /// Waits until every row is durable, or one is known not to be and the others are decided.
    pub async fn wait(mut self) -> Result<(), NotStored> {
        let answer = (&mut self.answer).await.unwrap_or(Err(NotStored::Closed));
        if answer.is_ok() {
            self.filter = None;
        }
        answer
    }

    /// Has this filter let the rows through again unless the answer is that they are stored.
    #[must_use]
    pub fn passed_by(mut self, filter: SharedFilter) -> Self {
        self.filter = Some(filter);
        self
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.filter.iter().for_each(SharedFilter::forget);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(mut stored: Stored) -> Option<Result<(), NotStored>> {
        stored.answer.try_recv().ok()
    }

    #[test]
    fn rows_are_stored_when_the_last_of_them_is() {
        let (one, stored) = Receipt::pair();
        let other = one.clone();
        one.stored();
        let mut stored = stored;
        assert!(stored.answer.try_recv().is_err(), "one is still on its way");
        other.stored();
        assert_eq!(now(stored), Some(Ok(())));
    }

    #[test]
    fn one_that_is_lost_or_refused_is_told() {
        let (one, stored) = Receipt::pair();
        one.clone().stored();
        drop(one);
        assert_eq!(now(stored), Some(Err(NotStored::Closed)));

        let (one, stored) = Receipt::pair();
        let other = one.clone();
        one.not_stored(NotStored::Full);
        other.clone().not_stored(NotStored::Refused("too large".to_owned()));
        other.stored();
        assert_eq!(now(stored), Some(Err(NotStored::Full)), "it may be taken later");

        let (one, stored) = Receipt::pair();
        let other = one.clone();
        one.not_stored(NotStored::Full);
        drop(other);
        assert_eq!(now(stored), Some(Err(NotStored::Closed)), "the gravest counts");
    }
}
