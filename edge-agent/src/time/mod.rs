//! What time it is, and whether that is known.
//!
//! A device may boot in 1970, at a stale but plausible time, or in 2099. Wall time is known when the kernel's clock is
//! synchronised, or when a hub that may be believed said it in this boot, or when the hardware clock is plausible.
//! Until then a record carries the boot and `CLOCK_BOOTTIME`, which never jumps.

mod hardware;
mod kernel_offsets;
mod knowledge;
mod last_known;
mod machine;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use uuid::Uuid;

pub use hardware::HardwareCheck;
pub use kernel_offsets::KernelOffsets;
pub use knowledge::{Jump, Own, Source};
pub use machine::{Machine, ThisMachine, realtime_ms};

use hardware::span;
use knowledge::{Knowledge, Notice};
use last_known::{DAY_MS, LastKnown, Past};
use machine::Reading;

use crate::data_dir::DataDirError;

/// When this program was built, as its build script wrote it down.
const BUILT_AT_MS: i64 = match i64::from_str_radix(env!("BUILT_AT_SECONDS"), 10) {
    Ok(seconds) => seconds * 1000,
    Err(_) => 0,
};
/// The clock of the machine that built it may have been so much ahead.
const EARLIEST_MS: i64 = BUILT_AT_MS - DAY_MS;
/// The kernel's clock is looked at this often at most.
const OBSERVE_EVERY_MS: i64 = 100;

/// When a record was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// ms since 1970.
    Wall(i64),
    /// ms since the boot; wall time is not known.
    Boot(i64),
}

impl Stamp {
    pub fn ms(self) -> i64 {
        match self {
            Self::Wall(ms) | Self::Boot(ms) => ms,
        }
    }

    pub fn is_wall(self) -> bool {
        matches!(self, Self::Wall(_))
    }

    /// So many ms before; what was before the boot counts as at it.
    #[must_use]
    pub fn earlier(self, ms: i64) -> Self {
        match self {
            Self::Wall(at) => Self::Wall(at.saturating_sub(ms)),
            Self::Boot(at) => Self::Boot(at.saturating_sub(ms).max(0)),
        }
    }
}

/// The machine's clocks and what is known of them.
#[derive(Debug)]
pub struct Clock {
    machine: Box<dyn Machine>,
    boot: Uuid,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    knowledge: Knowledge,
    last_known: LastKnown,
    /// When the kernel's clock was looked at, in ms since the boot.
    observed_boot_ms: Option<i64>,
    /// Why the hardware clock is not believed.
    hardware_doubt: Option<String>,
}

/// What `status` tells of the clock.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct ClockStatus {
    /// Who told the time; `None` while it is not known.
    pub source: Option<Source>,
    /// The agent's time, and since when by this source, in ms since 1970.
    pub now_ms: Option<i64>,
    pub since_ms: Option<i64>,
    /// It is this at least, whatever is known, in ms since 1970.
    pub last_known_ms: i64,
    /// How often the kernel's clock was set since the agent began.
    pub jumps: u64,
    pub last_jump: Option<Jump>,
    /// When that was, in ms since 1970, where the time is known.
    pub last_jump_at_ms: Option<i64>,
    /// How far the hub's clock is ahead of the agent's time, where that is more than 10 s.
    pub hub_differs_ms: Option<i64>,
    /// Why the hardware clock is not believed.
    pub hardware_clock: Option<String>,
}

impl Clock {
    pub fn of_this_machine() -> Self {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        // Without a boot id (no /proc), each run counts as a boot of its own.
        let boot = text.trim().parse().unwrap_or_else(|_| Uuid::from_u128(rand::random()));
        Self::of(Box::<ThisMachine>::default(), boot)
    }

    /// Of a machine in this boot.
    pub fn of(machine: Box<dyn Machine>, boot: Uuid) -> Self {
        let state = State {
            knowledge: Knowledge::new(EARLIEST_MS),
            last_known: LastKnown::new(boot, None, BUILT_AT_MS),
            observed_boot_ms: None,
            hardware_doubt: None,
        };
        Self { machine, boot, state: Mutex::new(state), changed: Notify::new() }
    }

    pub fn boot(&self) -> Uuid {
        self.boot
    }

    /// ms since the boot, sleep included.
    pub fn boot_ms(&self) -> i64 {
        self.machine.boot_ms()
    }

    /// ms since 1970 by the kernel's clock, right or wrong: for ages only.
    pub fn kernel_ms(&self) -> i64 {
        self.machine.kernel_ms()
    }

    /// What the kernel's clock was against boot time while this agent runs.
    pub fn kernel_offsets(&self) -> KernelOffsets {
        self.observed(self.boot_ms()).knowledge.kernel_offsets().clone()
    }

    /// s since 1970 by the hardware clock, right or wrong.
    pub fn hardware_s(&self) -> Option<i64> {
        self.machine.hardware_s()
    }

    /// Now, as well as it is known.
    pub fn stamp(&self) -> Stamp {
        let boot_ms = self.boot_ms();
        match self.observed(boot_ms).knowledge.own() {
            Some(own) => Stamp::Wall(boot_ms + own.offset_ms),
            None => Stamp::Boot(boot_ms),
        }
    }

    /// The agent's time, if it is known.
    pub fn own(&self) -> Option<Own> {
        self.observed(self.boot_ms()).knowledge.own()
    }

    /// Wall time minus boot time, if wall time is known.
    pub fn known_offset(&self) -> Option<i64> {
        Some(self.own()?.offset_ms)
    }

    /// ms since 1970, if that is known.
    pub fn wall_ms(&self) -> Option<i64> {
        match self.stamp() {
            Stamp::Wall(ms) => Some(ms),
            Stamp::Boot(_) => None,
        }
    }

    /// ms since 1970, as well as anybody said it: of use only for what would have no time otherwise.
    pub fn likely_ms(&self) -> i64 {
        let boot_ms = self.boot_ms();
        let state = self.observed(boot_ms);
        let offset_ms = state.knowledge.own().map(|own| own.offset_ms).or(state.knowledge.hub_offset_ms());
        offset_ms.map_or_else(|| self.kernel_ms(), |offset_ms| boot_ms + offset_ms)
    }

    /// ms since 1970 where that is so sure that a certificate may be refused for it: the kernel's clock is
    /// synchronised, or was in this boot. A hub or a hardware clock that is wrong must not lock the device out.
    pub fn sure_ms(&self) -> Option<i64> {
        let boot_ms = self.boot_ms();
        let own = self.observed(boot_ms).knowledge.own()?;
        (own.source == Source::Kernel).then_some(boot_ms + own.offset_ms)
    }

    /// It is surely this or later, in ms since 1970.
    pub fn earliest_ms(&self) -> i64 {
        self.observed(self.boot_ms()).last_known.earliest_ms()
    }

    pub fn last_known_ms(&self) -> i64 {
        self.observed(self.boot_ms()).last_known.ms()
    }

    /// Takes what a hub says the time is; `is_trusted` where it may be believed.
    pub fn hear_hub(&self, time_ms: i64, is_trusted: bool) {
        let boot_ms = self.boot_ms();
        let offset_ms = time_ms.saturating_sub(boot_ms);
        let mut state = self.observed(boot_ms);
        let notices = state.knowledge.hear_hub(offset_ms, is_trusted, boot_ms);
        self.note(&mut state, boot_ms, notices);
    }

    /// Takes wall time minus boot time as an earlier run in this boot or the hardware clock knew it, where nothing
    /// better is known.
    pub fn recall(&self, source: Source, offset_ms: i64) {
        let boot_ms = self.boot_ms();
        let mut state = self.observed(boot_ms);
        let notices = state.knowledge.recall(source, offset_ms, boot_ms);
        self.note(&mut state, boot_ms, notices);
    }

    /// The hardware clock is not believed.
    pub fn doubt_hardware(&self, why: String) {
        self.state().hardware_doubt = Some(why);
    }

    /// Takes what an earlier run wrote down; what cannot be used is told and left out.
    pub fn read(&self, path: &Path) {
        match Past::read(path, BUILT_AT_MS) {
            Ok(None) => {}
            Ok(Some(past)) => {
                self.state().last_known = LastKnown::new(self.boot, Some(&past), BUILT_AT_MS);
                if let Some(offset_ms) = past.offset_in(self.boot) {
                    self.recall(Source::EarlierRun, offset_ms);
                }
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "the last known time is not used");
            }
        }
    }

    /// Writes down the last known time, where this boot's is known.
    pub fn write(&self, path: &Path) -> Result<(), DataDirError> {
        let past = {
            let state = self.observed(self.boot_ms());
            let Some(own) = state.knowledge.own() else { return Ok(()) };
            state.last_known.past(own.offset_ms)
        };
        past.write(path)
    }

    /// Waits until the time is known otherwise than it was.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    pub fn status(&self) -> ClockStatus {
        let boot_ms = self.boot_ms();
        let state = self.observed(boot_ms);
        let own = state.knowledge.own();
        let (jumps, last_jump) = state.knowledge.jumps();
        ClockStatus {
            source: own.map(|own| own.source),
            now_ms: own.map(|own| boot_ms + own.offset_ms),
            since_ms: own.map(|own| own.since_boot_ms + own.offset_ms),
            last_known_ms: state.last_known.ms(),
            jumps,
            last_jump,
            last_jump_at_ms: own.zip(last_jump).map(|(own, jump)| jump.at_boot_ms + own.offset_ms),
            hub_differs_ms: state.knowledge.hub_differs_ms(),
            hardware_clock: state.hardware_doubt.clone(),
        }
    }

    /// The state, after a look at the kernel's clock where one is due.
    fn observed(&self, boot_ms: i64) -> MutexGuard<'_, State> {
        let mut state = self.state();
        if state.observed_boot_ms.is_none_or(|last| boot_ms - last >= OBSERVE_EVERY_MS) {
            state.observed_boot_ms = Some(boot_ms);
            let notices = state.knowledge.observe(&Reading::of(self.machine.as_ref()));
            self.note(&mut state, boot_ms, notices);
        }
        state
    }

    fn note(&self, state: &mut State, boot_ms: i64, notices: Vec<Notice>) {
        if let Some(own) = state.knowledge.own() {
            state.last_known.advance(boot_ms.saturating_add(own.offset_ms), boot_ms);
        }
        for notice in notices {
            if matches!(notice, Notice::Known { .. }) {
                self.changed.notify_one();
            }
            tell(notice);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(notice: Notice) {
    match notice {
        Notice::Known { source, moved_by_ms: None } => {
            tracing::info!(source = source.name(), "the time is known");
        }
        Notice::Known { source, moved_by_ms: Some(by_ms) } => {
            tracing::info!(source = source.name(), by_ms, "the time is corrected");
        }
        Notice::Jumped(jump) => {
            let (by, is_followed) = (far(jump.by_ms), jump.is_followed);
            tracing::warn!(by, is_followed, "the kernel's clock was set");
        }
        Notice::Followed => tracing::info!("the kernel's clock is synchronised: its jump is followed"),
        Notice::TooEarly { source, ms } => {
            let source = source.name();
            tracing::warn!(source, ms, "a time before this program was built is not believed");
        }
        Notice::HubDiffers { by_ms: 0 } => tracing::info!("the hub's clock agrees with the agent's again"),
        Notice::HubDiffers { by_ms } => {
            tracing::warn!(by = far(by_ms), "the hub's clock is another than the agent's");
        }
    }
}

/// How far a clock is off, for people: with the sign.
pub fn far(by_ms: i64) -> String {
    format!("{}{}", if by_ms < 0 { '-' } else { '+' }, span(by_ms))
}

#[cfg(test)]
mod tests;
