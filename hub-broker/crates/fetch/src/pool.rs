//! Own threads for blocking reads, so that a slow disk holds up readers and nothing else.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, oneshot};

type Job = Box<dyn FnOnce() + Send>;

/// A bounded queue of reads and the threads that work on it. The threads end when the pool is dropped.
pub(crate) struct ReaderPool {
    queue: Arc<Queue>,
    places: Semaphore,
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// The pool was dropped, or the read panicked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

impl ReaderPool {
    pub(crate) fn start(name: &str, threads: usize, queued_max: usize) -> std::io::Result<Self> {
        let state = Mutex::new(State { jobs: VecDeque::new(), closed: false });
        let queue = Arc::new(Queue { state, changed: Condvar::new() });
        let pool = Self { queue: Arc::clone(&queue), places: Semaphore::new(queued_max) };
        for number in 0..threads.max(1) {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new().name(format!("{name}-{number}")).spawn(move || work(&queue))?;
        }
        Ok(pool)
    }

    /// Runs `read` on one of the threads. Dropping the future gives up the answer, not the read.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let _place = self.places.acquire().await.map_err(|_| Stopped)?;
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move || {
            // Nobody waits any more: the read would be for nothing.
            if !answer.is_closed() {
                let _ = answer.send(read());
            }
        });
        self.queue.state.lock().jobs.push_back(job);
        self.queue.changed.notify_one();
        answered.await.map_err(|_| Stopped)
    }
}

impl Drop for ReaderPool {
    fn drop(&mut self) {
        self.queue.state.lock().closed = true;
        self.queue.changed.notify_all();
    }
}

fn work(queue: &Queue) {
    while let Some(job) = next(queue) {
        // A panic is that read's alone: its caller sees the answer channel close, the thread goes on.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
            tracing::error!("a read panicked");
        }
    }
}

fn next(queue: &Queue) -> Option<Job> {
    let mut state = queue.state.lock();
    loop {
        if let Some(job) = state.jobs.pop_front() {
            return Some(job);
        }
        if state.closed {
            return None;
        }
        queue.changed.wait(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_read_runs_on_a_thread_of_the_pool() {
        let pool = ReaderPool::start("test-reader", 1, 4).unwrap();
        let name = pool.run(|| std::thread::current().name().map(str::to_owned)).await.unwrap();
        assert_eq!(name.as_deref(), Some("test-reader-0"));
    }

    #[tokio::test]
    async fn a_read_that_panics_ends_alone() {
        let pool = ReaderPool::start("test-reader", 1, 4).unwrap();
        assert_eq!(pool.run(|| panic!("on purpose")).await, Err::<(), _>(Stopped));
        assert_eq!(pool.run(|| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn a_full_queue_holds_back_callers_without_losing_them() {
        let pool = Arc::new(ReaderPool::start("test-reader", 1, 1).unwrap());
        let (release, released) = std::sync::mpsc::channel::<()>();
        let held = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(move || released.recv().is_ok()).await }
        });
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(|| 2).await }
        });
        release.send(()).unwrap();
        assert_eq!(held.await.unwrap(), Ok(true));
        assert_eq!(waiting.await.unwrap(), Ok(2));
    }
}
