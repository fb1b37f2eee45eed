//! The memory that requests hold from their first byte to their answer.
//!
//! Small requests are bounded by the number of connections. Larger ones share one amount of memory, and each takes
//! of it as its bytes arrive, so that nobody can hold much of it by announcing much. Requests that all wait for each
//! other's memory would wait for ever: so room for one of the largest is set aside, and who has it waits no more.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use crate::limits::RECORDS_REQUEST_BYTES_MAX;

/// Shared by all connections of a listener.
#[derive(Clone)]
pub(crate) struct RequestMemory {
    /// One permit a byte.
    common: Arc<Semaphore>,
    /// For one request at a time, whatever its size.
    aside: Arc<Mutex<()>>,
}

/// What one request holds. Given back when dropped.
pub(crate) struct Memory {
    _connection: OwnedSemaphorePermit,
    common: Option<OwnedSemaphorePermit>,
    aside: Option<OwnedMutexGuard<()>>,
}

impl RequestMemory {
    /// `bytes` for all requests together, but no less than the largest one needs.
    pub(crate) fn new(bytes: usize) -> Self {
        let common = bytes.saturating_sub(RECORDS_REQUEST_BYTES_MAX).min(Semaphore::MAX_PERMITS);
        Self { common: Arc::new(Semaphore::new(common)), aside: Arc::new(Mutex::new(())) }
    }

    /// Waits until `held` may have so many bytes more.
    pub(crate) async fn grow(&self, held: &mut Memory, bytes: u32) {
        if held.aside.is_some() {
            return;
        }
        tokio::select! {
            biased;
            Ok(more) = Arc::clone(&self.common).acquire_many_owned(bytes) => match &mut held.common {
                Some(common) => common.merge(more),
                none => *none = Some(more),
            },
            aside = Arc::clone(&self.aside).lock_owned() => held.aside = Some(aside),
        }
    }
}

impl Memory {
    /// What a request of any size begins with.
    pub(crate) fn new(connection: OwnedSemaphorePermit) -> Self {
        Self { _connection: connection, common: None, aside: None }
    }
}
