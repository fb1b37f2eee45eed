//! Settings from a hub in a running agent: what `desired` decides is done here.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use program::Failure;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval};
use uuid::Uuid;

use super::{Agent, uplink_config};
use crate::config::{Config, ConfigError, RemoteSettings, Settings};
use crate::data_dir::{DataDir, DataDirError};
use crate::desired::{Action, Core, Event, Record, Standing, State, Verdict, Wanted};
use crate::inputs::InputState;
use crate::limits::LETTERS_MAX;
use crate::uplink::{Control, Outbound, Served};

/// A trial's time is looked at so often, at most and at least.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
const LOOKS_PER_TRIAL: u32 = 50;
/// After which settings are tried again that could not be written down, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

pub struct Remote {
    core: Core,
    path: PathBuf,
    /// What is durable.
    saved: Record,
    /// The last record could not be made durable.
    is_failing: bool,
    again: Again,
    is_enabled: bool,
    trial: Duration,
    /// The version that lies over the file.
    in_force: Option<u64>,
    /// What the hub is to be told.
    letters: VecDeque<Verdict>,
    /// What the connection was given of that and the hub may not have, as it travels.
    untold: VecDeque<(Verdict, Bytes)>,
    /// What hubs had acknowledged before the connections were made that there are now.
    acknowledged_before: Option<u64>,
    /// While something is on trial.
    looks: Option<Looks>,
    control: Option<Watched>,
    standing: watch::Sender<Option<Standing>>,
}

/// Settings that came and could not be written down are tried again after a while.
#[derive(Default)]
struct Again {
    /// What came last.
    wanted: Bytes,
    /// How often in a row it could not be written down.
    tries: u32,
    /// The version of which that was told.
    told: Option<u64>,
    at: Option<Instant>,
}

impl Again {
    fn later(&mut self) {
        let wait = AGAIN.0.saturating_mul(1 << self.tries.min(16)).min(AGAIN.1);
        (self.tries, self.at) = (self.tries + 1, Some(Instant::now() + wait));
    }

    /// May be cancelled.
    async fn due(&self) {
        match self.at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

struct Looks {
    interval: Interval,
    last: Instant,
}

/// The control connection; it ends with this.
struct Watched {
    /// None where it could not be made.
    task: Option<JoinHandle<()>>,
    served: mpsc::Receiver<Served>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Why a trial is to be looked at.
pub(super) enum Occasion {
    Time,
    Control(Served),
    /// What could not be written down.
    Again,
}

impl Remote {
    /// Reads what the device remembers, before anything is in force. The caller holds the data directory's lock.
    pub fn open(dir: &DataDir, settings: &RemoteSettings, boot: Uuid) -> Self {
        let path = dir.remote();
        let saved = Record::read(&path).unwrap_or_else(|error| {
            let path = path.display();
            tracing::error!(%path, %error, "settings from the hub are forgotten: the device's own file is in force");
            Record::default()
        });
        let mut remote = Self {
            core: Core::new(saved.clone(), boot, settings.trial()),
            path,
            saved,
            is_failing: false,
            again: Again::default(),
            is_enabled: false,
            trial: settings.trial(),
            in_force: None,
            letters: VecDeque::new(),
            untold: VecDeque::new(),
            acknowledged_before: Some(0),
            looks: None,
            control: None,
            standing: watch::Sender::new(None),
        };
        remote.set(settings);
        remote
    }

    /// What `status` says.
    pub fn standing(&self) -> watch::Receiver<Option<Standing>> {
        self.standing.subscribe()
    }

    /// Goes over to other settings of its own.
    pub(super) fn set(&mut self, settings: &RemoteSettings) {
        self.trial = settings.trial();
        self.core.set_deadline(self.trial);
        let was_enabled = std::mem::replace(&mut self.is_enabled, settings.settings);
        if self.is_enabled && !was_enabled {
            self.handle(Event::Started);
        } else if was_enabled && !self.is_enabled {
            self.handle(Event::Stopped);
        }
    }

    /// The agent ends because somebody asked it to.
    pub fn stopped(&mut self) {
        if self.is_enabled {
            self.handle(Event::Stopped);
        }
    }

    /// The file's settings with what is in force over them. What does not fit is left out as a whole.
    pub fn over(&mut self, file: &Settings) -> Result<Config, ConfigError> {
        while let Some(desired) = self.core.record().in_force().filter(|_| self.is_enabled) {
            let version = desired.version;
            match file.clone().overlaid_by(&desired.settings) {
                Ok(config) => {
                    self.in_force = Some(version);
                    self.show();
                    return Ok(config);
                }
                Err(error) => {
                    let was_trying = self.core.record().is_trying(version);
                    self.handle(Event::Unfit(error.to_string()));
                    if !was_trying {
                        break;
                    }
                }
            }
        }
        self.in_force = None;
        self.show();
        file.clone().validate()
    }

    /// True where something else is in force by it.
    fn handle(&mut self, event: Event) -> bool {
        let mut is_to_apply = false;
        for action in self.core.handle(event) {
            match action {
                Action::Save => {
                    if !self.save() {
                        return false;
                    }
                }
                Action::Apply => is_to_apply = true,
                Action::Tell(verdict) => self.tell(verdict),
            }
        }
        is_to_apply
    }

    /// False where what is to be tried is not durable, and so has not begun.
    fn save(&mut self) -> bool {
        let record = self.core.record();
        if let Err(error) = record.write(&self.path) {
            if !std::mem::replace(&mut self.is_failing, true) {
                tracing::error!(%error, "what becomes of settings from the hub could not be written down");
            }
            let trying = record.trial.as_ref().map(|trial| trial.desired.version);
            let begun =
                trying.filter(|version| record.is_trying(*version) && !self.saved.is_trying(*version));
            if let Some(version) = begun {
                self.put_off(version, &error);
            }
            return begun.is_none();
        }
        (self.saved, self.is_failing) = (record.clone(), false);
        (self.again.tries, self.again.told, self.again.at) = (0, None, None);
        true
    }

    /// Settings that could not be written down: whoever wants them is told once.
    fn put_off(&mut self, version: u64, error: &DataDirError) {
        let error = format!("they could not be written down, and are tried again: {error}");
        let verdict = Verdict::because(version, State::Waiting, error);
        self.core.fall_back(self.saved.clone(), verdict.clone());
        self.again.later();
        if self.again.told.replace(version) != Some(version) {
            self.tell(verdict);
        }
    }

    fn tell(&mut self, verdict: Verdict) {
        let Verdict { version, state, error } = &verdict;
        match state {
            State::Rejected | State::Refused | State::Waiting => {
                tracing::warn!(version, %state, error, "settings from the hub");
            }
            State::Trying | State::Accepted | State::Withdrawn => {
                tracing::info!(version, %state, "settings from the hub");
            }
        }
        // One that is told twice was the same in between.
        self.letters.retain(|kept| *kept != verdict);
        self.letters.push_back(verdict);
        while self.letters.len() > LETTERS_MAX {
            self.letters.pop_front();
        }
    }

    /// The connections that there are now began with what is in force.
    pub(super) fn connected_anew(&mut self, acknowledged: u64) {
        self.acknowledged_before = Some(acknowledged);
        if let Some(looks) = &mut self.looks {
            looks.last = Instant::now();
        }
        // The former connection took it with it. What has become of a trial since goes before how it stood.
        let is_final = |state| !matches!(state, State::Trying | State::Waiting);
        let untold = self.untold.drain(..).map(|(verdict, _)| verdict);
        let again: Vec<Verdict> = untold.filter(|verdict| is_final(verdict.state)).collect();
        again.into_iter().rev().for_each(|verdict| self.letters.push_front(verdict));
        // Its acknowledgement on this connection is waited for.
        let verdict = self.core.trial_verdict().filter(|_| self.is_enabled);
        self.letters.extend(verdict.filter(|verdict| !self.letters.contains(verdict)));
    }

    /// The connection has it, and says when the hub has.
    fn given(&mut self, verdict: Verdict, answer: Bytes) {
        self.untold.push_back((verdict, answer));
        while self.untold.len() > LETTERS_MAX {
            self.untold.pop_front();
        }
    }

    pub(super) fn told(&mut self, answer: &[u8]) {
        self.untold.retain(|(_, untold)| untold != answer);
    }

    /// The connections are the former ones: what is acknowledged on them says nothing.
    pub(super) fn not_connected_anew(&mut self) {
        self.acknowledged_before = None;
    }

    /// Waits until a trial is to be looked at. May be cancelled.
    pub(super) async fn next(&mut self) -> Occasion {
        tokio::select! {
            () = look(&mut self.looks) => Occasion::Time,
            served = served(&mut self.control) => Occasion::Control(served),
            () = self.again.due() => Occasion::Again,
        }
    }

    /// The time since the last look.
    fn passed(&mut self) -> Duration {
        let now = Instant::now();
        let last = self.looks.as_mut().map(|looks| std::mem::replace(&mut looks.last, now));
        last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last))
    }

    /// Looks at the time only while it matters, and shows how things are.
    fn settle(&mut self) {
        if !self.is_enabled {
            self.again.at = None;
        }
        if !self.is_enabled || self.core.record().trial.is_none() {
            self.looks = None;
        } else if self.looks.is_none() {
            let every = (self.trial / LOOKS_PER_TRIAL).clamp(LOOK.0, LOOK.1);
            let mut interval = tokio::time::interval(every);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            self.looks = Some(Looks { interval, last: Instant::now() });
        }
        self.show();
    }

    fn show(&self) {
        let verdict = self.core.verdict().filter(|_| self.is_enabled);
        let standing = verdict.map(|verdict| Standing { verdict, in_force: self.in_force });
        self.standing.send_replace(standing);
    }

    fn wants_control(&self) -> bool {
        self.is_enabled && self.core.wants_control()
    }

    /// What is in force when nothing is tried.
    fn former(&self, file: &Settings) -> Result<Config, ConfigError> {
        let accepted = self.core.record().accepted.as_ref();
        let overlaid = accepted.and_then(|it| file.clone().overlaid_by(&it.settings).ok());
        overlaid.map_or_else(|| file.clone().validate(), Ok)
    }
}

async fn look(looks: &mut Option<Looks>) {
    match looks {
        Some(looks) => drop(looks.interval.tick().await),
        None => std::future::pending().await,
    }
}

async fn served(control: &mut Option<Watched>) -> Served {
    let served = match control {
        Some(control) => control.served.recv().await,
        None => None,
    };
    match served {
        Some(served) => served,
        None => std::future::pending().await,
    }
}

impl Agent {
    /// Somebody says how the device is to be set.
    pub(super) async fn desired(&mut self, payload: Bytes) -> Result<(), Failure> {
        (self.remote.again.wanted, self.remote.again.at) = (payload.clone(), None);
        let event = match Wanted::parse(&payload) {
            Ok(Wanted::Nothing) => Event::Withdrawn,
            Ok(Wanted::Settings(desired)) => {
                let fits = self.file.clone().overlaid_by(&desired.settings);
                Event::Arrived { desired, fits: fits.map(drop).map_err(|error| error.to_string()) }
            }
            Err(error) => Event::Unreadable(error),
        };
        self.pursue(event).await
    }

    /// Looks at what is on trial.
    pub(super) async fn look(&mut self, occasion: Occasion) -> Result<(), Failure> {
        match occasion {
            Occasion::Time => {
                let acknowledged = self.status.borrow().main.acknowledged;
                if self.remote.acknowledged_before.is_some_and(|before| acknowledged > before) {
                    self.pursue(Event::Acknowledged).await?;
                }
                let passed = self.remote.passed();
                self.pursue(Event::Passed(passed)).await
            }
            Occasion::Control(Served::Reached) => {
                // The trial's own connection is not to wait for its turn meanwhile.
                if !self.status.borrow().main.connected {
                    self.restart_uplink().await?;
                    self.settle_remote();
                }
                Ok(())
            }
            Occasion::Control(Served::Kept) => self.pursue(Event::ControlKept).await,
            Occasion::Again => self.desired(self.remote.again.wanted.clone()).await,
        }
    }

    async fn pursue(&mut self, event: Event) -> Result<(), Failure> {
        if self.remote.handle(event) {
            let config = self.remote.over(&self.file).map_err(Failure::run)?;
            self.go_over_to(config, true).await?;
        }
        self.settle_remote();
        Ok(())
    }

    /// Sends what is to be told, and makes or ends the control connection.
    pub(super) fn settle_remote(&mut self) {
        self.remote.settle();
        self.tell_waiting();
        if !self.remote.wants_control() {
            self.remote.control = None;
        } else if self.remote.control.is_none() {
            self.remote.control = Some(self.watch());
        }
    }

    /// Gives the uplink what is to be told, as far as it takes it; the rest is told when it has room.
    pub(super) fn tell_waiting(&mut self) {
        while let Some(mut verdict) = self.remote.letters.front().cloned() {
            if verdict.state == State::Accepted {
                verdict.error = self.failing_inputs();
            }
            let answer = Bytes::from(verdict.to_answer());
            if self.desk.outbound.try_send(Outbound(answer.clone())).is_err() {
                break;
            }
            self.remote.letters.pop_front();
            self.remote.given(verdict, answer);
        }
    }

    /// The hub was reached, and whoever set the device learns what else is not as it should be.
    fn failing_inputs(&self) -> Option<String> {
        let health = self.ground.roster.health().into_iter();
        let failing = health.filter(|(_, health)| health.state == InputState::Failing);
        let errors =
            failing.map(|(name, health)| format!("{name}: {}", health.last_error.unwrap_or_default()));
        let errors = errors.collect::<Vec<_>>().join("; ");
        (!errors.is_empty()).then(|| format!("inputs that fail: {errors}"))
    }

    fn watch(&self) -> Watched {
        let (sender, served) = mpsc::channel(1);
        let former = self.remote.former(&self.file).map_err(|error| error.to_string());
        let control = former.and_then(|config| {
            let (device, clock) = (self.ground.device.clone(), self.ground.clock.clone());
            Control::new(uplink_config(&config), device, clock).map_err(|error| error.to_string())
        });
        match control {
            Ok(control) => {
                let window = self.remote.core.control_window();
                Watched { task: Some(tokio::spawn(control.run(window, self.doubt(), sender))), served }
            }
            Err(error) => {
                tracing::warn!(error, "it cannot be told whether settings or hubs are at fault");
                Watched { task: None, served }
            }
        }
    }

    /// What the control connection says.
    fn doubt(&self) -> Bytes {
        let version = self.remote.core.record().trial.as_ref().map(|trial| trial.desired.version);
        let what = "a hub is reached with the former settings, and not with these so far";
        let doubt = Verdict { version, state: State::Trying, error: Some(what.to_owned()) };
        doubt.to_answer().into()
    }
}
