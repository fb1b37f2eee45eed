//! The last known time: what it is at least, also while nobody knows what it is.
//!
//! A source may be wrong. So within one boot the last known time goes on by no more than the boot has lasted and a day,
//! and certificates are checked a day before it: one that is valid is never taken for expired because a source was
//! wrong once. It never goes back, and is never before the program was built.
//!
//! It is kept in a small file: one line of JSON, then the CRC-32C of that line in hexadecimal.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::data_dir::{DataDirError, replace_file};

const VERSION: u32 = 1;
const FILE_BYTES_MAX: u64 = 4096;
pub const DAY_MS: i64 = 24 * 3600 * 1000;
/// A file that says more than this after the build is of no use: no program is used for so long.
const AFTER_BUILD_MAX_MS: i64 = 20 * 365 * DAY_MS;

/// What an earlier run wrote down.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Past {
    version: u32,
    last_known_ms: i64,
    boot: Uuid,
    /// The last known time when that boot began.
    base_ms: i64,
    /// Wall time minus boot time in ms, in that boot.
    pub offset_ms: i64,
}

/// Why what an earlier run wrote down is not used.
#[derive(Debug, Error)]
pub enum PastError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("it is damaged")]
    Damaged,
    #[error("it is of version {0}, which this release does not know")]
    Version(u32),
    #[error("it is years after this program was built")]
    Absurd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastKnown {
    boot: Uuid,
    built_ms: i64,
    base_ms: i64,
    last_ms: i64,
}

impl LastKnown {
    /// For a boot, from what an earlier run wrote down; `built_ms` is when the program was built.
    pub fn new(boot: Uuid, past: Option<&Past>, built_ms: i64) -> Self {
        let (base_ms, last_ms) = match past {
            Some(past) if past.boot == boot => (past.base_ms, past.last_known_ms),
            Some(past) => (past.last_known_ms, past.last_known_ms),
            None => (built_ms, built_ms),
        };
        Self { boot, built_ms, base_ms: base_ms.max(built_ms), last_ms: last_ms.max(built_ms) }
    }

    /// A source says that it is `wall_ms`, so long after the boot.
    pub fn advance(&mut self, wall_ms: i64, boot_ms: i64) {
        let most_ms = self.base_ms.saturating_add(boot_ms).saturating_add(DAY_MS);
        self.last_ms = self.last_ms.max(wall_ms.min(most_ms));
    }

    /// ms since 1970.
    pub fn ms(&self) -> i64 {
        self.last_ms
    }

    /// It is surely this or later, in ms since 1970: for certificates.
    pub fn earliest_ms(&self) -> i64 {
        self.built_ms.max(self.last_ms.saturating_sub(DAY_MS))
    }

    /// What a later run is to read, with this boot's offset.
    pub fn past(&self, offset_ms: i64) -> Past {
        let Self { boot, base_ms, last_ms: last_known_ms, .. } = *self;
        Past { version: VERSION, last_known_ms, boot, base_ms, offset_ms }
    }
}

impl Past {
    /// `None` where nothing was ever written down.
    pub fn read(path: &Path, built_ms: i64) -> Result<Option<Self>, PastError> {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
        match read {
            Ok(_) => Self::parse(&text, built_ms).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => Err(PastError::Damaged),
            Err(error) => Err(error.into()),
        }
    }

    fn parse(text: &str, built_ms: i64) -> Result<Self, PastError> {
        let (line, crc) = text.trim_end().split_once('\n').ok_or(PastError::Damaged)?;
        let is_whole = u32::from_str_radix(crc, 16).is_ok_and(|crc| crc == crc32c::crc32c(line.as_bytes()));
        if !is_whole {
            return Err(PastError::Damaged);
        }
        let past: Self = serde_json::from_str(line).map_err(|_| PastError::Damaged)?;
        if past.version != VERSION {
            return Err(PastError::Version(past.version));
        }
        let latest_ms = built_ms.saturating_add(AFTER_BUILD_MAX_MS);
        if past.last_known_ms > latest_ms || past.base_ms > past.last_known_ms {
            return Err(PastError::Absurd);
        }
        Ok(past)
    }

    pub fn write(&self, path: &Path) -> Result<(), DataDirError> {
        let line = serde_json::to_string(self).unwrap_or_default();
        let crc = crc32c::crc32c(line.as_bytes());
        replace_file(path, format!("{line}\n{crc:08x}\n").as_bytes())
    }

    /// Wall time minus boot time in ms, where it is of this boot.
    pub fn offset_in(&self, boot: Uuid) -> Option<i64> {
        (self.boot == boot).then_some(self.offset_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUILT: i64 = 1_790_000_000_000;
    const HOUR: i64 = DAY_MS / 24;

    fn boot(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    #[test]
    fn without_anything_known_it_is_when_the_program_was_built() {
        let last = LastKnown::new(boot(1), None, BUILT);
        assert_eq!((last.ms(), last.earliest_ms()), (BUILT, BUILT));
    }

    #[test]
    fn within_a_boot_it_goes_on_by_the_boots_length_and_a_day_at_most() {
        let mut last = LastKnown::new(boot(1), None, BUILT);
        last.advance(BUILT + 400 * DAY_MS, HOUR);
        assert_eq!(last.ms(), BUILT + HOUR + DAY_MS);
        last.advance(BUILT + 5 * HOUR, 3 * HOUR);
        assert_eq!(last.ms(), BUILT + HOUR + DAY_MS, "it never goes back");
        // A run that begins anew in the same boot has no other day.
        let past = last.past(0);
        let mut again = LastKnown::new(boot(1), Some(&past), BUILT);
        again.advance(BUILT + 400 * DAY_MS, 2 * HOUR);
        assert_eq!(again.ms(), BUILT + 2 * HOUR + DAY_MS);
        let mut other = LastKnown::new(boot(2), Some(&again.past(0)), BUILT);
        other.advance(BUILT + 400 * DAY_MS, HOUR);
        assert_eq!(other.ms(), BUILT + 3 * HOUR + 2 * DAY_MS);
    }

    #[test]
    fn a_program_that_was_built_later_knows_more() {
        let past = LastKnown::new(boot(1), None, BUILT).past(0);
        let last = LastKnown::new(boot(1), Some(&past), BUILT + 9 * DAY_MS);
        assert_eq!((last.ms(), last.earliest_ms()), (BUILT + 9 * DAY_MS, BUILT + 9 * DAY_MS));
    }

    #[test]
    fn what_was_written_down_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("time");
        assert!(Past::read(&path, BUILT).unwrap().is_none());
        let mut last = LastKnown::new(boot(7), None, BUILT);
        last.advance(BUILT + HOUR, HOUR);
        last.past(-5).write(&path).unwrap();
        let past = Past::read(&path, BUILT).unwrap().unwrap();
        assert_eq!((past.offset_in(boot(7)), past.offset_in(boot(8))), (Some(-5), None));
        assert_eq!(LastKnown::new(boot(7), Some(&past), BUILT), last);
    }

    #[test]
    fn what_is_damaged_or_absurd_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("time");
        LastKnown::new(boot(7), None, BUILT).past(0).write(&path).unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() - 1 {
            let mut damaged = good.clone();
            damaged[at] ^= 0x04;
            std::fs::write(&path, &damaged).unwrap();
            assert!(matches!(Past::read(&path, BUILT), Err(PastError::Damaged)), "byte {at}");
        }
        for cut in 0..good.len() - 1 {
            std::fs::write(&path, &good[..cut]).unwrap();
            assert!(Past::read(&path, BUILT).is_err(), "{cut} bytes of it");
        }
        let past = |last_known_ms| {
            let past = LastKnown::new(boot(7), None, last_known_ms).past(0);
            past.write(&path).unwrap();
            Past::read(&path, BUILT)
        };
        assert!(past(BUILT + 19 * 365 * DAY_MS).is_ok());
        assert!(matches!(past(BUILT + 21 * 365 * DAY_MS), Err(PastError::Absurd)));
        assert!(matches!(past(i64::MAX), Err(PastError::Absurd)));
    }

    /// One boot: how long the device was off before it, how long it lasts, and when a source says what.
    #[derive(Clone, Debug)]
    struct Boot {
        off_ms: i64,
        lasts_ms: i64,
        /// At these shares of the boot the time is known, and by so much it is wrong.
        told: Vec<(u8, i64)>,
        /// The agent is started anew in its middle.
        is_restarted: bool,
    }

    fn boots(lie: impl Strategy<Value = i64> + Clone) -> impl Strategy<Value = Vec<Boot>> {
        let told = prop::collection::vec((any::<u8>(), lie), 0..4);
        let boot = (0..60 * DAY_MS, 1..90 * DAY_MS, told, any::<bool>());
        let boot = boot.prop_map(|(off_ms, lasts_ms, mut told, is_restarted)| {
            told.sort_unstable();
            Boot { off_ms, lasts_ms, told, is_restarted }
        });
        prop::collection::vec(boot, 1..12)
    }

    /// Lives through boots, and calls with the last known time and the true one whenever a source spoke.
    fn live(boots: &[Boot], mut check: impl FnMut(&LastKnown, i64)) {
        let (mut truth_ms, mut past) = (BUILT, None);
        for (number, it) in boots.iter().enumerate() {
            truth_ms += it.off_ms;
            let id = boot(number as u128);
            let mut last = LastKnown::new(id, past.as_ref(), BUILT);
            for (count, (share, lie_ms)) in it.told.iter().enumerate() {
                let boot_ms = it.lasts_ms / 256 * i64::from(*share);
                if it.is_restarted && count == it.told.len() / 2 {
                    last = LastKnown::new(id, Some(&last.past(0)), BUILT);
                }
                last.advance(truth_ms + boot_ms + lie_ms, boot_ms);
                check(&last, truth_ms + boot_ms);
            }
            truth_ms += it.lasts_ms;
            check(&last, truth_ms);
            past = Some(last.past(0));
        }
    }

    proptest! {
        #[test]
        fn true_sources_never_bring_it_ahead_of_the_truth(boots in boots(Just(0))) {
            let mut before = BUILT;
            live(&boots, |last, truth_ms| {
                assert!(last.ms() <= truth_ms && last.ms() >= before);
                before = last.ms();
            });
        }

        #[test]
        fn a_source_that_lies_in_one_boot_expires_no_valid_certificate(
            mut boots in boots(Just(0)),
            liar in any::<prop::sample::Index>(),
            lie_ms in -50 * 365 * DAY_MS..50 * 365 * DAY_MS,
        ) {
            let liar = liar.index(boots.len());
            boots[liar].told = vec![(0, lie_ms), (99, lie_ms), (250, 0)];
            live(&boots, |last, truth_ms| {
                assert!(last.ms() <= truth_ms + DAY_MS);
                // A certificate that is valid now ends now at the earliest.
                assert!(last.earliest_ms() <= truth_ms);
            });
        }

        #[test]
        fn lies_in_every_boot_bring_it_on_by_a_day_each(boots in boots(-DAY_MS..4000 * DAY_MS)) {
            let count = boots.len() as i64;
            live(&boots, |last, truth_ms| assert!(last.ms() <= truth_ms + count * DAY_MS));
        }
    }
}
