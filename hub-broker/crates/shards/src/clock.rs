//! The shards' own time.
//!
//! Entries are stamped with it and retention counts by it, so it never goes backwards, and a wall clock that
//! jumps by more than an hour beyond what the uptime accounts for is not believed: the stamps run on from
//! `CLOCK_BOOTTIME` until the wall clock comes back, is known to be synchronised, or is accepted by a person.
//!
//! The stamps of other hubs' entries say what time it is in the cluster. A hub that has joined one does not believe its
//! wall clock before it has heard any; and one that does not believe its own, because it was off for hours or shows
//! another year, goes by the latest that it hears, until its wall clock is within an hour of them.

use std::path::Path;

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

use crate::limits::CLOCK_JUMP_MS_MAX;

/// systemd-timesyncd makes this file once it has set the clock from the network.
const SYNCHRONISED_FILE: &str = "/run/systemd/timesync/synchronized";

/// One look at the machine's clocks, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub wall_ms: i64,
    /// Since the machine was started, time asleep included.
    pub boot_ms: i64,
}

impl Reading {
    pub(crate) fn now() -> Self {
        Self { wall_ms: milliseconds(ClockId::Realtime), boot_ms: milliseconds(ClockId::Boottime) }
    }
}

fn milliseconds(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// The rule, without a clock in it.
#[derive(Debug)]
pub(crate) struct StampRule {
    /// Believed time minus boot time; `None` until there is something to believe.
    offset_ms: Option<i64>,
    last_ms: i64,
    held: bool,
}

impl StampRule {
    /// Nothing is known yet.
    fn unknown() -> Self {
        Self { offset_ms: None, last_ms: i64::MIN, held: true }
    }

    /// `expected_ms`: the time that it must be at least, from the last stamp. The hub that founds a cluster knows none.
    pub(crate) fn new(expected_ms: Option<i64>, reading: Reading) -> Self {
        let start_ms = expected_ms.unwrap_or(reading.wall_ms);
        let last_ms = expected_ms.unwrap_or(i64::MIN);
        Self { offset_ms: Some(start_ms.saturating_sub(reading.boot_ms)), last_ms, held: false }
    }

    /// What the time should be by what is believed.
    fn expected_ms(&self, reading: Reading) -> Option<i64> {
        self.offset_ms.map(|offset_ms| offset_ms.saturating_add(reading.boot_ms))
    }

    /// The time as far as it is believed; `None` until there is something to believe.
    pub(crate) fn read(&mut self, reading: Reading, synchronised: impl FnOnce() -> bool) -> Option<i64> {
        let agrees = |expected_ms| reading.wall_ms.abs_diff(expected_ms) <= CLOCK_JUMP_MS_MAX.unsigned_abs();
        self.held = !self.expected_ms(reading).is_some_and(agrees) && !synchronised();
        if !self.held {
            self.offset_ms = Some(reading.wall_ms.saturating_sub(reading.boot_ms));
        }
        self.last_ms = self.last_ms.max(self.expected_ms(reading)?);
        Some(self.last_ms)
    }

    /// Another hub has stamped an entry with this. It counts only while the own clock is not believed, and the latest does:
    /// who catches up hears old ones first, and one hub that is ahead must not take those along that agree with each other.
    pub(crate) fn hear(&mut self, stamp_ms: i64, reading: Reading) {
        if self.held && self.expected_ms(reading).is_none_or(|expected_ms| stamp_ms > expected_ms) {
            self.offset_ms = Some(stamp_ms.saturating_sub(reading.boot_ms));
        }
    }

    fn accept(&mut self, reading: Reading) {
        self.offset_ms = Some(reading.wall_ms.saturating_sub(reading.boot_ms));
        self.held = false;
    }
}

/// The rule with this machine's clocks, or with clocks that are given.
pub(crate) struct Clock {
    rule: Mutex<StampRule>,
    /// What a simulation has the clocks show; `None` for this machine's.
    given: Option<Mutex<Reading>>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { rule: Mutex::new(StampRule::unknown()), given: None }
    }

    /// Clocks that show what they are told, and that nobody vouches for.
    pub(crate) fn given(reading: Reading) -> Self {
        Self { rule: Mutex::new(StampRule::unknown()), given: Some(Mutex::new(reading)) }
    }

    /// Has given clocks show something else.
    pub(crate) fn give(&self, reading: Reading) {
        if let Some(given) = &self.given {
            *given.lock() = reading;
        }
    }

    /// Since the machine was started.
    pub(crate) fn boot_ms(&self) -> i64 {
        self.reading().boot_ms
    }

    fn reading(&self) -> Reading {
        self.given.as_ref().map_or_else(Reading::now, |given| *given.lock())
    }

    fn is_synchronised(&self) -> bool {
        self.given.is_none() && Path::new(SYNCHRONISED_FILE).exists()
    }

    /// Goes on from the last stamp that this hub knows. Without one a founder takes the wall clock as it is; anyone else
    /// waits to hear the cluster's time, and has perhaps heard it already.
    pub(crate) fn go_on_from(&self, expected_ms: Option<i64>, founder: bool) {
        let reading = self.reading();
        {
            let mut rule = self.rule.lock();
            let known_ms = expected_ms.max(rule.expected_ms(reading).filter(|_| !founder));
            if founder || known_ms.is_some() {
                *rule = StampRule::new(known_ms, reading);
            }
        }
        if self.known_ms().is_some() && self.is_held() {
            tracing::warn!(
                "the wall clock is more than an hour from the last stamp and not known to be synchronised: \
                 stamps run on by the uptime, and retention by time is held"
            );
        }
    }

    /// The time as far as it is believed; `None` on a hub that has joined a cluster and heard no stamp yet.
    pub(crate) fn known_ms(&self) -> Option<i64> {
        self.rule.lock().read(self.reading(), || self.is_synchronised())
    }

    /// The same, and the wall clock where nothing better is known.
    pub(crate) fn now_ms(&self) -> i64 {
        self.known_ms().unwrap_or_else(|| self.reading().wall_ms)
    }

    /// Another hub has stamped an entry with this.
    pub(crate) fn hear(&self, stamp_ms: i64) {
        self.rule.lock().hear(stamp_ms, self.reading());
    }

    /// The wall clock is not believed, or not yet.
    pub(crate) fn is_held(&self) -> bool {
        let mut rule = self.rule.lock();
        rule.read(self.reading(), || self.is_synchronised());
        rule.held
    }

    pub(crate) fn accept(&self) {
        self.rule.lock().accept(self.reading());
    }
}

/// Where the clock stood: lets a later process of the same boot account for the time in between.
///
/// ```text
/// version u8 = 1 | boot id 16 | boot time i64 (ms) | stamp i64 (ms) | CRC-32C u32 of all before, big-endian
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub boot_id: [u8; 16],
    pub boot_ms: i64,
    pub stamp_ms: i64,
}

const ANCHOR_VERSION: u8 = 1;
const ANCHOR_BYTES: usize = 1 + 16 + 8 + 8 + 4;

impl Anchor {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![ANCHOR_VERSION];
        bytes.extend(self.boot_id);
        bytes.extend(self.boot_ms.to_be_bytes());
        bytes.extend(self.stamp_ms.to_be_bytes());
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
        bytes
    }

    /// `None` for anything else: without an anchor the clock is only more careful.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_at_checked(ANCHOR_BYTES - 4)?;
        if crc != crc32c::crc32c(body).to_be_bytes() || body.first() != Some(&ANCHOR_VERSION) {
            return None;
        }
        let number = |at: usize| Some(i64::from_be_bytes(body.get(at..at + 8)?.try_into().ok()?));
        let boot_id = body.get(1..17)?.try_into().ok()?;
        Some(Self { boot_id, boot_ms: number(17)?, stamp_ms: number(25)? })
    }

    /// What the time is by this anchor, if it is of this boot.
    pub(crate) fn expected_ms(&self, boot_id: [u8; 16], reading: Reading) -> Option<i64> {
        let same_boot = boot_id == self.boot_id && boot_id != [0; 16];
        same_boot.then(|| self.stamp_ms.saturating_add(reading.boot_ms.saturating_sub(self.boot_ms)))
    }
}

/// This boot's id; zeros where the kernel does not say.
pub(crate) fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    uuid::Uuid::try_parse(text.trim()).unwrap_or_default().into_bytes()
}

#[cfg(test)]
mod tests;
