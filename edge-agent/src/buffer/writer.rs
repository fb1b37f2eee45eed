//! The one thread that writes: packs the commands that wait into one commit, then answers them all.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use schemas::limits::AGENT_BATCH_BYTES_MAX;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::append::{Lost, NewBatch};
use super::environment::{Environment, EnvironmentError};
use super::handle::{Appended, Snapshot, WriteError};
use super::marker::MarkerFile;
use super::policy::Retention;
use super::relaxed::Relaxed;
use super::state::State;
use super::trim::Trim;
use super::wear::{Meter, WearBudget};
use super::work::{Amendment, GapAnswer, WorkError};
use crate::limits::{AGE_LOOK, COMMIT_BYTES_MAX, TRIM_AFTER, WRITER_INBOX};
use crate::time::Clock;

/// How long there is nothing to do at most.
const IDLE: Duration = Duration::from_secs(3600);
/// An age limit is looked after this often while it passes.
const AGE_LOOKS: u32 = 20;

pub(super) enum Command {
    Append(Append),
    Amend {
        amendment: Amendment,
        done: oneshot::Sender<Result<(), WriteError>>,
    },
    Trim {
        lane: u8,
        through: u64,
        gaps: Vec<GapAnswer>,
        at_once: bool,
    },
    /// How much is kept from now on; the whole buffer's cap stays.
    Retain(Retention),
    /// Answered when everything before it is on the disk, or known to have no room there.
    Sync {
        done: oneshot::Sender<Result<(), WriteError>>,
    },
    /// Answered when everything before it is durable and the marker says that the buffer is closed.
    Close {
        done: oneshot::Sender<Result<(), WriteError>>,
    },
}

pub(super) struct Append {
    pub new: NewBatch,
    pub done: oneshot::Sender<Result<Appended, WriteError>>,
    /// Its share of what may wait.
    pub _room: OwnedSemaphorePermit,
}

/// What became of an append.
pub(super) enum Outcome {
    Answer(Result<Appended, WriteError>),
    /// It is tried again when there is room.
    Wait,
}

/// Up to which number the entries of each lane are in flight, so that dropping spares them.
pub(super) type InFlight = Arc<[AtomicU64; 256]>;

pub(super) struct Writer {
    pub environment: Environment,
    pub state: State,
    pub marker: MarkerFile,
    pub retention: Retention,
    pub quarantine: PathBuf,
    pub inbox: mpsc::Receiver<Command>,
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    pub in_flight: InFlight,
    pub clock: Arc<Clock>,
    pub wear: Arc<WearBudget>,
    pub meter: Meter,
    /// Where commits are not synced one by one.
    pub relaxed: Option<Relaxed>,
    pub backlog: Backlog,
    pub failure: Arc<OnceLock<String>>,
}

/// What waits for a later commit.
#[derive(Default)]
pub(super) struct Backlog {
    /// Acknowledged, not yet trimmed.
    pub trims: Vec<Trim>,
    pub trim_at: Option<Instant>,
    /// Appends for which there is no room.
    pub parked: Vec<Append>,
    /// When they are tried again although nothing was trimmed.
    pub retry_at: Option<Instant>,
    /// Lost while the disk had no room to say so.
    pub owed: Vec<Lost>,
    /// Since when.
    pub owed_at: Option<Instant>,
    /// When it is looked again whether something is too old.
    pub age_at: Option<Instant>,
    /// The last commit found no room on the disk and left something out.
    pub is_out_of_room: bool,
    /// The last append found no room below the cap.
    pub is_full: bool,
}

impl Backlog {
    /// What was owed at the last stop is written as soon as there is room.
    pub fn owing(owed: Vec<Lost>) -> Self {
        let owed_at = (!owed.is_empty()).then(Instant::now);
        Self { owed, owed_at, retry_at: owed_at, ..Self::default() }
    }
}

/// Commands of one commit.
#[derive(Default)]
pub(super) struct Group {
    pub appends: Vec<Append>,
    pub amendments: Vec<(Amendment, oneshot::Sender<Result<(), WriteError>>)>,
    syncs: Vec<oneshot::Sender<Result<(), WriteError>>>,
    bytes: usize,
    trim_at_once: bool,
    pub close: Option<oneshot::Sender<Result<(), WriteError>>>,
}

impl Group {
    fn is_empty(&self) -> bool {
        let has_writes = !self.appends.is_empty() || !self.amendments.is_empty() || self.trim_at_once;
        !has_writes && self.syncs.is_empty() && self.close.is_none()
    }

    /// What is in it, or before it, is relied upon when it is answered, and never taken back.
    fn is_relied_upon(&self) -> bool {
        let is_put_away = self.appends.iter().any(|append| append.new.marks.is_put_away);
        is_put_away || !self.amendments.is_empty() || !self.syncs.is_empty() || self.close.is_some()
    }

    fn is_full(&self) -> bool {
        self.bytes + AGENT_BATCH_BYTES_MAX > COMMIT_BYTES_MAX
            || self.appends.len() + self.amendments.len() + self.syncs.len() >= WRITER_INBOX
            || self.close.is_some()
    }
}

impl Writer {
    /// Runs until the buffer is closed, every handle is gone, or a write fails: then the buffer is poisoned.
    pub async fn run(mut self) {
        // It counts what its own thread writes.
        self.meter = Meter::start();
        self.backlog.age_at = self.retention.age_max.map(|_| Instant::now());
        while let Some(group) = self.next_group().await {
            let is_closing = group.close.is_some();
            let is_alive =
                if self.is_worth_a_commit(&group) { self.commit(group) } else { self.sync_if_due() };
            if !is_alive || is_closing {
                return;
            }
            if self.backlog.trims.is_empty() {
                self.backlog.trim_at = None;
            } else {
                let wait = self.wear.patience(TRIM_AFTER);
                self.backlog.trim_at.get_or_insert(Instant::now() + wait);
            }
        }
    }

    fn is_worth_a_commit(&self, group: &Group) -> bool {
        let now = Instant::now();
        let due = [self.backlog.trim_at, self.backlog.retry_at, self.backlog.age_at];
        let waits_for_a_trim = !self.backlog.parked.is_empty() && !self.backlog.trims.is_empty();
        !group.is_empty() || waits_for_a_trim || due.into_iter().flatten().any(|at| at <= now)
    }

    /// Waits for a command, or for the time to do something without one; takes along what else waits.
    async fn next_group(&mut self) -> Option<Group> {
        let mut group = Group::default();
        let synced = self.relaxed.as_ref().and_then(Relaxed::due_at);
        let backlog = &self.backlog;
        let wake = [backlog.trim_at, backlog.retry_at, backlog.age_at, synced].into_iter().flatten().min();
        let wait = wake.map_or(IDLE, |at| at.saturating_duration_since(Instant::now()));
        match tokio::time::timeout(wait, self.inbox.recv()).await {
            Ok(Some(command)) => self.take(&mut group, command),
            Ok(None) => return None,
            Err(_) => return Some(group),
        }
        while !group.is_full() {
            match self.inbox.try_recv() {
                Ok(command) => self.take(&mut group, command),
                Err(_) => break,
            }
        }
        Some(group)
    }

    fn take(&mut self, group: &mut Group, command: Command) {
        match command {
            Command::Append(append) => {
                group.bytes += append.new.batch.len();
                group.appends.push(append);
            }
            Command::Amend { amendment, done } => group.amendments.push((amendment, done)),
            Command::Trim { lane, through, gaps, at_once } => {
                group.trim_at_once |= at_once;
                match self.backlog.trims.iter_mut().find(|trim| trim.lane == lane) {
                    Some(trim) => {
                        trim.through = trim.through.max(through);
                        trim.gaps.extend(gaps);
                    }
                    None => self.backlog.trims.push(Trim { lane, through, gaps }),
                }
            }
            Command::Retain(retention) => self.retain(retention),
            Command::Sync { done } => group.syncs.push(done),
            Command::Close { done } => group.close = Some(done),
        }
    }

    fn retain(&mut self, retention: Retention) {
        self.retention = Retention { cap_bytes: self.retention.cap_bytes, ..retention };
        let now = Instant::now();
        self.backlog.age_at = retention.age_max.map(|_| now);
        // What waits may have room now.
        self.backlog.retry_at = Some(now);
    }

    /// Commits a group, with what waited for room before it, and answers it; false where the buffer is poisoned.
    fn commit(&mut self, mut group: Group) -> bool {
        self.backlog.retry_at = None;
        self.backlog.trim_at = None;
        let later = std::mem::take(&mut group.appends);
        group.appends = std::mem::take(&mut self.backlog.parked);
        group.appends.extend(later);
        let outcomes = self.write(&mut group).and_then(|outcomes| {
            if group.is_relied_upon() {
                self.sync()?;
            }
            if group.close.is_some() {
                self.finish_marker()?;
            }
            Ok(outcomes)
        });
        match outcomes {
            Ok(outcomes) => {
                self.publish();
                self.answer(group, outcomes);
                self.sync_if_due()
            }
            Err(error) => {
                let why = self.failed(&error);
                self.note_damage(&error);
                answer_all(group, &why);
                false
            }
        }
    }

    fn answer(&mut self, group: Group, outcomes: Vec<Outcome>) {
        for (append, outcome) in group.appends.into_iter().zip(outcomes) {
            match outcome {
                // Whoever asked may be gone; the records are in the buffer all the same.
                Outcome::Answer(answer) => drop(append.done.send(answer)),
                Outcome::Wait => self.backlog.parked.push(append),
            }
        }
        for (_, done) in group.amendments {
            let _ = done.send(Ok(()));
        }
        for done in group.syncs {
            // What is owed is in memory alone.
            let has_all = self.backlog.owed.is_empty();
            let _ = done.send(if has_all { Ok(()) } else { Err(WorkError::NoRoom.into()) });
        }
        if let Some(done) = group.close {
            let _ = done.send(Ok(()));
        }
    }

    /// False where the buffer is poisoned.
    fn sync_if_due(&mut self) -> bool {
        let due = self.relaxed.as_ref().and_then(Relaxed::due_at);
        if due.is_none_or(|at| at > Instant::now()) {
            return true;
        }
        match self.sync() {
            Ok(is_new) => {
                if is_new {
                    self.publish();
                }
                true
            }
            Err(error) => {
                self.failed(&error.into());
                false
            }
        }
    }

    /// Makes durable what was committed; false where all was.
    pub fn sync(&mut self) -> Result<bool, WorkError> {
        let Some(relaxed) = &mut self.relaxed else { return Ok(false) };
        let is_new = relaxed.sync(&self.environment)?;
        self.state.note_sync();
        if self.backlog.owed.is_empty() {
            self.marker.forget_owed();
        }
        Ok(is_new)
    }

    fn finish_marker(&self) -> Result<(), WorkError> {
        let file_bytes = self.environment.file_bytes().map_err(EnvironmentError::from)?;
        match self.marker.finish(&self.state, file_bytes, &self.backlog.owed) {
            Err(error) if error.is_full() => {
                tracing::warn!(%error, "the next start checks the buffer: that it was closed could not be noted");
                let records: u64 = self.backlog.owed.iter().map(|lost| u64::from(lost.records)).sum();
                if records > 0 {
                    tracing::warn!(
                        records,
                        "records are lost, and no gap says so: it could not be noted either"
                    );
                }
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// Says, for good, why nothing more is written.
    fn failed(&self, error: &WriteError) -> String {
        let why = match error {
            WriteError::Refused(WorkError::Marker(_)) => error.to_string(),
            _ => format!("{}: {error}", self.environment.path().display()),
        };
        tracing::error!(why, "the buffer cannot be written any more");
        self.failure.get_or_init(|| why).clone()
    }

    /// The next start must not trust the file; a walk may not find what a write met.
    fn note_damage(&self, error: &WriteError) {
        if let WriteError::Refused(WorkError::Environment(error)) = error
            && error.is_damage()
            && let Err(error) = self.marker.note_damage(&self.state)
        {
            tracing::error!(%error, "the marker cannot be written either");
        }
    }

    /// Takes over what a commit made of the buffer, and counts what it wrote.
    pub fn committed(&mut self, state: State, value_bytes: &[usize]) {
        let gone = self.state.lanes.iter().filter(|lane| state.lane(lane.id).is_none());
        gone.for_each(|lane| self.in_flight[usize::from(lane.id)].store(0, Ordering::Release));
        self.state = state;
        let now = Instant::now();
        let written = self.meter.since(value_bytes.iter().copied());
        self.state.counters.flash_bytes += written;
        self.wear.note_commit(written, now.into_std());
        match &mut self.relaxed {
            Some(relaxed) => relaxed.note_commit(super::wear::estimate(value_bytes.iter().copied()), now),
            None => self.state.note_sync(),
        }
    }

    /// When the ages are looked at next.
    pub fn plan_age_look(&mut self, has_more: bool) {
        self.backlog.age_at = self.retention.age_max.map(|age_max| {
            let wait = (age_max / AGE_LOOKS).clamp(AGE_LOOK.0, AGE_LOOK.1);
            Instant::now() + if has_more { Duration::ZERO } else { wait }
        });
    }

    fn publish(&self) {
        let snapshot = Snapshot::of(&self.state, self.retention.cap_bytes);
        self.snapshots.send_replace(Arc::new(snapshot));
    }
}

fn answer_all(group: Group, why: &str) {
    let failed = || WriteError::Failed(why.to_owned());
    for append in group.appends {
        let _ = append.done.send(Err(failed()));
    }
    let others = group.amendments.into_iter().map(|(_, done)| done).chain(group.syncs).chain(group.close);
    for done in others {
        let _ = done.send(Err(failed()));
    }
}
