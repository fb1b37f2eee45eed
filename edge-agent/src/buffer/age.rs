//! The age limit: what was taken too long ago is given up.

use std::time::Duration;

use schemas::GapReason;
use uuid::Uuid;

use super::entry::{Head, Kind};
use super::environment::Key;
use super::state::State;
use super::work::{Work, WorkError};
use crate::limits::GIVEN_UP_PER_COMMIT;
use crate::time::Clock;

/// The clocks by which ages are told.
#[derive(Clone, Copy, Debug)]
pub(super) struct AgeClock {
    /// ms since 1970, where that is known.
    pub wall_ms: Option<i64>,
    pub boot: Uuid,
    /// ms since this boot.
    pub boot_ms: i64,
}

impl AgeClock {
    pub fn of(clock: &Clock) -> Self {
        Self { wall_ms: clock.wall_ms(), boot: clock.boot(), boot_ms: clock.boot_ms() }
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
            times.max().map(|ms| wall_ms - ms)
        }
        Kind::Untimed { boot } if boot == clock.boot => Some(clock.boot_ms - head.newest_ms),
        Kind::Untimed { boot } => match state.offset_of(boot) {
            Some(offset_ms) => Some(clock.wall_ms? - (head.newest_ms + offset_ms)),
            // It is of an earlier boot: older than this one.
            None => Some(clock.boot_ms),
        },
    }
}

#[cfg(test)]
mod tests {
    use schemas::{ProducerId, Sequence};

    use super::super::state::BootOffset;
    use super::*;

    const NOW: i64 = 1_800_000_000_000;
    const THIS: Uuid = Uuid::from_u128(1);
    const CLOCK: AgeClock = AgeClock { wall_ms: Some(NOW), boot: THIS, boot_ms: 50_000 };

    fn age(kind: Kind, appended_ms: i64, newest_ms: i64, clock: &AgeClock) -> Option<i64> {
        let mut state = State::default();
        state.set_offset(BootOffset {
            boot: Uuid::from_u128(3),
            offset_ms: NOW - 100_000,
            is_provisional: false,
        });
        let (stream, base) = (ProducerId(1 << 62), Sequence::ZERO);
        let head = Head { kind, appended_ms, stream, base, sequences: 1, records: 1, newest_ms };
        age_ms(&state, &head, clock)
    }

    #[test]
    fn a_batch_is_as_old_as_its_stay_or_its_records_whichever_is_less() {
        assert_eq!(
            age(Kind::Batch, NOW - 10, NOW - 99_000, &CLOCK),
            Some(10),
            "old rows were taken just now"
        );
        assert_eq!(age(Kind::Batch, 5, NOW - 2000, &CLOCK), Some(2000), "the kernel's clock was at 1970");
        assert_eq!(age(Kind::Batch, NOW + 9_000, NOW - 2000, &CLOCK), Some(2000), "it was ahead");
        assert_eq!(age(Kind::Batch, NOW + 9_000, NOW + 1, &CLOCK), None);
        assert_eq!(age(Kind::Gap, 0, 0, &CLOCK), None);
    }

    #[test]
    fn without_a_known_time_only_boot_time_tells() {
        let unknown = AgeClock { wall_ms: None, ..CLOCK };
        assert_eq!(age(Kind::Batch, NOW - 10_000, NOW - 10_000, &unknown), None);
        assert_eq!(age(Kind::Untimed { boot: THIS }, 0, 20_000, &unknown), Some(30_000));
    }

    #[test]
    fn an_untimed_batch_of_another_boot_is_older_than_this_one() {
        assert_eq!(age(Kind::Untimed { boot: Uuid::from_u128(2) }, 0, 7, &CLOCK), Some(50_000));
        assert_eq!(age(Kind::Untimed { boot: Uuid::from_u128(3) }, 0, 1000, &CLOCK), Some(99_000));
    }
}
