//! The age limit: what was taken too long ago is given up.
//!
//! What is given up is gone, so only a hub or a synchronised kernel tells how old something is, and where they differ the
//! one that is behind; a hardware clock that is years ahead gives nothing up. Boot time never jumps. A
//! clock that was behind when a batch was taken does not make it old once it is corrected: what is taken since the agent's
//! start is as old as boot time says, whatever the kernel's clock said then.

use std::time::Duration;

use schemas::GapReason;
use uuid::Uuid;

use super::entry::{Head, Kind};
use super::environment::Key;
use super::state::State;
use super::work::{Work, WorkError};
use crate::limits::GIVEN_UP_PER_COMMIT;
use crate::time::{Clock, KernelOffsets, Source};

/// The clocks by which ages are told.
#[derive(Clone, Debug)]
pub(super) struct AgeClock {
    /// ms since 1970, where somebody told it who is believed enough to give something up.
    pub wall_ms: Option<i64>,
    pub boot: Uuid,
    /// ms since this boot.
    pub boot_ms: i64,
    /// The kernel's clock while this agent runs.
    pub kernel: KernelOffsets,
}

impl AgeClock {
    pub fn of(clock: &Clock) -> Self {
        let boot_ms = clock.boot_ms();
        let own = clock.own().filter(|own| own.source >= Source::Hub);
        let ahead_ms = clock.status().hub_differs_ms.map_or(0, |by_ms| by_ms.saturating_neg().max(0));
        let wall_ms = own.map(|own| boot_ms + own.offset_ms - ahead_ms);
        Self { wall_ms, boot: clock.boot(), boot_ms, kernel: clock.kernel_offsets() }
    }
}

/// What one look at the ages found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Aged {
    pub records: u64,
    /// There may be more that is too old than one transaction gives up.
    pub has_more: bool,
}

impl Work<'_> {
    /// Gives up the batches at each lane's beginning that are older than that, except those in flight.
    pub fn give_up_older(&mut self, age_max: Duration, clock: &AgeClock) -> Result<Aged, WorkError> {
        let limit_ms = i64::try_from(age_max.as_millis()).unwrap_or(i64::MAX);
        let lanes: Vec<u8> = self.state.lanes.iter().map(|lane| lane.id).collect();
        let mut aged = Aged::default();
        let mut given_up = 0;
        for id in lanes {
            while let Some((key, head)) = self.first_of(id)? {
                if age_ms(&self.state, &head, clock).is_none_or(|age| age <= limit_ms) {
                    break;
                }
                if given_up == GIVEN_UP_PER_COMMIT {
                    return Ok(Aged { has_more: true, ..aged });
                }
                self.begin_at(key, true);
                self.give_up(key, &head, GapReason::TooOld)?;
                aged.records += u64::from(head.records);
                given_up += 1;
            }
        }
        Ok(aged)
    }

    fn first_of(&self, lane: u8) -> Result<Option<(Key, Head)>, WorkError> {
        match self.state.lane(lane) {
            Some(lane) => Ok(self.first_batch(lane, true)?),
            None => Ok(None),
        }
    }
}

/// How old a batch is at least; `None` where nothing tells. A batch whose records bring their own times is as old as
/// its stay in the buffer.
pub(super) fn age_ms(state: &State, head: &Head, clock: &AgeClock) -> Option<i64> {
    match head.kind {
        Kind::Gap => None,
        Kind::Batch => {
            let wall_ms = clock.wall_ms?;
            // Taken by a clock that was wrong, it may be of the future.
            let times = [head.appended_ms, head.newest_ms].into_iter().filter(|ms| *ms <= wall_ms);
            let age_ms = wall_ms - times.max()?;
            let stay_ms = clock.kernel.since_ms(head.appended_ms, clock.boot_ms);
            Some(stay_ms.map_or(age_ms, |stay_ms| stay_ms.min(age_ms)))
        }
        Kind::Untimed { boot } if boot == clock.boot => Some(clock.boot_ms - head.newest_ms),
        Kind::Untimed { boot } => match state.boots.iter().find(|known| known.boot == boot) {
            Some(known) if !known.is_provisional => Some(clock.wall_ms? - (head.newest_ms + known.offset_ms)),
            // It is of an earlier boot: older than this one. When that was, at most a hardware clock told.
            _ => Some(clock.boot_ms),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

    use schemas::{ProducerId, Sequence};

    use super::super::state::BootOffset;
    use super::*;
    use crate::time::Machine;

    const NOW: i64 = 1_800_000_000_000;
    const THIS: Uuid = Uuid::from_u128(1);

    fn now() -> AgeClock {
        let kernel = KernelOffsets::default();
        AgeClock { wall_ms: Some(NOW), boot: THIS, boot_ms: 50_000, kernel }
    }

    fn age(kind: Kind, appended_ms: i64, newest_ms: i64, clock: &AgeClock) -> Option<i64> {
        let mut state = State::default();
        for (boot, is_provisional) in [(3, false), (4, true)] {
            let (boot, offset_ms) = (Uuid::from_u128(boot), NOW - 100_000);
            state.boots.push(BootOffset { boot, offset_ms, is_provisional });
        }
        let (stream, base) = (ProducerId(1 << 62), Sequence::ZERO);
        let head = Head { kind, appended_ms, stream, base, sequences: 1, records: 1, newest_ms };
        age_ms(&state, &head, clock)
    }

    #[test]
    fn a_batch_is_as_old_as_its_stay_or_its_records_whichever_is_less() {
        assert_eq!(
            age(Kind::Batch, NOW - 10, NOW - 99_000, &now()),
            Some(10),
            "old rows were taken just now"
        );
        assert_eq!(age(Kind::Batch, 5, NOW - 2000, &now()), Some(2000), "the kernel's clock was at 1970");
        assert_eq!(age(Kind::Batch, NOW + 9_000, NOW - 2000, &now()), Some(2000), "it was ahead");
        assert_eq!(age(Kind::Batch, NOW + 9_000, NOW + 1, &now()), None);
        assert_eq!(age(Kind::Gap, 0, 0, &now()), None);
    }

    #[test]
    fn without_a_known_time_only_boot_time_tells() {
        let unknown = AgeClock { wall_ms: None, ..now() };
        assert_eq!(age(Kind::Batch, NOW - 10_000, NOW - 10_000, &unknown), None);
        assert_eq!(age(Kind::Untimed { boot: THIS }, 0, 20_000, &unknown), Some(30_000));
    }

    #[test]
    fn an_untimed_batch_of_another_boot_is_older_than_this_one() {
        assert_eq!(age(Kind::Untimed { boot: Uuid::from_u128(2) }, 0, 7, &now()), Some(50_000));
        assert_eq!(age(Kind::Untimed { boot: Uuid::from_u128(3) }, 0, 1000, &now()), Some(99_000));
        assert_eq!(age(Kind::Untimed { boot: Uuid::from_u128(4) }, 0, 1000, &now()), Some(50_000));
    }

    /// 2036, by its kernel and its hardware clock.
    #[derive(Debug)]
    struct YearsAhead {
        is_synchronised: bool,
    }

    const AHEAD_MS: i64 = NOW + 3650 * 24 * 3600 * 1000;

    impl Machine for YearsAhead {
        fn boot_ms(&self) -> i64 {
            50_000
        }

        fn kernel_ms(&self) -> i64 {
            AHEAD_MS
        }

        fn is_synchronised(&self) -> bool {
            self.is_synchronised
        }

        fn hardware_s(&self) -> Option<i64> {
            Some(AHEAD_MS / 1000)
        }
    }

    #[test]
    fn a_clock_that_is_years_ahead_makes_nothing_old() {
        let is_old = |clock: &Clock| age(Kind::Batch, NOW - 10, NOW - 10, &AgeClock::of(clock));
        for source in [Source::HardwareClock, Source::EarlierRun] {
            let clock = Clock::of(Box::new(YearsAhead { is_synchronised: false }), THIS);
            clock.recall(source, AHEAD_MS - 50_000);
            assert_eq!((clock.wall_ms(), is_old(&clock)), (Some(AHEAD_MS), None), "{source:?}");
            clock.hear_hub(NOW, true);
            assert_eq!(is_old(&clock), Some(10), "a hub corrects it");
        }
        let clock = Clock::of(Box::new(YearsAhead { is_synchronised: true }), THIS);
        clock.hear_hub(NOW, false);
        assert_eq!((clock.wall_ms(), is_old(&clock)), (Some(AHEAD_MS), Some(10)), "the hub is behind it");
        let behind = AgeClock { wall_ms: Some(NOW), ..AgeClock::of(&clock) };
        assert_eq!(age(Kind::Batch, AHEAD_MS, AHEAD_MS, &behind), None);
    }

    /// Its hardware clock, by which the kernel's was set, was behind all the time that it was off.
    #[derive(Debug, Default)]
    struct Behind {
        boot_ms: Arc<AtomicI64>,
        is_set: Arc<AtomicBool>,
    }

    const BEHIND_MS: i64 = 90 * 24 * 3600 * 1000;

    impl Machine for Behind {
        fn boot_ms(&self) -> i64 {
            self.boot_ms.load(Ordering::Relaxed)
        }

        fn kernel_ms(&self) -> i64 {
            let behind_ms = if self.is_synchronised() { 0 } else { BEHIND_MS };
            AHEAD_MS + self.boot_ms() - behind_ms
        }

        fn is_synchronised(&self) -> bool {
            self.is_set.load(Ordering::Relaxed)
        }

        fn hardware_s(&self) -> Option<i64> {
            Some(self.kernel_ms() / 1000)
        }
    }

    #[test]
    fn what_was_taken_by_a_clock_that_was_behind_is_no_older_for_it_once_that_is_corrected() {
        let machine = Behind::default();
        let (boot_ms, is_set) = (machine.boot_ms.clone(), machine.is_set.clone());
        let clock = Clock::of(Box::new(machine), THIS);
        let at = |ms| boot_ms.store(ms, Ordering::Relaxed);
        let taken = || (clock.kernel_ms(), clock.wall_ms().unwrap());
        let age = |(kernel_ms, wall_ms)| age(Kind::Batch, kernel_ms, wall_ms, &AgeClock::of(&clock));
        clock.recall(Source::HardwareClock, AHEAD_MS - BEHIND_MS);
        at(600_000);
        let first = taken();
        at(700_000);
        clock.hear_hub(AHEAD_MS + 700_000, true);
        assert_eq!(age(first), Some(100_000), "a hub tells the time, and the kernel's clock stays behind");
        let second = taken();
        at(800_000);
        is_set.store(true, Ordering::Relaxed);
        assert_eq!((age(first), age(second)), (Some(200_000), Some(100_000)), "the kernel's clock is set");
        at(900_000);
        assert_eq!((age(first), age(taken())), (Some(300_000), Some(0)));
        let before = (AHEAD_MS - BEHIND_MS - 3_600_000, 0);
        assert_eq!(age(before), Some(BEHIND_MS + 4_500_000), "before this agent ran");
    }
}
