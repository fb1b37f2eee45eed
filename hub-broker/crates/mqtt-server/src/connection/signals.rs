//! What reaches a connection from other threads: outcomes of its calls into the log, and the order to end.

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::reason::Close;
use crate::session::acks::{CallId, Outcome};

#[derive(Default)]
pub struct Signals {
    state: Mutex<State>,
    raised: Notify,
}

#[derive(Default)]
struct State {
    settled: Vec<(CallId, Outcome)>,
    close: Option<Close>,
}

impl Signals {
    pub fn settle(&self, call: CallId, outcome: Outcome) {
        self.state.lock().settled.push((call, outcome));
        self.raised.notify_one();
    }

    pub fn close(&self, reason: Close) {
        self.state.lock().close = Some(reason);
        self.raised.notify_one();
    }

    /// Moves what has been settled into `settled`, which MUST be empty, and says whether to end.
    pub fn take(&self, settled: &mut Vec<(CallId, Outcome)>) -> Option<Close> {
        let mut state = self.state.lock();
        std::mem::swap(&mut state.settled, settled);
        state.close
    }

    /// Returns when something has been raised since the last time.
    pub async fn raised(&self) {
        self.raised.notified().await;
    }
}
