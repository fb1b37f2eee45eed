//! The one thread that writes: packs the commands that wait into one commit, then answers them all.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use schemas::limits::AGENT_BATCH_BYTES_MAX;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::append::{NewBatch, Taken};
use super::environment::{Environment, EnvironmentError, cost};
use super::handle::{Appended, Snapshot, WriteError};
use super::marker::MarkerFile;
use super::policy::Retention;
use super::state::State;
use super::trim::Trim;
use super::work::{Amendment, GapAnswer, Work, WorkError};
use crate::limits::{COMMIT_BYTES_MAX, DROP_FOR_DISK_BYTES_MIN, TRIM_AFTER, WRITER_INBOX};
use crate::time::realtime_ms;

/// How often room is made for a commit that found the map or the disk full.
const ROOM_TRIES: u32 = 8;

pub(super) enum Command {
    Append {
        batch: NewBatch,
        done: oneshot::Sender<Result<Appended, WriteError>>,
    },
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
    /// Answered when everything before it is durable and the marker says that the buffer is closed.
    Close {
        done: oneshot::Sender<Result<(), WriteError>>,
    },
}

/// Up to which number the entries of each lane are in flight, so that dropping spares them.
pub(super) type InFlight = Arc<[AtomicU64; 256]>;

pub(super) struct Writer {
    pub environment: Environment,
    pub state: State,
    pub marker: MarkerFile,
    pub cap_bytes: u64,
    pub quarantine: PathBuf,
    pub inbox: mpsc::Receiver<Command>,
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    pub in_flight: InFlight,
    /// Acknowledged, not yet trimmed.
    pub trims: Vec<Trim>,
    /// The last commit found no room and left something out.
    pub is_out_of_room: bool,
}

/// Commands of one commit.
#[derive(Default)]
struct Group {
    appends: Vec<(NewBatch, oneshot::Sender<Result<Appended, WriteError>>)>,
    amendments: Vec<(Amendment, oneshot::Sender<Result<(), WriteError>>)>,
    bytes: usize,
    trim_at_once: bool,
    close: Option<oneshot::Sender<Result<(), WriteError>>>,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.amendments.is_empty()
    }

    fn is_full(&self) -> bool {
        self.bytes + AGENT_BATCH_BYTES_MAX > COMMIT_BYTES_MAX
            || self.appends.len() + self.amendments.len() >= WRITER_INBOX
            || self.close.is_some()
    }
}

/// What a commit did to its appends.
type Outcome = Vec<Result<Appended, WriteError>>;

impl Writer {
    /// Runs until the buffer is closed, every handle is gone, or a write fails: then the buffer is poisoned.
    pub async fn run(mut self) {
        let mut trim_at: Option<Instant> = None;
        while let Some(group) = self.next_group(trim_at).await {
            let is_due = trim_at.is_some_and(|at| at <= Instant::now());
            if !group.is_empty() || group.trim_at_once || is_due || group.close.is_some() {
                let close = group.close.is_some();
                if !self.commit(group) || close {
                    return;
                }
                // On a full disk they wait for room.
                trim_at = (!self.trims.is_empty()).then(|| Instant::now() + TRIM_AFTER);
            } else if !self.trims.is_empty() {
                trim_at.get_or_insert(Instant::now() + TRIM_AFTER);
            }
        }
    }

    /// Waits for a command, or for the time to trim alone; takes along what else waits.
    async fn next_group(&mut self, trim_at: Option<Instant>) -> Option<Group> {
        let mut group = Group::default();
        let wait =
            trim_at.map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(Instant::now()));
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
            Command::Append { batch, done } => {
                group.bytes += batch.batch.len();
                group.appends.push((batch, done));
            }
            Command::Amend { amendment, done } => group.amendments.push((amendment, done)),
            Command::Trim { lane, through, gaps, at_once } => {
                group.trim_at_once |= at_once;
                match self.trims.iter_mut().find(|trim| trim.lane == lane) {
                    Some(trim) => {
                        trim.through = trim.through.max(through);
                        trim.gaps.extend(gaps);
                    }
                    None => self.trims.push(Trim { lane, through, gaps }),
                }
            }
            Command::Close { done } => group.close = Some(done),
        }
    }

    /// Commits a group and answers it; false where the buffer is poisoned.
    fn commit(&mut self, mut group: Group) -> bool {
        let outcome = self.write(&mut group).and_then(|outcome| {
            if group.close.is_some() {
                self.finish_marker()?;
            }
            Ok(outcome)
        });
        match outcome {
            Ok(appended) => {
                self.publish();
                for ((_, done), result) in group.appends.into_iter().zip(appended) {
                    // Whoever asked may be gone; the records are in the buffer all the same.
                    let _ = done.send(result);
                }
                for (_, done) in group.amendments {
                    let _ = done.send(Ok(()));
                }
                if let Some(done) = group.close {
                    let _ = done.send(Ok(()));
                }
                true
            }
            Err(error) => {
                tracing::error!(%error, "the buffer cannot be written any more");
                self.note_damage(&error);
                self.answer_all(group, &error);
                false
            }
        }
    }

    fn finish_marker(&self) -> Result<(), WorkError> {
        let file_bytes = self.environment.file_bytes().map_err(EnvironmentError::from)?;
        match self.marker.finish(&self.state, file_bytes) {
            Err(error) if error.is_full() => {
                tracing::warn!(%error, "the next start checks the buffer: that it was closed could not be noted");
                Ok(())
            }
            result => Ok(result?),
        }
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

    fn answer_all(&self, group: Group, error: &WriteError) {
        let failed = || WriteError::Failed(error.to_string());
        for (_, done) in group.appends {
            let _ = done.send(Err(failed()));
        }
        let others = group.amendments.into_iter().map(|(_, done)| done).chain(group.close);
        for done in others {
            let _ = done.send(Err(failed()));
        }
    }

    /// Tries until the group is durable: what cannot be taken is refused and left out, and room is made where
    /// the map or the disk is full. Where none can be made, appends are refused first, then amendments, and trims
    /// wait.
    fn write(&mut self, group: &mut Group) -> Result<Outcome, WriteError> {
        let mut refused: Vec<Option<WriteError>> = group.appends.iter().map(|_| None).collect();
        let (mut room_tries, mut room_dropped) = (0, 0);
        loop {
            match self.attempt(group, &refused) {
                Ok((state, dropped)) => {
                    self.state = state;
                    self.trims.clear();
                    if refused.iter().all(Option::is_none) {
                        self.note_room(true);
                    }
                    return Ok(outcome(refused, dropped, room_dropped));
                }
                Err(Attempt::Refused(index, error)) => refused[index] = Some(error),
                Err(Attempt::Amendment(index, error)) => {
                    let (_, done) = group.amendments.remove(index);
                    let _ = done.send(Err(error));
                }
                Err(Attempt::Failed(error)) if error.is_full() => {
                    let is_appending = refused.iter().any(Option::is_none);
                    if is_appending && room_tries < ROOM_TRIES {
                        room_tries += 1;
                        if let Some(dropped) = self.make_room()? {
                            room_dropped += dropped;
                            continue;
                        }
                    }
                    self.note_room(false);
                    if is_appending {
                        let free = refused.iter_mut().filter(|refusal| refusal.is_none());
                        free.for_each(|refusal| *refusal = Some(WorkError::NoRoom.into()));
                    } else if group.amendments.is_empty() {
                        let dropped = vec![0; refused.len()];
                        return Ok(outcome(refused, dropped, room_dropped));
                    } else {
                        for (_, done) in group.amendments.drain(..) {
                            let _ = done.send(Err(WorkError::NoRoom.into()));
                        }
                    }
                }
                Err(Attempt::Failed(error)) => return Err(error.into()),
            }
        }
    }

    fn attempt(
        &mut self,
        group: &Group,
        refused: &[Option<WriteError>],
    ) -> Result<(State, Vec<u64>), Attempt> {
        let appends = || group.appends.iter().zip(refused).filter(|(_, refusal)| refusal.is_none());
        if appends().next().is_some() {
            let bytes = appends().map(|((new, _), _)| cost(new.batch.len())).sum();
            self.environment.reserve(bytes).map_err(|error| Attempt::Failed(error.into()))?;
        }
        let mut work = begin(&self.environment, &self.state, &self.in_flight).map_err(Attempt::Failed)?;
        for trim in &self.trims {
            work.trim(trim).map_err(Attempt::Failed)?;
        }
        for (index, (amendment, _)) in group.amendments.iter().enumerate() {
            match work.amend(amendment, &mut self.marker, &self.quarantine) {
                Ok(()) => {}
                Err(error) if is_own(&error) => return Err(Attempt::Amendment(index, error.into())),
                Err(error) => return Err(Attempt::Failed(error)),
            }
        }
        let mut dropped = Vec::with_capacity(group.appends.len());
        for (index, (batch, _)) in group.appends.iter().enumerate() {
            if refused[index].is_some() {
                dropped.push(0);
                continue;
            }
            match work.append(batch, &Retention::up_to(self.cap_bytes), &mut self.marker) {
                Ok(Taken::Stored { dropped: records } | Taken::Refused { dropped: records }) => {
                    dropped.push(records);
                }
                Ok(Taken::Waits) => dropped.push(0),
                Err(error) if is_own(&error) => return Err(Attempt::Refused(index, error.into())),
                Err(error) => return Err(Attempt::Failed(error)),
            }
        }
        let state = work.commit().map_err(|error| Attempt::Failed(error.into()))?;
        Ok((state, dropped))
    }

    /// LMDB had no page left below our own cap (fragments, or a full disk): drops a sixteenth of what is there,
    /// and answers how many records that were; `None` where it cannot.
    fn make_room(&mut self) -> Result<Option<u64>, WriteError> {
        if self.state.cost() < DROP_FOR_DISK_BYTES_MIN {
            return Ok(None);
        }
        let target = self.state.cost() / 16 * 15;
        let mut work = begin(&self.environment, &self.state, &self.in_flight)?;
        let dropped = match work.shrink(target) {
            Ok(Some(dropped)) if dropped > 0 => dropped,
            Ok(_) => return Ok(None),
            Err(error) if error.is_full() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match work.commit() {
            Ok(state) => self.state = state,
            Err(error) if error.is_full() => return Ok(None),
            Err(error) => return Err(WorkError::from(error).into()),
        }
        tracing::warn!(dropped, "no page was left for the buffer; its oldest records were dropped");
        Ok(Some(dropped))
    }

    /// Says it once when it changes.
    fn note_room(&mut self, has_room: bool) {
        match (self.is_out_of_room, has_room) {
            (false, false) => tracing::warn!("the disk has no room for the buffer; new records are refused"),
            (true, true) => tracing::info!("the disk has room for the buffer again"),
            _ => {}
        }
        self.is_out_of_room = !has_room;
    }

    fn publish(&self) {
        let snapshot = Snapshot::of(&self.state, self.cap_bytes);
        self.snapshots.send_replace(Arc::new(snapshot));
    }
}

/// What was dropped to make room counts for the first append that it was made for.
fn outcome(refused: Vec<Option<WriteError>>, dropped: Vec<u64>, mut room_dropped: u64) -> Outcome {
    let results = refused.into_iter().zip(dropped);
    let result = |(refusal, dropped): (Option<WriteError>, u64)| {
        refusal.map_or_else(|| Ok(Appended { dropped: dropped + std::mem::take(&mut room_dropped) }), Err)
    };
    results.map(result).collect()
}

/// A transaction that spares what is in flight.
fn begin<'e>(
    environment: &'e Environment,
    state: &State,
    in_flight: &InFlight,
) -> Result<Work<'e>, WorkError> {
    let spared = in_flight.clone();
    let spare = move |lane: u8| spared[usize::from(lane)].load(Ordering::Acquire);
    Ok(Work::begin(environment, state.clone(), realtime_ms())?.sparing(spare))
}

enum Attempt {
    /// An append that cannot be taken.
    Refused(usize, WriteError),
    /// An amendment that cannot be done.
    Amendment(usize, WriteError),
    Failed(WorkError),
}

/// Whether an error is of the one command and not of the buffer.
fn is_own(error: &WorkError) -> bool {
    match error {
        WorkError::Entry(_)
        | WorkError::TooManyLanes(_)
        | WorkError::Full
        | WorkError::NoRoom
        | WorkError::NoEntry(_) => true,
        WorkError::Environment(_) | WorkError::Marker(_) => false,
    }
}
