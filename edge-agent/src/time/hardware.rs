//! Whether a hardware clock is worth believing.
//!
//! One without a battery begins in 1970 or 2000, one with an empty battery stands still, and one that was never set
//! says anything. So it is believed where it is not before the last known time, not years ahead of it, and goes as
//! fast as the kernel counts since the boot.

use thiserror::Error;

const HOUR_MS: i64 = 3600 * 1000;
const YEAR_MS: i64 = 365 * 24 * HOUR_MS;
/// A good one may have lost so much since it was last set.
const SLOW_MAX_MS: i64 = HOUR_MS;
/// How long a device may have lain switched off.
const AHEAD_MAX_MS: i64 = 5 * YEAR_MS;
/// Between the two readings that tell how fast it goes.
const RATE_OVER_MS: i64 = 10_000;
/// It tells whole seconds, so two readings may be off by one of them, and reading it takes a moment.
const RATE_ERROR_MAX_MS: i64 = 1_500;

/// Why a hardware clock is not believed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Doubt {
    #[error("it is {} behind the last known time", span(*.by_ms))]
    Behind { by_ms: i64 },
    #[error("it is {} ahead of the last known time", span(*.by_ms))]
    Ahead { by_ms: i64 },
    #[error("it went on by {hardware_s} s while {} s passed", .boot_ms / 1000)]
    Rate { hardware_s: i64, boot_ms: i64 },
}

/// One look after the other at a hardware clock.
#[derive(Debug, Default)]
pub struct HardwareCheck {
    first: Option<(i64, i64)>,
}

impl HardwareCheck {
    /// Judges a reading at `boot_ms`; answers nothing yet where another is needed, else what wall time is minus boot
    /// time, to half a second.
    pub fn look(&mut self, boot_ms: i64, hardware_s: i64, last_known_ms: i64) -> Option<Result<i64, Doubt>> {
        // Within the second that it tells, the middle.
        let ms = hardware_s.saturating_mul(1000).saturating_add(500);
        if ms < last_known_ms.saturating_sub(SLOW_MAX_MS) {
            return Some(Err(Doubt::Behind { by_ms: last_known_ms.saturating_sub(ms) }));
        }
        if ms > last_known_ms.saturating_add(AHEAD_MAX_MS) {
            return Some(Err(Doubt::Ahead { by_ms: ms.saturating_sub(last_known_ms) }));
        }
        let (first_boot_ms, first_s) = *self.first.get_or_insert((boot_ms, hardware_s));
        let (passed_ms, counted_s) = (boot_ms - first_boot_ms, hardware_s - first_s);
        if passed_ms < RATE_OVER_MS {
            return None;
        }
        if (counted_s * 1000 - passed_ms).abs() > RATE_ERROR_MAX_MS {
            return Some(Err(Doubt::Rate { hardware_s: counted_s, boot_ms: passed_ms }));
        }
        Some(Ok(ms - boot_ms))
    }
}

/// A length of time for people.
pub(super) fn span(ms: i64) -> String {
    let s = ms.unsigned_abs().div_ceil(1000);
    match s {
        0..600 => format!("{s} s"),
        600..36_000 => format!("{} min", s / 60),
        36_000..864_000 => format!("{} h", s / 3600),
        _ => format!("{} days", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026.
    const KNOWN_MS: i64 = 56 * YEAR_MS;
    const KNOWN_S: i64 = KNOWN_MS / 1000;
    const DAY_S: i64 = 86_400;

    /// Two readings, the second after so many s of each.
    fn judge(start_s: i64, counted_s: i64, passed_s: i64) -> Result<i64, Doubt> {
        let mut check = HardwareCheck::default();
        match check.look(3000, start_s, KNOWN_MS) {
            Some(verdict) => verdict,
            None => check.look(3000 + passed_s * 1000, start_s + counted_s, KNOWN_MS).unwrap(),
        }
    }

    #[test]
    fn a_clock_that_ran_on_while_the_device_was_off_is_believed() {
        for days in [0, 1, 40, 4 * 365] {
            let start_s = KNOWN_S + days * DAY_S;
            assert_eq!(judge(start_s, 10, 10), Ok(start_s * 1000 + 500 - 3000));
        }
        assert!(judge(KNOWN_S - 1800, 10, 10).is_ok(), "it may have lost half an hour");
        assert!(judge(KNOWN_S, 11, 10).is_ok(), "whole seconds");
    }

    #[test]
    fn one_without_a_battery_is_refused() {
        for start_s in [0, 30 * 365 * DAY_S, KNOWN_S - DAY_S] {
            assert!(matches!(judge(start_s, 10, 10), Err(Doubt::Behind { .. })), "{start_s}");
        }
    }

    #[test]
    fn one_that_is_years_ahead_is_refused() {
        assert!(matches!(judge(KNOWN_S + 10 * 365 * DAY_S, 10, 10), Err(Doubt::Ahead { .. })));
        assert!(matches!(judge(i64::MAX, 0, 10), Err(Doubt::Ahead { .. })));
        assert!(matches!(judge(i64::MIN, 0, 10), Err(Doubt::Behind { .. })));
    }

    #[test]
    fn one_that_stands_still_or_goes_wrong_is_refused() {
        for (counted_s, passed_s) in [(0, 10), (5, 10), (20, 10), (70, 60), (-3, 10)] {
            let verdict = judge(KNOWN_S + DAY_S, counted_s, passed_s);
            assert!(matches!(verdict, Err(Doubt::Rate { .. })), "{counted_s} in {passed_s}: {verdict:?}");
        }
    }

    #[test]
    fn a_doubt_says_what_is_wrong() {
        let text = Doubt::Behind { by_ms: 40 * DAY_S * 1000 }.to_string();
        assert_eq!(text, "it is 40 days behind the last known time");
        let text = Doubt::Rate { hardware_s: 0, boot_ms: 10_200 }.to_string();
        assert_eq!(text, "it went on by 0 s while 10 s passed");
    }
}
