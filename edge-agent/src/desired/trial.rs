//! What becomes of desired settings: events in, actions out; no clock, no file, no socket.
//!
//! ```text
//!            arrived               acknowledged, and run for a moment
//! former ───────────────> TRYING ────────────────────────────────────> accepted
//!   ^                      │  ^ │
//!   │  the control was     │  │ │ the deadline has passed without a hub
//!   │  kept meanwhile, or  │  │ v
//!   └──── crashes: rejected┘  WAITING (the former settings are in force)
//!                                a hub acknowledged something with those
//! ```
//!
//! Whether settings or the hubs are at fault shows a *control connection*, made with the former settings beside the
//! trial: a version is rejected only where a hub served that one for half the deadline on end, and the trial's own
//! never. Without a hub for either, the trial waits, with the former settings in force, and has its whole deadline again
//! when a hub is there. Both are looked at in the same time, so that no coincidence of outages can condemn settings.
//!
//! Every start of the agent spends a tenth of the deadline: settings that crash it are out of force after ten starts at
//! the latest, and rejected when that has happened three times with a hub in between. A start tells of a crash only
//! where the device has not booted since and nobody had asked the agent to stop: a device that is switched off and on
//! condemns nothing. Where it goes down only while they are in force, ten times over, they are rejected all the same:
//! some make the kernel or a watchdog reset it.

use std::time::Duration;

use uuid::Uuid;

use super::message::{Desired, MessageError};
use super::record::{Phase, Record, Trial};
use super::verdict::{State, Verdict};

/// A start spends this part of the deadline, and what is left of it is written down this often.
const PARTS: u64 = 10;
/// Starts after crashes that make a trial which came to nothing the settings' own fault: half of its time.
const STARTS_SUSPECT: u32 = 5;
const CRASHED_MAX: u32 = 3;
/// Of trials that ended so with the device, which may have other reasons to go down.
const RESET_ROUNDS_MAX: u32 = 10;
/// Settings that a hub was reached with are accepted when the agent has run so long with them, or a part of the
/// deadline where that is less: some crash it only then.
const SOAK_MAX_MS: u64 = 10_000;

#[derive(Clone, Debug)]
pub enum Event {
    /// The agent has started; before anything is in force.
    Started,
    /// The agent ends because somebody asks it to.
    Stopped,
    /// Settings came; they fit the device's own file, or why not.
    Arrived {
        desired: Desired,
        fits: Result<(), String>,
    },
    /// Nothing is wanted any more.
    Withdrawn,
    /// What came cannot be read.
    Unreadable(MessageError),
    /// What is in force does not fit the device's own file as it is now.
    Unfit(String),
    /// A hub acknowledged something on a connection that began with what is in force.
    Acknowledged,
    /// A hub has served the control connection for [`Core::control_window`] on end.
    ControlKept,
    Passed(Duration),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the record durable, before what comes next.
    Save,
    /// Go over to what is in force now, with new connections.
    Apply,
    Tell(Verdict),
}

/// Decides what is in force.
#[derive(Debug)]
pub struct Core {
    record: Record,
    /// This boot of the device.
    boot: Uuid,
    deadline_ms: u64,
    /// Of this process: whether a hub was reached with the settings on trial, and how long they have been in force.
    is_acknowledged: bool,
    ran_ms: u64,
    /// What is left of the deadline as it was written down last.
    saved_left_ms: u64,
    told: Option<Verdict>,
    actions: Vec<Action>,
}

impl Core {
    pub fn new(record: Record, boot: Uuid, deadline: Duration) -> Self {
        let saved_left_ms = record.trial.as_ref().map_or(0, |trial| trial.left_ms);
        Self {
            record,
            boot,
            deadline_ms: ms(deadline),
            is_acknowledged: false,
            ran_ms: 0,
            saved_left_ms,
            told: None,
            actions: Vec::new(),
        }
    }

    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Of what is tried from now on.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline_ms = ms(deadline);
    }

    /// What could not be made durable has not happened; what is told of it instead.
    pub fn fall_back(&mut self, saved: Record, verdict: Verdict) {
        self.saved_left_ms = saved.trial.as_ref().map_or(0, |trial| trial.left_ms);
        (self.record, self.told) = (saved, Some(verdict));
    }

    /// Whether a connection with the former settings is wanted beside the trial's.
    pub fn wants_control(&self) -> bool {
        let trial = self.record.trial.as_ref().filter(|trial| trial.phase == Phase::Trying);
        let late_ms = self.deadline_ms - self.deadline_ms / 4;
        trial.is_some_and(|trial| !self.is_acknowledged && trial.left_ms <= late_ms)
    }

    /// For how long a hub has to serve the control connection: together with the time before it is made, less than the
    /// deadline.
    pub fn control_window(&self) -> Duration {
        Duration::from_millis(self.deadline_ms / 2)
    }

    /// What is told of the settings on trial; a hub's acknowledgement of it is what a trial waits for.
    pub fn trial_verdict(&self) -> Option<Verdict> {
        self.record.trial.as_ref().map(Trial::verdict)
    }

    /// What is to be told of the version that came last.
    pub fn verdict(&self) -> Option<Verdict> {
        self.told.clone().or_else(|| self.record.verdict())
    }

    pub fn handle(&mut self, event: Event) -> Vec<Action> {
        match event {
            Event::Started => self.started(),
            Event::Stopped => self.stopped(),
            Event::Arrived { desired, fits } => self.arrived(desired, fits),
            Event::Withdrawn => self.withdrawn(),
            Event::Unreadable(error) => {
                let MessageError { version, .. } = error;
                let error = Some(error.to_string());
                self.tell_once(Verdict { version, state: State::Refused, error });
            }
            Event::Unfit(error) => self.unfit(&error),
            Event::Acknowledged => self.acknowledged(),
            Event::ControlKept => {
                if self.wants_control() {
                    self.reject(
                        "a hub was reached with the former settings all the while, and not with these",
                    );
                }
            }
            Event::Passed(time) => self.passed(ms(time)),
        }
        std::mem::take(&mut self.actions)
    }

    fn started(&mut self) {
        let part_ms = self.deadline_ms.div_ceil(PARTS);
        let (deadline_ms, boot) = (self.deadline_ms, self.boot);
        let Some(trial) = &mut self.record.trial else { return };
        if trial.phase == Phase::Trying {
            match trial.boot.replace(boot) {
                Some(former) if former == boot => trial.starts += 1,
                Some(_) => trial.resets += 1,
                None => {}
            }
            trial.left_ms = trial.left_ms.min(deadline_ms).saturating_sub(part_ms);
            if trial.left_ms == 0 {
                return self.give_up();
            }
            self.save();
        } else {
            self.acquit();
        }
        // The hub's acknowledgement of it is what is waited for.
        self.tell_trial();
    }

    fn stopped(&mut self) {
        if let Some(trial) = self.record.trial.as_mut().filter(|trial| trial.phase == Phase::Trying) {
            (trial.boot, trial.resets, trial.reset_rounds) = (None, 0, 0);
            self.save();
        }
    }

    /// The device, or the agent, went down with the former settings too.
    fn acquit(&mut self) {
        if let Some(trial) = self.record.trial.as_mut().filter(|trial| trial.reset_rounds > 0) {
            trial.reset_rounds = 0;
            self.save();
        }
    }

    fn arrived(&mut self, desired: Desired, fits: Result<(), String>) {
        let version = desired.version;
        let other = |what: &str| {
            let error =
                format!("version {version} was {what} with other settings: give these another version");
            Verdict::because(version, State::Refused, error)
        };
        if self.is_outdated(version) {
            let newest = self.record.newest;
            let error =
                format!("version {newest} came before: only higher ones are newer, whatever they set");
            return self.tell_once(Verdict::because(version, State::Refused, error));
        }
        if let Some(trial) = self.record.trial.as_ref().filter(|trial| trial.desired.version == version) {
            let verdict = if trial.desired == desired { trial.verdict() } else { other("given") };
            return self.tell_once(verdict);
        }
        if let Some(rejected) = self.record.rejected(version) {
            let verdict = match rejected.is_of(&desired) {
                true => rejected.verdict(),
                false => other("rejected"),
            };
            return self.tell_once(verdict);
        }
        let accepted = self.record.accepted.as_ref().filter(|accepted| accepted.version == version);
        match (accepted.map(|accepted| *accepted == desired), fits) {
            (Some(false), _) => self.tell_once(other("accepted")),
            (_, Err(error)) => self.tell_once(Verdict::because(version, State::Refused, error)),
            (None, Ok(())) => self.begin(desired),
            (Some(true), Ok(())) => self.tell_once(Verdict::of(version, State::Accepted)),
        }
    }

    /// A hub that has not caught up yet may hand out again what was wanted once.
    fn is_outdated(&self, version: u64) -> bool {
        let Record { accepted, trial, newest, .. } = &self.record;
        let is_in_force = trial.is_none() && accepted.as_ref().is_some_and(|it| it.version == version);
        version < *newest && !is_in_force && self.record.rejected(version).is_none()
    }

    fn begin(&mut self, desired: Desired) {
        self.record.newest = self.record.newest.max(desired.version);
        self.record.trial = Some(Trial::of(desired));
        self.put_in_force();
    }

    fn put_in_force(&mut self) {
        let Some(trial) = &mut self.record.trial else { return };
        (trial.phase, trial.left_ms) = (Phase::Trying, self.deadline_ms);
        (trial.starts, trial.resets, trial.boot) = (0, 0, Some(self.boot));
        (self.is_acknowledged, self.ran_ms) = (false, 0);
        self.save();
        self.act(Action::Apply);
        self.tell_trial();
    }

    fn withdrawn(&mut self) {
        let had_any = self.record.accepted.take().is_some() | self.record.trial.take().is_some();
        if had_any {
            self.save();
            self.act(Action::Apply);
        }
        self.tell_once(Verdict { version: None, state: State::Withdrawn, error: None });
    }

    /// Settings on trial are dropped; accepted ones are left out for as long as the file is as it is.
    fn unfit(&mut self, error: &str) {
        let Some(version) = self.record.in_force().map(|desired| desired.version) else { return };
        if self.record.is_trying(version) {
            self.record.trial = None;
            self.save();
            self.act(Action::Apply);
        }
        self.tell_once(Verdict::because(version, State::Refused, error));
    }

    fn acknowledged(&mut self) {
        match self.record.trial.as_ref().map(|trial| trial.phase) {
            Some(Phase::Trying) => self.is_acknowledged = true,
            Some(Phase::Waiting) => self.put_in_force(),
            None => {}
        }
    }

    fn passed(&mut self, passed_ms: u64) {
        let (deadline_ms, is_acknowledged) = (self.deadline_ms, self.is_acknowledged);
        let Some(trial) = self.record.trial.as_mut().filter(|trial| trial.phase == Phase::Trying) else {
            return;
        };
        self.ran_ms = self.ran_ms.saturating_add(passed_ms);
        if is_acknowledged {
            if self.ran_ms >= SOAK_MAX_MS.min(deadline_ms / PARTS) {
                self.accept();
            }
            return;
        }
        trial.left_ms = trial.left_ms.min(deadline_ms).saturating_sub(passed_ms);
        if trial.left_ms == 0 {
            self.give_up();
        } else if trial.left_ms + deadline_ms / PARTS <= self.saved_left_ms {
            self.save();
        }
    }

    fn accept(&mut self) {
        let Some(trial) = self.record.trial.take() else { return };
        let version = trial.desired.version;
        self.record.accepted = Some(trial.desired);
        self.save();
        self.tell(Verdict::of(version, State::Accepted));
    }

    /// The deadline has passed: for want of a hub, or with one crash after another.
    fn give_up(&mut self) {
        let Some(trial) = &mut self.record.trial else { return };
        (trial.phase, trial.left_ms) = (Phase::Waiting, 0);
        trial.crashed += u32::from(trial.starts >= STARTS_SUSPECT);
        let is_suspect = trial.starts + trial.resets >= STARTS_SUSPECT;
        trial.reset_rounds = if is_suspect { trial.reset_rounds + 1 } else { 0 };
        if trial.crashed >= CRASHED_MAX {
            return self.reject("the agent was started again and again with them");
        }
        if trial.reset_rounds >= RESET_ROUNDS_MAX {
            return self.reject("the device went down again and again with them");
        }
        self.save();
        self.act(Action::Apply);
        self.tell_trial();
    }

    fn reject(&mut self, error: &str) {
        let Some(trial) = self.record.trial.take() else { return };
        self.record.reject(&trial.desired, error);
        self.save();
        self.act(Action::Apply);
        self.tell(Verdict::because(trial.desired.version, State::Rejected, error));
    }

    fn save(&mut self) {
        self.saved_left_ms = self.record.trial.as_ref().map_or(0, |trial| trial.left_ms);
        self.act(Action::Save);
    }

    fn tell_trial(&mut self) {
        if let Some(verdict) = self.trial_verdict() {
            self.tell(verdict);
        }
    }

    /// What comes again with every connection is not answered with every connection.
    fn tell_once(&mut self, verdict: Verdict) {
        if self.told.as_ref() != Some(&verdict) {
            self.tell(verdict);
        }
    }

    fn tell(&mut self, verdict: Verdict) {
        self.told = Some(verdict.clone());
        self.act(Action::Tell(verdict));
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
