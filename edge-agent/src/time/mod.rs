//! What time it is, and whether that is known.
//!
//! A device may boot in 1970, at a stale but plausible time, or in 2099. Wall time is known when the kernel's
//! clock is synchronised, or when a hub that may be believed said it in this boot. Until then a record carries
//! the boot and `CLOCK_BOOTTIME`, which never jumps.

mod kernel;

use std::sync::atomic::{AtomicI64, Ordering};

use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

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
    boot: Uuid,
    /// Wall time minus boot time in ms, as a hub or an earlier run in this boot told it.
    offset: AtomicI64,
}

const UNKNOWN: i64 = i64::MIN;
/// When this program was built, as its build script wrote it down.
const BUILT_AT_MS: i64 = match i64::from_str_radix(env!("BUILT_AT_SECONDS"), 10) {
    Ok(seconds) => seconds * 1000,
    Err(_) => 0,
};

impl Clock {
    pub fn of_this_machine() -> Self {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        // Without a boot id (no /proc), each run counts as a boot of its own.
        let boot = text.trim().parse().unwrap_or_else(|_| Uuid::from_u128(rand::random()));
        Self { boot, offset: AtomicI64::new(UNKNOWN) }
    }

    pub fn boot(&self) -> Uuid {
        self.boot
    }

    /// It is this or later, in ms since 1970: as late as when the program was built.
    pub fn earliest_ms(&self) -> i64 {
        BUILT_AT_MS
    }

    /// Takes the offset that was made durable for this boot.
    pub fn learn(&self, offset_ms: i64) {
        self.offset.store(offset_ms, Ordering::Relaxed);
    }

    /// Now, as well as it is known.
    pub fn stamp(&self) -> Stamp {
        if kernel::is_synchronised() {
            return Stamp::Wall(realtime_ms());
        }
        match self.offset.load(Ordering::Relaxed) {
            UNKNOWN => Stamp::Boot(boottime_ms()),
            offset => Stamp::Wall(boottime_ms() + offset),
        }
    }

    /// Wall time minus boot time, if wall time is known.
    pub fn known_offset(&self) -> Option<i64> {
        match self.stamp() {
            Stamp::Wall(ms) => Some(ms - boottime_ms()),
            Stamp::Boot(_) => None,
        }
    }
}

/// The kernel's wall clock, right or wrong: for ages and file names only.
pub fn realtime_ms() -> i64 {
    ms(ClockId::Realtime)
}

/// ms since the boot, sleep included.
pub fn boottime_ms() -> i64 {
    ms(ClockId::Boottime)
}

fn ms(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learned_offset_makes_wall_time_known() {
        let clock = Clock::of_this_machine();
        clock.learn(1_700_000_000_000 - boottime_ms());
        assert!(clock.stamp().is_wall());
        assert!(clock.known_offset().is_some());
    }

    #[test]
    fn what_was_before_the_boot_counts_as_at_it() {
        assert_eq!(Stamp::Wall(1000).earlier(3000), Stamp::Wall(-2000));
        assert_eq!(Stamp::Boot(1000).earlier(300), Stamp::Boot(700));
        assert_eq!(Stamp::Boot(1000).earlier(3000), Stamp::Boot(0));
        assert_eq!(Stamp::Boot(1000).earlier(-5), Stamp::Boot(1005));
    }

    #[test]
    fn boot_time_only_goes_forward() {
        let earlier = boottime_ms();
        assert!(boottime_ms() >= earlier && earlier > 0);
    }
}
