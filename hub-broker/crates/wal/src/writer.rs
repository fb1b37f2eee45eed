//! The writer thread: gives the core everything that waits, as soon as it has done with what came before.

use crate::{
    core::{Core, Halt, Patience},
    fail::{Fail, Failure},
    keeper::Job,
    request::Write,
    shared::{Inbox, Shared, Stop},
};
use parking_lot::MutexGuard;
use std::time::Duration;

pub struct Writer {
    pub core: Core,
    pub fail: Fail,
    pub idle_commit: Duration,
}

enum Work {
    Commit(Vec<Write>),
    /// Nothing came for a while.
    Idle,
    Stop(Stop),
}

/// Of a thread: it sleeps until it is woken.
pub struct Sleep;

impl Patience for Sleep {
    fn wait(&mut self, shared: &Shared, inbox: &mut MutexGuard<'_, Inbox>) -> Result<(), Failure> {
        shared.arrived.wait(inbox);
        Ok(())
    }
}

impl Writer {
    pub fn run(mut self) {
        if let Err(Halt::Failed(failure)) = self.serve() {
            self.fail.call(&failure);
        }
        let Core { shared, keeper, .. } = &self.core;
        shared.poison();
        shared.set_stopping();
        // The keeper may be gone already, after a failure of its own.
        let _ = keeper.send(Job::Stop);
    }

    fn serve(&mut self) -> Result<(), Halt> {
        self.core.publish_stats();
        loop {
            match self.wait() {
                Work::Commit(writes) => self.core.commit(writes)?,
                Work::Idle => self.core.commit_idle()?,
                Work::Stop(Stop::Close) => return self.core.commit_idle(),
                Work::Stop(_) => return Ok(()),
            }
        }
    }

    /// Sleeps until there is something to do, and takes all of it.
    fn wait(&mut self) -> Work {
        let shared = self.core.shared.clone();
        let mut inbox = shared.inbox.lock();
        loop {
            if let Some(writes) = self.core.take(&mut inbox) {
                return Work::Commit(writes);
            }
            if inbox.stop != Stop::No {
                return Work::Stop(inbox.stop);
            }
            if !self.core.owes_commit() {
                shared.arrived.wait(&mut inbox);
            } else if shared.arrived.wait_for(&mut inbox, self.idle_commit).timed_out() {
                return Work::Idle;
            }
        }
    }
}
