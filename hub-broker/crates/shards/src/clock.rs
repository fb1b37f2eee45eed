//! The shards' own time.
//!
//! Entries are stamped with it and retention counts by it, so it does not go backwards, and a wall clock that
//! jumps by more than an hour beyond what the uptime accounts for is not believed: the stamps run on from
//! `CLOCK_BOOTTIME` until the wall clock comes back, is known to be synchronised, or is accepted by a person. Only where
//! what was believed turns out to be wrong by more than an hour it may go back; a group's own stamps do not even then.
//!
//! The stamps of other hubs' entries say what time it is in the cluster. A hub that has joined one does not believe its
//! wall clock before it has heard any; and one that does not believe its own, because it was off for hours or shows
//! another year, goes by the latest that it hears, until its wall clock is within an hour of them.
//!
//! What a majority of the hubs' wall clocks agree on is right ([`StampRule::judge`]): a hub that shows the same within a
//! minute is believed at once, and one that is more than an hour from it is not believed, whatever it thought before. A
//! person may say otherwise ([`StampRule::accept`]).

use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};

use crate::limits::{CLOCK_AGREEMENT_MS, CLOCK_JUMP_MS_MAX};

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

/// Why a hub does not believe its wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockHeld {
    /// The hub has joined a cluster and has not heard its time yet.
    Unheard,
    /// It shows a time more than an hour from where the uptime, or the cluster's stamps, would have it.
    Jumped,
    /// The clocks of most hubs agree on a time more than an hour from it.
    Outvoted,
}

/// What a hub's clock shows, and whether that is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockState {
    /// The wall clock, ms since 1970.
    pub wall_ms: i64,
    /// The time as far as it is believed; none where there is nothing to believe yet.
    pub known_ms: Option<i64>,
    /// While it is, nothing on this hub expires by time.
    pub held: Option<ClockHeld>,
}

fn is_near(one_ms: i64, other_ms: i64) -> bool {
    one_ms.abs_diff(other_ms) <= CLOCK_JUMP_MS_MAX.unsigned_abs()
}

/// The rule, without a clock in it.
#[derive(Debug)]
pub(crate) struct StampRule {
    /// Believed time minus boot time; `None` until there is something to believe.
    offset_ms: Option<i64>,
    last_ms: i64,
    held: Option<ClockHeld>,
    /// The time that is believed is the one that a majority of other clocks agreed on.
    is_outvoted: bool,
    /// A person vouches for the wall clock, until it jumps.
    is_accepted: bool,
}

impl StampRule {
    /// Nothing is known yet.
    fn unknown() -> Self {
        let held = Some(ClockHeld::Unheard);
        Self { offset_ms: None, last_ms: i64::MIN, held, is_outvoted: false, is_accepted: false }
    }

    /// `expected_ms`: the time that it must be at least, from the last stamp. The hub that founds a cluster knows none.
    pub(crate) fn new(expected_ms: Option<i64>, reading: Reading) -> Self {
        let start_ms = expected_ms.unwrap_or(reading.wall_ms);
        let last_ms = expected_ms.unwrap_or(i64::MIN);
        let offset_ms = Some(start_ms.saturating_sub(reading.boot_ms));
        Self { offset_ms, last_ms, held: None, ..Self::unknown() }
    }

    /// What the time should be by what is believed.
    fn expected_ms(&self, reading: Reading) -> Option<i64> {
        self.offset_ms.map(|offset_ms| offset_ms.saturating_add(reading.boot_ms))
    }

    /// The time as far as it is believed; `None` until there is something to believe.
    pub(crate) fn read(&mut self, reading: Reading, synchronised: impl FnOnce() -> bool) -> Option<i64> {
        self.held = match self.expected_ms(reading) {
            Some(expected_ms) if is_near(reading.wall_ms, expected_ms) => None,
            _ if self.is_outvoted => Some(ClockHeld::Outvoted),
            _ if synchronised() => None,
            Some(_) => Some(ClockHeld::Jumped),
            None => Some(ClockHeld::Unheard),
        };
        if self.held.is_none() {
            self.believe(reading.wall_ms, reading);
        } else {
            self.is_accepted = false;
        }
        self.last_ms = self.last_ms.max(self.expected_ms(reading)?);
        Some(self.last_ms)
    }

    /// Another hub has stamped an entry with this. It counts only while the own clock is not believed, and the latest does:
    /// who catches up hears old ones first, and one hub that is ahead must not take those along that agree with each other.
    /// What most clocks have said outweighs it: a stamp is never taken back, however wrong it was.
    pub(crate) fn hear(&mut self, stamp_ms: i64, reading: Reading) {
        let is_later = self.expected_ms(reading).is_none_or(|expected_ms| stamp_ms > expected_ms);
        if self.held.is_some() && !self.is_outvoted && is_later {
            self.offset_ms = Some(stamp_ms.saturating_sub(reading.boot_ms));
        }
    }

    /// A majority of the hubs' wall clocks agree that it is `majority_ms` now.
    pub(crate) fn judge(&mut self, majority_ms: i64, reading: Reading) {
        if reading.wall_ms.abs_diff(majority_ms) <= CLOCK_AGREEMENT_MS.unsigned_abs() {
            self.believe(reading.wall_ms, reading);
        } else if !is_near(reading.wall_ms, majority_ms) && !self.is_accepted {
            if !self.is_outvoted {
                self.last_ms = majority_ms;
            }
            self.believe(majority_ms, reading);
            (self.is_outvoted, self.held) = (true, Some(ClockHeld::Outvoted));
        }
    }

    /// A person says that the wall clock is right.
    fn accept(&mut self, reading: Reading) {
        self.believe(reading.wall_ms, reading);
        self.is_accepted = true;
    }

    fn believe(&mut self, now_ms: i64, reading: Reading) {
        if self.expected_ms(reading).is_some_and(|expected_ms| !is_near(now_ms, expected_ms)) {
            self.last_ms = now_ms;
        }
        self.offset_ms = Some(now_ms.saturating_sub(reading.boot_ms));
        (self.is_outvoted, self.held) = (false, None);
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

    /// Whether the wall clock was synchronised when it was read: it may have been set right since.
    fn is_synchronised(&self, reading: Reading) -> bool {
        self.given.is_none()
            && program::clock::is_synchronised()
            && is_near(Reading::now().wall_ms, reading.wall_ms)
    }

    /// Goes on from the last stamp that this hub knows. Without one a founder takes the wall clock as it is; anyone else
    /// waits to hear the cluster's time, and has perhaps heard it already.
    pub(crate) fn go_on_from(&self, expected_ms: Option<i64>, founder: bool) {
        let reading = self.reading();
        let mut rule = self.rule.lock();
        let known_ms = expected_ms.max(rule.expected_ms(reading).filter(|_| !founder));
        if founder || known_ms.is_some() {
            *rule = StampRule::new(known_ms, reading);
        }
    }

    /// The time as far as it is believed; `None` on a hub that has joined a cluster and heard no stamp yet.
    pub(crate) fn known_ms(&self) -> Option<i64> {
        let reading = self.reading();
        self.rule.lock().read(reading, || self.is_synchronised(reading))
    }

    /// The same, and the wall clock where nothing better is known.
    pub(crate) fn now_ms(&self) -> i64 {
        self.known_ms().unwrap_or_else(|| self.reading().wall_ms)
    }

    /// Another hub has stamped an entry with this.
    pub(crate) fn hear(&self, stamp_ms: i64) {
        let reading = self.reading();
        let mut rule = self.rule.lock();
        // It may have come to be believed since somebody looked last.
        rule.read(reading, || self.is_synchronised(reading));
        rule.hear(stamp_ms, reading);
    }

    /// What a majority of the hubs' clocks agree on.
    pub(crate) fn judge(&self, majority_ms: i64) {
        self.rule.lock().judge(majority_ms, self.reading());
    }

    pub(crate) fn state(&self) -> ClockState {
        let reading = self.reading();
        let mut rule = self.rule.lock();
        let known_ms = rule.read(reading, || self.is_synchronised(reading));
        ClockState { wall_ms: reading.wall_ms, known_ms, held: rule.held }
    }

    /// The wall clock is not believed, or not yet.
    pub(crate) fn is_held(&self) -> bool {
        self.state().held.is_some()
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
