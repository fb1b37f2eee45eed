//! An executor's inbox: many threads put messages in, one takes everything at once.
//!
//! It needs no bound of its own: clients hold a permit for each message, and everyone else has a fixed number of
//! messages under way.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

pub(crate) struct Inbox<M> {
    shared: Arc<Shared<M>>,
}

impl<M> Clone for Inbox<M> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<M> {
    state: Mutex<State<M>>,
    arrived: Condvar,
}

struct State<M> {
    messages: Vec<M>,
    /// The owner waits and wants to be woken.
    asleep: bool,
    closed: bool,
}

impl<M> Inbox<M> {
    pub(crate) fn new() -> Self {
        let state = State { messages: Vec::new(), asleep: false, closed: false };
        Self { shared: Arc::new(Shared { state: Mutex::new(state), arrived: Condvar::new() }) }
    }

    /// Puts a message in. One that comes too late is dropped, which answers whoever waits for it.
    pub(crate) fn push(&self, message: M) {
        self.push_all(std::iter::once(message));
    }

    /// Puts messages in of which the owner takes all or none at once, so that they can share an entry and a write.
    pub(crate) fn push_all(&self, messages: impl ExactSizeIterator<Item = M>) {
        let mut state = self.shared.state.lock();
        if state.closed {
            // Whoever is answered by the drop must not find the lock taken.
            drop(state);
            return drop(messages);
        }
        state.messages.extend(messages);
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.shared.arrived.notify_one();
        }
    }

    /// Moves everything that has arrived into `into`, which is empty; waits until `deadline` for the first.
    pub(crate) fn take(&self, into: &mut Vec<M>, deadline: Instant) {
        let mut state = self.shared.state.lock();
        while state.messages.is_empty() {
            state.asleep = true;
            if self.shared.arrived.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        state.asleep = false;
        std::mem::swap(&mut state.messages, into);
    }

    /// Lets nothing more in and drops what is there.
    pub(crate) fn close(&self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        let messages = std::mem::take(&mut state.messages);
        drop(state);
        drop(messages);
    }
}
