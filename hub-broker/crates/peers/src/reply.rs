//! The answer to a request.

use bytes::Bytes;

/// What a handler says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ok(Bytes),
    Refused(Bytes),
    /// The reply was dropped.
    None,
}

/// How a handler answers, now or later, on any thread. Dropped without an answer, the peer hears that there is none.
pub struct Reply {
    done: Option<Box<dyn FnOnce(Answer) + Send>>,
}

impl Reply {
    pub(crate) fn new(done: impl FnOnce(Answer) + Send + 'static) -> Self {
        Self { done: Some(Box::new(done)) }
    }

    pub fn ok(mut self, body: Bytes) {
        self.answer(Answer::Ok(body));
    }

    /// `reason` is in the request kind's own format.
    pub fn refuse(mut self, reason: Bytes) {
        self.answer(Answer::Refused(reason));
    }

    fn answer(&mut self, answer: Answer) {
        if let Some(done) = self.done.take() {
            done(answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.answer(Answer::None);
    }
}
