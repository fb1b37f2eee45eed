//! What may wait for a disk, beside the agent's one thread.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::spawn_blocking;

use super::InputError;

/// All work is of one type to the runtime, which is part of the program once for each.
type Work = Box<dyn FnOnce() + Send>;

/// Does it on a thread that may block. Where this is given up, the work goes on.
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, InputError> {
    let done = Arc::new(Mutex::new(None));
    let own = done.clone();
    let work: Work = Box::new(move || {
        let it = work();
        *own.lock().unwrap_or_else(PoisonError::into_inner) = Some(it);
    });
    spawn_blocking(work).await.map_err(InputError::new)?;
    let it = done.lock().unwrap_or_else(PoisonError::into_inner).take();
    it.ok_or_else(|| InputError::new("what was done is lost"))
}
