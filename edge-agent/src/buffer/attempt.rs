//! A commit is tried until it holds: what cannot be taken is refused and left out, and room is made where there is
//! none.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::age::{AgeClock, Aged};
use super::append::{NewBatch, Taken};
use super::environment::{Environment, cost};
use super::handle::{Appended, WriteError};
use super::marker::MarkerFile;
use super::policy::{Policy, Retention};
use super::state::State;
use super::work::{Work, WorkError};
use super::writer::{Group, InFlight, Outcome, Writer};
use crate::destination::Destination;
use crate::limits::{DROP_FOR_DISK_BYTES_MIN, OWED_MAX, TRIM_AFTER};

/// How often room is made for a commit that found the map or the disk full.
const ROOM_TRIES: u32 = 8;

/// What an attempt did; nothing is committed where there was nothing to do.
struct Done {
    state: Option<State>,
    taken: Vec<Option<Taken>>,
    aged: Option<Aged>,
    /// What was owed is in it.
    has_paid: bool,
    value_bytes: Vec<usize>,
}

enum Attempt {
    /// An append that cannot be taken.
    Refused(usize, WriteError),
    /// An amendment that cannot be done.
    Amendment(usize, WriteError),
    Failed(WorkError),
}

impl From<WorkError> for Attempt {
    fn from(error: WorkError) -> Self {
        Self::Failed(error)
    }
}

impl Writer {
    /// Tries until the group is durable. Where no room can be made on the disk, appends are refused first or wait,
    /// then amendments are refused, and trims wait.
    pub fn write(&mut self, group: &mut Group) -> Result<Vec<Outcome>, WriteError> {
        let mut refused: Vec<Option<Outcome>> = group.appends.iter().map(|_| None).collect();
        let (mut room_tries, mut room_dropped) = (0, 0);
        let mut pays = !self.backlog.owed.is_empty();
        loop {
            match self.attempt(group, &refused, pays) {
                Ok(done) => {
                    let is_whole = refused.iter().all(Option::is_none);
                    return Ok(self.accept(group, done, refused, is_whole, room_dropped));
                }
                Err(Attempt::Refused(index, error)) => refused[index] = Some(Outcome::Answer(Err(error))),
                Err(Attempt::Amendment(index, error)) => {
                    let (_, done) = group.amendments.remove(index);
                    let _ = done.send(Err(error));
                }
                Err(Attempt::Failed(error)) if error.is_full() => {
                    // Pages that wait for a sync are room.
                    if self.sync()? {
                        continue;
                    }
                    let is_appending = refused.iter().any(Option::is_none);
                    let may_drop = self.retention.policy == Policy::DropOldest;
                    if is_appending && may_drop && room_tries < ROOM_TRIES {
                        room_tries += 1;
                        if let Some(dropped) = self.make_room()? {
                            room_dropped += dropped;
                            continue;
                        }
                    }
                    self.note_room(false);
                    // Without the gaps that are owed the rest may fit. They wait to become one, but not for ever.
                    if is_appending {
                        self.leave_out(group, &mut refused);
                        let is_late = self.backlog.owed_at.is_some_and(|at| at.elapsed() >= OWED_MAX);
                        pays &= is_late || group.close.is_some();
                    } else if std::mem::take(&mut pays) {
                        self.backlog.retry_at = Some(Instant::now() + TRIM_AFTER);
                    } else if group.amendments.is_empty() {
                        return Ok(outcomes(refused, Vec::new(), room_dropped));
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

    fn accept(
        &mut self,
        group: &Group,
        done: Done,
        refused: Vec<Option<Outcome>>,
        is_whole: bool,
        room_dropped: u64,
    ) -> Vec<Outcome> {
        if let Some(state) = done.state {
            self.committed(state, &done.value_bytes);
            self.backlog.trims.clear();
            if done.has_paid {
                self.backlog.owed.clear();
                self.backlog.owed_at = None;
                if self.relaxed.is_none() {
                    self.marker.forget_owed();
                }
            }
        }
        if let Some(aged) = done.aged {
            if aged.records > 0 {
                tracing::warn!(records = aged.records, "records were too old to be kept; a gap says so");
            }
            self.plan_age_look(aged.has_more);
        }
        if is_whole && (done.has_paid || !group.appends.is_empty()) {
            self.note_room(true);
        }
        if let Some(last) = done.taken.iter().flatten().last() {
            self.note_full(!matches!(last, Taken::Stored { .. }));
        }
        outcomes(refused, done.taken, room_dropped)
    }

    /// The disk is full: what is to be appended waits, or is lost and remembered as that.
    fn leave_out(&mut self, group: &Group, refused: &mut [Option<Outcome>]) {
        let waits = self.retention.policy == Policy::Block && group.close.is_none();
        self.backlog.retry_at = Some(Instant::now() + TRIM_AFTER);
        for (append, refusal) in group.appends.iter().zip(refused).filter(|(_, refusal)| refusal.is_none()) {
            if waits {
                *refusal = Some(Outcome::Wait);
            } else {
                *refusal = Some(Outcome::Answer(Err(WorkError::NoRoom.into())));
                self.owe(&append.new);
            }
        }
    }

    /// Remembers records for which a gap is to stand as soon as there is room for one.
    fn owe(&mut self, new: &NewBatch) {
        let Ok(lost) = new.lost() else { return };
        self.backlog.owed_at.get_or_insert_with(Instant::now);
        if let Err(left_out) = lost.owe(&mut self.backlog.owed) {
            let (records, topic) = (left_out.records, &left_out.destination.topic);
            tracing::warn!(records, %topic, "records are lost, and no gap says so: too many gaps wait for room");
        }
    }

    fn attempt(&mut self, group: &Group, refused: &[Option<Outcome>], pays: bool) -> Result<Done, Attempt> {
        let is_appending = refused.iter().any(Option::is_none);
        if is_appending {
            let appends = group.appends.iter().zip(refused).filter(|(_, refusal)| refusal.is_none());
            let bytes = appends.map(|(append, _)| cost(append.new.batch.len())).sum();
            self.environment.reserve(bytes).map_err(WorkError::from)?;
        }
        let mut work = begin(&self.environment, &self.state, &self.in_flight, self.clock.kernel_ms())?;
        for trim in &self.backlog.trims {
            work.trim(trim)?;
        }
        let aged = match (self.retention.age_max, self.backlog.age_at) {
            (Some(age_max), Some(at)) if at <= Instant::now() => {
                Some(work.give_up_older(age_max, &AgeClock::of(&self.clock))?)
            }
            _ => None,
        };
        for (index, (amendment, _)) in group.amendments.iter().enumerate() {
            match work.amend(amendment, &mut self.marker, &self.quarantine) {
                Ok(()) => {}
                Err(error) if is_own(&error) => return Err(Attempt::Amendment(index, error.into())),
                Err(error) => return Err(Attempt::Failed(error)),
            }
        }
        if pays {
            for lost in &self.backlog.owed {
                match work.append_lost(lost, &mut self.marker) {
                    Err(error @ WorkError::TooManyLanes(_)) => {
                        tracing::warn!(records = lost.records, %error, "records are lost, and no gap says so");
                    }
                    result => result?,
                }
            }
            work.state.paid = self.marker.owed_id().unwrap_or(work.state.paid);
        }
        let retention = match self.retention.policy {
            // Nobody waits for room any more.
            Policy::Block if group.close.is_some() => {
                Retention { policy: Policy::DropNewest, ..self.retention }
            }
            _ => self.retention,
        };
        let taken = append_all(&mut work, group, refused, &retention, &mut self.marker)?;
        let stored = group.appends.iter().zip(&taken);
        let stored = stored.filter(|(_, taken)| matches!(taken, Some(Taken::Stored { .. })));
        let value_bytes = stored.map(|(append, _)| append.new.batch.len()).collect();
        let has_taken = taken.iter().flatten().any(|taken| *taken != Taken::Waits);
        let has_changed = has_taken
            || pays
            || !self.backlog.trims.is_empty()
            || !group.amendments.is_empty()
            || aged.is_some_and(|aged| aged.records > 0);
        let state = if has_changed { Some(work.commit().map_err(WorkError::from)?) } else { None };
        Ok(Done { state, taken, aged, has_paid: pays, value_bytes })
    }

    /// LMDB had no page left below our own cap (fragments, or a full disk): drops a sixteenth of what is there,
    /// and answers how many records that were; `None` where it cannot.
    fn make_room(&mut self) -> Result<Option<u64>, WriteError> {
        if self.state.cost() < DROP_FOR_DISK_BYTES_MIN {
            return Ok(None);
        }
        let target = self.state.cost() / 16 * 15;
        let mut work = begin(&self.environment, &self.state, &self.in_flight, self.clock.kernel_ms())?;
        let dropped = match work.shrink(target) {
            Ok(Some(dropped)) if dropped > 0 => dropped,
            Ok(_) => return Ok(None),
            Err(error) if error.is_full() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match work.commit() {
            Ok(state) => self.committed(state, &[]),
            Err(error) if error.is_full() => return Ok(None),
            Err(error) => return Err(WorkError::from(error).into()),
        }
        tracing::warn!(dropped, "no page was left for the buffer; its oldest records were dropped");
        Ok(Some(dropped))
    }

    /// Says it once when it changes.
    fn note_room(&mut self, has_room: bool) {
        match (self.backlog.is_out_of_room, has_room) {
            (false, false) => {
                tracing::warn!("the disk has no room for the buffer; new records are not taken");
            }
            (true, true) => tracing::info!("the disk has room for the buffer again"),
            _ => {}
        }
        self.backlog.is_out_of_room = !has_room;
    }

    /// Says it once when it changes.
    fn note_full(&mut self, is_full: bool) {
        match (self.backlog.is_full, is_full, self.retention.policy) {
            (false, true, Policy::Block) => tracing::warn!("the buffer is full; the inputs wait"),
            (false, true, _) => tracing::warn!("the buffer is full; new records are dropped, a gap says so"),
            (true, false, _) => tracing::info!("the buffer has room again"),
            _ => {}
        }
        self.backlog.is_full = is_full;
    }
}

/// What became of each append that is not left out.
fn append_all(
    work: &mut Work<'_>,
    group: &Group,
    refused: &[Option<Outcome>],
    retention: &Retention,
    marker: &mut MarkerFile,
) -> Result<Vec<Option<Taken>>, Attempt> {
    let mut taken = Vec::with_capacity(group.appends.len());
    let mut waiting: Vec<&Destination> = Vec::new();
    for (index, (append, refusal)) in group.appends.iter().zip(refused).enumerate() {
        let destination = &append.new.destination;
        if refusal.is_some() {
            taken.push(None);
        } else if waiting.contains(&destination) {
            // Nothing overtakes what waits.
            taken.push(Some(Taken::Waits));
        } else {
            let took = match work.append(&append.new, retention, marker) {
                Err(error) if is_own(&error) => return Err(Attempt::Refused(index, error.into())),
                result => result?,
            };
            if took == Taken::Waits {
                waiting.push(destination);
            }
            taken.push(Some(took));
        }
    }
    Ok(taken)
}

/// What was dropped to make room on the disk counts for the first append that it was made for.
fn outcomes(refused: Vec<Option<Outcome>>, taken: Vec<Option<Taken>>, mut room_dropped: u64) -> Vec<Outcome> {
    let taken = taken.into_iter().chain(std::iter::repeat(None));
    let outcome = |(refusal, taken): (Option<Outcome>, Option<Taken>)| match (refusal, taken) {
        (Some(refusal), _) => refusal,
        (None, Some(Taken::Stored { dropped })) => {
            Outcome::Answer(Ok(Appended { dropped: dropped + std::mem::take(&mut room_dropped) }))
        }
        (None, Some(Taken::Refused { .. })) => Outcome::Answer(Err(WriteError::Full)),
        (None, Some(Taken::Waits) | None) => Outcome::Wait,
    };
    refused.into_iter().zip(taken).map(outcome).collect()
}

/// A transaction that spares what is in flight.
fn begin<'e>(
    environment: &'e Environment,
    state: &State,
    in_flight: &InFlight,
    now_ms: i64,
) -> Result<Work<'e>, WorkError> {
    let spared = in_flight.clone();
    let spare = move |lane: u8| spared[usize::from(lane)].load(Ordering::Acquire);
    Ok(Work::begin(environment, state.clone(), now_ms)?.sparing(spare))
}

/// Whether an error is of the one command and not of the buffer.
fn is_own(error: &WorkError) -> bool {
    match error {
        WorkError::Entry(_) | WorkError::TooManyLanes(_) | WorkError::NoRoom | WorkError::NoEntry(_) => true,
        WorkError::Environment(_) | WorkError::Marker(_) => false,
    }
}
