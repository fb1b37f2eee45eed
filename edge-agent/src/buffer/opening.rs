//! Opening: check what the last stop left, set aside and salvage what is damaged, and begin anew.
//!
//! Each step is durable before the next, and a crash in between leads back to the same step:
//! `buffer` is renamed to `buffer.damaged`; what is salvaged of it goes into `buffer.new`, which becomes
//! `buffer`; then `buffer.damaged` is removed, or kept as `buffer.set-aside` where not all was salvaged (see `rescue`).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use schemas::TopicName;
use thiserror::Error;
use uuid::Uuid;

use super::append::Lost;
use super::environment::{DATA_FILE, Durability, Environment, EnvironmentError, map_bytes};
use super::guard::{Checked, check};
use super::marker::{Found, Marker, MarkerFile, Owed, read};
use super::relaxed::{Relaxed, roll_back};
use super::rescue::Rescued;
use super::salvage::{emptied, unknown};
use super::stage::Stage;
use super::state::State;
use super::walk::Walked;
use super::work::{Amendment, Work, WorkError};
use crate::data_dir::{DataDir, DataDirError, remedy, sync_dir};
use crate::limits::{BUFFER_BYTES_MAX, BUFFER_BYTES_MIN};
use crate::time::realtime_ms;

#[derive(Debug, Error)]
pub enum OpenError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("{}: {source}{}", path.display(), remedy(source))]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Environment { path: PathBuf, source: EnvironmentError },
    #[error("{}: {source}", path.display())]
    Work { path: PathBuf, source: WorkError },
    #[error("{}: {source}; what was salvaged is kept, and the next start goes on with it", path.display())]
    Salvage { path: PathBuf, source: WorkError },
    #[error(
        "{}: a buffer of {cap_bytes} bytes needs {needed} bytes of the disk, {free} are free: make room, lower buffer_bytes, or let it take room as it fills ([buffer] preallocate = false)",
        path.display()
    )]
    NoRoom { path: PathBuf, cap_bytes: u64, needed: u64, free: u64 },
    #[error(
        "{}: {free} bytes of the disk are free, too few to take anything out of a damaged buffer: make room for a megabyte",
        path.display()
    )]
    NoRoomToSalvage { path: PathBuf, free: u64 },
}

/// How a buffer is opened.
#[derive(Clone, Debug)]
pub(super) struct Opening<'a> {
    pub dir: &'a DataDir,
    pub cap_bytes: u64,
    pub durability: Durability,
    pub is_preallocated: bool,
    /// This boot.
    pub boot: Uuid,
    pub default_topic: &'a TopicName,
    /// The program whose `check-buffer` does the check.
    pub checker: &'a Path,
    pub stage: &'a Stage,
}

pub(super) struct Opened {
    pub environment: Environment,
    pub state: State,
    pub marker: MarkerFile,
    pub cap_bytes: u64,
    /// Where commits are not synced one by one.
    pub relaxed: Option<Relaxed>,
    /// Gaps for which there was no room before the last stop.
    pub owed: Vec<Lost>,
}

impl Opening<'_> {
    pub fn open(&self) -> Result<Opened, OpenError> {
        let found = read(&self.dir.marker())?;
        let marker = if let Found::Marker(marker) = &found { Some(&**marker) } else { None };
        let is_rolled_back = self.roll_back(marker)?;
        let mut step = self.check_or_salvage(&found)?;
        self.note_open(marker)?;
        let (mut environment, mut state) = match self.environment() {
            Ok(opened) => opened,
            Err(OpenError::Environment { source, .. }) if source.is_unfit() => {
                self.set_aside(&source.to_string())?;
                step = Step::Salvaged(self.salvage(marker)?);
                self.environment()?
            }
            Err(error) => return Err(error),
        };
        if let Step::Walked(walked) = &step {
            match self.repair(&environment, state.clone(), walked, owed(marker)) {
                Ok(repaired) => state = repaired,
                Err(WorkError::Environment(error)) if error.is_unfit() => {
                    environment.close();
                    self.set_aside(&error.to_string())?;
                    step = Step::Salvaged(self.salvage(marker)?);
                    (environment, state) = self.environment()?;
                }
                Err(source) => return Err(self.in_work()(source)),
            }
        }
        let is_lost = matches!(step, Step::Lost(_));
        let keeps_rest = matches!(&step, Step::Salvaged(rescued) if rescued.has_ended_early);
        let mut streams = match step {
            Step::Walked(walked) => walked.streams,
            Step::Salvaged(rescued) => rescued.streams,
            Step::Lost(before) => {
                state = before;
                marker.map(|marker| marker.streams.clone()).unwrap_or_default()
            }
            Step::Clean => marker.map(|marker| marker.streams.clone()).unwrap_or_default(),
        };
        let is_new = has_no_state(&environment).map_err(self.at_buffer())?;
        let cap_bytes = self.cap(is_new, &mut state);
        if !keeps_rest {
            self.make_room(cap_bytes)?;
        }
        self.preallocate(&environment, is_new, cap_bytes)?;
        if is_rolled_back || is_lost {
            (state, streams) = self.say_unknown_loss(&environment, state, streams, owed(marker))?;
        }
        let relaxed = match self.durability {
            Durability::Relaxed => {
                Some(Relaxed::begin(&environment, &self.dir.synced()).map_err(self.at_buffer())?)
            }
            Durability::Strict | Durability::Off => None,
        };
        let boot = relaxed.is_some().then_some(self.boot);
        let owed = owed(marker);
        let owed = if owed.is_paid(&state) { Owed::default() } else { owed };
        let marker = MarkerFile::start_in(&self.dir.marker(), &state, streams, boot, owed.clone())?;
        let owed = owed.lost;
        Ok(Opened { environment, state, marker, cap_bytes, relaxed, owed })
    }

    /// After a power cut under `durability = relaxed` only what was synced is whole.
    fn roll_back(&self, marker: Option<&Marker>) -> Result<bool, OpenError> {
        let is_cut = marker
            .is_some_and(|marker| !marker.clean && marker.relaxed.is_some_and(|boot| boot != self.boot));
        if !is_cut || !self.has_data() {
            return Ok(false);
        }
        // What cannot be taken back is for the check to judge.
        let is_rolled_back = roll_back(&self.data_file(), &self.dir.synced()).unwrap_or_else(|error| {
            tracing::warn!(%error, "the buffer cannot be taken back to its last sync");
            true
        });
        if is_rolled_back {
            tracing::warn!("the last stop was a power cut: what came after the last sync is lost");
        }
        Ok(is_rolled_back)
    }

    /// A full disk is to show now, not when the buffer fills.
    fn preallocate(&self, environment: &Environment, is_new: bool, cap_bytes: u64) -> Result<(), OpenError> {
        if !self.is_preallocated {
            return Ok(());
        }
        let path = self.dir.buffer();
        match environment.preallocate(cap_bytes) {
            Ok(true) => Ok(()),
            Ok(false) => {
                tracing::warn!(path = %path.display(), "the file system keeps no room for the buffer: a full disk shows only when it fills");
                Ok(())
            }
            Err(error) if error.is_full() && is_new => {
                let stat = rustix::fs::statvfs(self.dir.root());
                let free = stat.map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
                // The next start is to try it again as with a new one.
                remove_dir(&path)?;
                Err(OpenError::NoRoom { path, cap_bytes, needed: map_bytes(cap_bytes), free })
            }
            Err(error) => {
                tracing::warn!(%error, "the disk has no room for all of the buffer");
                Ok(())
            }
        }
    }

    /// From here on a crash is an unclean stop.
    fn note_open(&self, marker: Option<&Marker>) -> Result<(), OpenError> {
        if let Some(marker) = marker.filter(|marker| marker.clean) {
            MarkerFile::start(&self.dir.marker(), &marker.state, marker.streams.clone(), marker.owed())?;
        }
        Ok(())
    }

    fn check_or_salvage(&self, found: &Found) -> Result<Step, OpenError> {
        let marker = if let Found::Marker(marker) = found { Some(&**marker) } else { None };
        if !self.has_data() {
            return Ok(match self.dir.damaged().exists() {
                true => Step::Salvaged(self.salvage(marker)?),
                false => self.without_data(found),
            });
        }
        self.end_salvage()?;
        if marker.is_some_and(|marker| marker.clean && self.has_length(marker)) {
            return Ok(Step::Clean);
        }
        if marker.is_some_and(|marker| marker.damaged) {
            self.set_aside("the writer met damage")?;
            return Ok(Step::Salvaged(self.salvage(marker)?));
        }
        self.stage.checking();
        let checked = check(self.checker, self.dir.root()).map_err(self.at_buffer())?;
        match checked {
            Checked::Sound(walked) => Ok(Step::Walked(walked)),
            Checked::Damaged(why) | Checked::Killed(why) => {
                self.set_aside(&why)?;
                Ok(Step::Salvaged(self.salvage(marker)?))
            }
        }
    }

    /// A file of no length was never written to, or has lost everything.
    fn has_data(&self) -> bool {
        fs::metadata(self.data_file()).is_ok_and(|meta| meta.len() > 0)
    }

    /// The buffer is new, or what was in it is gone: the marker tells. It names a stream before anything of that is in
    /// the buffer.
    fn without_data(&self, found: &Found) -> Step {
        let before = match found {
            Found::Nothing => return Step::Clean,
            Found::Marker(marker) if marker.streams.is_empty() => return Step::Clean,
            Found::Marker(marker) => emptied(marker.state.clone()),
            Found::Unreadable => unknown(self.default_topic),
        };
        let path = self.data_file();
        tracing::error!(path = %path.display(), "the buffer's file is gone; gaps say that what was in it is lost");
        Step::Lost(before)
    }

    fn has_length(&self, marker: &Marker) -> bool {
        let actual = fs::metadata(self.data_file()).map(|meta| meta.len());
        marker.file_bytes.is_none_or(|bytes| actual.is_ok_and(|actual| actual == bytes))
    }

    fn environment(&self) -> Result<(Environment, State), OpenError> {
        let dir = self.dir.buffer();
        let environment =
            Environment::open(&dir, self.cap_bytes, self.durability).map_err(self.at_buffer())?;
        let state = ends(&environment).map_err(self.at_buffer())?;
        // LMDB syncs its file, not the directory that names it.
        sync_dir(&dir).map_err(io_at(&dir))?;
        Ok((environment, state))
    }

    fn repair(
        &self,
        environment: &Environment,
        state: State,
        walked: &Walked,
        owed: Owed,
    ) -> Result<State, WorkError> {
        if walked.faults.is_empty() {
            return Ok(state);
        }
        let mut marker = MarkerFile::start(&self.dir.marker(), &state, walked.streams.clone(), owed)?;
        let mut work = Work::begin(environment, state, realtime_ms())?;
        for (lane, number) in &walked.faults {
            let amendment = Amendment::Repair { lane: *lane, number: *number };
            work.amend(&amendment, &mut marker, &self.dir.quarantine())?;
        }
        Ok(work.commit()?)
    }

    /// A new buffer takes at most half of what is free, and keeps to that from its first commit on.
    fn cap(&self, is_new: bool, state: &mut State) -> u64 {
        if is_new && let Ok(stat) = rustix::fs::statvfs(self.dir.root()) {
            // A start that committed nothing may have taken it already. In sectors, whatever the disk's are (stat(2)).
            let own = fs::metadata(self.data_file()).map_or(0, |meta| meta.blocks() * 512);
            let free = stat.f_bavail.saturating_mul(stat.f_frsize).saturating_add(own);
            state.cap_bytes_max = Some((free / 2).max(BUFFER_BYTES_MIN));
        }
        self.cap_bytes.min(BUFFER_BYTES_MAX).min(state.cap_bytes_max.unwrap_or(u64::MAX))
    }

    pub(super) fn data_file(&self) -> PathBuf {
        self.dir.buffer().join(DATA_FILE)
    }

    pub(super) fn at_buffer(&self) -> impl Fn(EnvironmentError) -> OpenError + use<> {
        let path = self.dir.buffer();
        move |source| OpenError::Environment { path: path.clone(), source }
    }

    pub(super) fn in_work(&self) -> impl Fn(WorkError) -> OpenError + use<> {
        let path = self.dir.buffer();
        move |source| OpenError::Work { path: path.clone(), source }
    }
}

/// What an earlier run could not say.
pub(super) fn owed(marker: Option<&Marker>) -> Owed {
    marker.map(Marker::owed).unwrap_or_default()
}

enum Step {
    Clean,
    Walked(Walked),
    Salvaged(Rescued),
    /// Nothing is left but what is known of it: the counter record, with nothing in its lanes.
    Lost(State),
}

/// Whether nothing was ever committed to it.
fn has_no_state(environment: &Environment) -> Result<bool, EnvironmentError> {
    Ok(environment.state(&environment.read()?)?.is_none())
}

/// Reads the counter record and each lane's ends. No stream of an earlier start is appended to.
fn ends(environment: &Environment) -> Result<State, EnvironmentError> {
    let mut state = all_ends(environment)?.unwrap_or_default();
    state.lanes.retain(|lane| !lane.is_backlog || !lane.is_empty());
    Ok(state)
}

/// The same with lanes of which nothing is left; `None` where nothing was ever committed.
pub(super) fn all_ends(environment: &Environment) -> Result<Option<State>, EnvironmentError> {
    let txn = environment.read()?;
    let Some(mut state) = environment.state(&txn)? else { return Ok(None) };
    for lane in &mut state.lanes {
        lane.open = None;
        let first = environment.range(&txn, lane.id, 0..=u64::MAX)?.next().transpose()?;
        lane.first = first.map_or(lane.next, |(number, _)| number);
        lane.drop_from = lane.first;
        if let Some((last, _)) = environment.before(&txn, lane.id, u64::MAX)? {
            lane.next = lane.next.max(last + 1).next_multiple_of(super::state::NUMBER_STEP);
        }
    }
    Ok(Some(state))
}

pub(super) fn remove_dir(path: &Path) -> Result<(), OpenError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_at(path)(error)),
        _ => Ok(()),
    }
}

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, source }
}
