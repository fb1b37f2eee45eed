//! Snapshots that are copied to this hub: a few at a time, each on a thread of its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use partition_log::Verified;
use peers::RequestError;
use schemas::NodeId;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::copy::{Ask, Target, copy};
use super::format::{CLOSE, Refusal};
use super::progress::Copies;
use super::{Arrived, CopyProgress, FetchError, Fetched, Ground, Wanted, watched};
use crate::fail::StopOnPanic;
use crate::limits::{
    SNAPSHOT_ANSWER_MAX, SNAPSHOT_FETCHES_MAX, SNAPSHOT_QUIET_MAX, SNAPSHOT_RETRY, SNAPSHOT_SILENCE_MAX,
};
use crate::observe::snapshots as observe;
use crate::pacer::{Place, Turn};

#[derive(Clone)]
pub(crate) struct Fetches {
    inner: Arc<Inner>,
}

struct Inner {
    ground: Arc<Ground>,
    state: Mutex<State>,
    copies: Copies,
    /// Of copies that were interrupted, what was here, by group.
    verified: Mutex<BTreeMap<u32, Verified>>,
    /// A copy has ended.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Wanted, Fetched)>,
    /// By group.
    running: BTreeMap<u32, Cancel>,
    stopping: bool,
}

/// Ends one copy from outside.
type Cancel = watch::Sender<bool>;

impl Fetches {
    pub(crate) fn new(ground: Arc<Ground>) -> Self {
        let (state, copies) = (Mutex::default(), Copies::default());
        let inner = Inner { ground, state, copies, verified: Mutex::default(), ended: Condvar::new() };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn fetch(&self, wanted: Wanted, done: Fetched) {
        self.cancel(wanted.group);
        let mut state = self.inner.state.lock();
        if state.stopping {
            drop(state);
            return done(Err(FetchError::Cancelled));
        }
        state.waiting.push_back((wanted, done));
        drop(state);
        self.inner.clone().begin_waiting();
    }

    pub(crate) fn cancel(&self, group: u32) {
        let mut state = self.inner.state.lock();
        if let Some(cancel) = state.running.get(&group) {
            cancel.send_replace(true);
        }
        let given_up = take_all(&mut state.waiting, group);
        drop(state);
        given_up.into_iter().for_each(|done| done(Err(FetchError::Cancelled)));
    }

    pub(crate) fn copies(&self) -> BTreeMap<u32, CopyProgress> {
        self.inner.copies.look(Instant::now())
    }

    pub(crate) fn stop(&self) {
        let mut state = self.inner.state.lock();
        state.stopping = true;
        // Dropped without an answer: whoever would get it is stopping too.
        state.waiting.clear();
        for cancel in state.running.values() {
            cancel.send_replace(true);
        }
        while !state.running.is_empty() {
            self.inner.ended.wait(&mut state);
        }
    }
}

fn take_all(waiting: &mut VecDeque<(Wanted, Fetched)>, group: u32) -> Vec<Fetched> {
    let (taken, kept) = std::mem::take(waiting).into_iter().partition(|(wanted, _)| wanted.group == group);
    *waiting = kept;
    let taken: VecDeque<(Wanted, Fetched)> = taken;
    taken.into_iter().map(|(_, done)| done).collect()
}

impl Inner {
    /// Begins as many of those that wait as may run. A group's earlier copy ends before the next begins: both write
    /// into the same directories.
    fn begin_waiting(self: Arc<Self>) {
        let unanswered = self.begin_some();
        unanswered.into_iter().for_each(|done| done(Err(FetchError::Cancelled)));
    }

    /// Answers those that no thread could be had for.
    fn begin_some(self: Arc<Self>) -> Vec<Fetched> {
        let mut unanswered = Vec::new();
        let mut state = self.state.lock();
        while state.running.len() < SNAPSHOT_FETCHES_MAX {
            let next =
                state.waiting.iter().position(|(wanted, _)| !state.running.contains_key(&wanted.group));
            let Some((wanted, done)) = next.and_then(|next| state.waiting.remove(next)) else { break };
            let (cancel, cancelled) = watch::channel(false);
            state.running.insert(wanted.group, cancel);
            let (inner, group) = (self.clone(), wanted.group);
            let done = Arc::new(Mutex::new(Some(done)));
            let own = done.clone();
            let run = move || {
                let _guard = StopOnPanic;
                if let Some(done) = own.lock().take() {
                    inner.run(&wanted, cancelled, done);
                }
            };
            let spawned = std::thread::Builder::new().name("snapshot-copy".to_owned()).spawn(run);
            if let Err(error) = spawned {
                // The leader hears nothing of it, and offers the snapshot again.
                tracing::error!(group, %error, "no thread to copy a snapshot");
                state.running.remove(&group);
                unanswered.extend(done.lock().take());
            }
        }
        unanswered
    }

    fn run(self: Arc<Self>, wanted: &Wanted, cancelled: watch::Receiver<bool>, done: Fetched) {
        let begun = Instant::now();
        let result = self.copy(wanted, cancelled);
        self.copies.end(wanted.group);
        match &result {
            Ok(_) => {
                tracing::debug!(group = wanted.group, index = wanted.index, took = ?begun.elapsed(), "a snapshot has arrived");
            }
            Err(FetchError::Cancelled) => {}
            Err(error) => {
                tracing::warn!(group = wanted.group, index = wanted.index, from = %wanted.from, %error, "a snapshot could not be copied");
                observe::failed();
            }
        }
        // The directories are free for the next copy only when this one has let go of them.
        done(result);
        self.state.lock().running.remove(&wanted.group);
        self.ended.notify_all();
        self.begin_waiting();
    }

    fn copy(&self, wanted: &Wanted, cancelled: watch::Receiver<bool>) -> Result<Arrived, FetchError> {
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| {
            tracing::error!(%error, "no runtime to copy a snapshot");
            FetchError::Cancelled
        })?;
        let node = NodeId(wanted.from.node());
        let (group, patience) = (wanted.group, SNAPSHOT_SILENCE_MAX);
        let asked_at = Instant::now();
        let mut line = Line { inner: self, group, node, cancelled, runtime, patience, asked_at, turn: None };
        let Ground { log, files, checkpoints, reserve_bytes, tell, .. } = &*self.ground;
        let files = watched(files, wanted.group, wanted.to.number(), tell);
        let checkpoints = checkpoints.join(wanted.group.to_string());
        let verified = &self.verified.lock().entry(group).or_default().clone();
        let (files, checkpoints, reserve_bytes) = (&files, &checkpoints, *reserve_bytes);
        let target = Target { log, files, checkpoints, reserve_bytes, verified };
        let arrived = copy(wanted, &target, &mut line)?;
        self.verified.lock().remove(&group);
        Ok(arrived)
    }
}

/// The other hub, over the network.
struct Line<'a> {
    inner: &'a Inner,
    group: u32,
    node: NodeId,
    cancelled: watch::Receiver<bool>,
    runtime: Runtime,
    /// How long nothing may be answered.
    patience: Duration,
    /// When it was asked last.
    asked_at: Instant,
    /// What is being copied now.
    turn: Option<Turn>,
}

impl Line<'_> {
    /// Runs `work`, but not beyond the end of the copy. It MUST NOT have begun: timers need the runtime.
    fn until_cancelled<T>(&mut self, work: impl Future<Output = T>) -> Result<T, FetchError> {
        let cancelled = self.cancelled.wait_for(|is_set| *is_set);
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = cancelled => Err(FetchError::Cancelled),
                done = work => Ok(done),
            }
        })
    }
}

impl Ask for Line<'_> {
    fn ask(&mut self, kind: u8, body: Bytes) -> Result<Bytes, FetchError> {
        self.asked_at = Instant::now();
        let give_up_at = self.asked_at + self.patience;
        let (peers, node) = (self.inner.ground.peers.clone(), self.node);
        loop {
            match self.until_cancelled(peers.request(node, kind, body.clone(), SNAPSHOT_ANSWER_MAX))? {
                Ok(answer) => return Ok(answer),
                Err(RequestError::Refused(reason)) => match Refusal::decode(&reason) {
                    Refusal::Busy => {}
                    refusal => return Err(FetchError::Refused(refusal)),
                },
                Err(error) => tracing::debug!(%node, %error, "a snapshot's piece did not come"),
            }
            if kind == CLOSE || Instant::now() >= give_up_at {
                return Err(FetchError::Silent);
            }
            self.until_cancelled(async { tokio::time::sleep(SNAPSHOT_RETRY).await })?;
        }
    }

    fn is_quiet(&mut self) -> bool {
        self.asked_at.elapsed() >= SNAPSHOT_QUIET_MAX
    }

    fn expect(&mut self, bytes: u64) {
        self.inner.copies.expect(self.group, bytes, Instant::now());
    }

    fn receive(&mut self, bytes: u64) {
        self.inner.copies.receive(self.group, bytes);
    }

    fn pause(&mut self, bytes: u64, sender_is_slow: bool) -> Result<(), FetchError> {
        self.turn = None;
        let pacer = self.inner.ground.pacer.clone();
        pacer.hear(sender_is_slow);
        let mut place = Place::default();
        loop {
            match pacer.ask(bytes, &mut place) {
                Ok(turn) => {
                    self.turn = Some(turn);
                    return self.until_cancelled(async {});
                }
                Err(again) => self.until_cancelled(async { tokio::time::sleep(again).await })?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use partition_log::FileCache;
    use peers::Peers;
    use uuid::Uuid;
    use wal::Wal;

    use super::*;
    use crate::pacer::Pacer;
    use crate::snapshot::format::OPEN;

    #[test]
    fn a_sender_that_is_not_connected_is_asked_again_until_patience_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let (wal, _) = Wal::open(wal::Config::new(dir.path().join("wal"))).expect("opens");
        let ground = Ground {
            peers: Peers::alone(NodeId(2), Uuid::from_u128(2)),
            orders: channel().0,
            pacer: Pacer::new(&wal, 1 << 20),
            log: dir.path().join("log"),
            checkpoints: dir.path().join("checkpoint"),
            files: FileCache::new(4),
            reserve_bytes: 0,
            tell: Arc::new(|_| {}),
        };
        let fetches = Fetches::new(Arc::new(ground));
        let (_cancel, cancelled) = watch::channel(false);
        let mut line = Line {
            inner: &fetches.inner,
            group: 1,
            node: NodeId(1),
            cancelled,
            runtime: Builder::new_current_thread().enable_time().build().expect("a runtime"),
            patience: SNAPSHOT_RETRY / 2,
            asked_at: Instant::now(),
            turn: None,
        };
        assert!(matches!(line.ask(OPEN, Bytes::new()), Err(FetchError::Silent)));
    }
}
