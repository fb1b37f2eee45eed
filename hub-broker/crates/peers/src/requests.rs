//! The requests of one connection that wait for their answers, and those of the peer that this hub has not answered.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{RequestError, wire::Status};

pub(crate) type Answer = Result<Bytes, RequestError>;

/// Requests to the peer.
#[derive(Default)]
pub(crate) struct Asked {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    last_id: u64,
    is_ended: bool,
}

impl Asked {
    /// A place for one more.
    pub fn begin(&self, most: usize) -> Result<(u64, oneshot::Receiver<Answer>), RequestError> {
        let mut state = self.state.lock();
        if state.is_ended {
            return Err(RequestError::NotConnected);
        }
        if state.waiting.len() >= most {
            return Err(RequestError::Overloaded);
        }
        state.last_id += 1;
        let id = state.last_id;
        let (answer, answered) = oneshot::channel();
        state.waiting.insert(id, answer);
        Ok((id, answered))
    }

    /// Nobody waits for it any more.
    pub fn give_up(&self, id: u64) {
        self.state.lock().waiting.remove(&id);
    }

    pub fn answered(&self, id: u64, status: Status, body: Bytes) {
        let Some(answer) = self.state.lock().waiting.remove(&id) else { return };
        // Whoever asked may have gone.
        let _ = answer.send(match status {
            Status::Ok => Ok(body),
            Status::Refused => Err(RequestError::Refused(body)),
            Status::UnknownKind => Err(RequestError::UnknownKind),
            Status::Overloaded => Err(RequestError::Overloaded),
            Status::None => Err(RequestError::Lost),
        });
    }

    /// The connection is gone: nobody gets an answer any more.
    pub fn end(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.is_ended = true;
            std::mem::take(&mut state.waiting)
        };
        for answer in waiting.into_values() {
            let _ = answer.send(Err(RequestError::Lost));
        }
    }
}

/// Requests of the peer that are not answered.
#[derive(Default)]
pub(crate) struct Served {
    count: AtomicUsize,
    bytes: AtomicUsize,
}

/// One of them; dropped when it is answered.
pub(crate) struct Place {
    served: Arc<Served>,
    bytes: usize,
}

impl Served {
    /// Only the connection's reader calls this, so that the figures cannot rise in between.
    pub fn begin(self: &Arc<Self>, bytes: usize, count_max: usize, bytes_max: usize) -> Option<Place> {
        let (count, waiting) = (self.count.load(Ordering::Acquire), self.bytes.load(Ordering::Acquire));
        if count > 0 && (count >= count_max || waiting + bytes > bytes_max) {
            return None;
        }
        self.count.fetch_add(1, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        Some(Place { served: Arc::clone(self), bytes })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.served.count.fetch_sub(1, Ordering::AcqRel);
        self.served.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}
