//! How long group commits took.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longer ones count as this long, in microseconds.
const LONGEST_MICROS: u64 = 60_000_000;
/// Times are told apart when they differ by a sixteenth.
const DIGITS: u8 = 1;

/// The times of all group commits since a log was opened, their writes and syncs together. Two looks give what was
/// between them.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitTimes(Histogram<u64>);

impl Default for CommitTimes {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS).expect("the bounds are in order"))
    }
}

impl CommitTimes {
    pub fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.max(1));
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Those that came after an earlier look.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut later = self.clone();
        // Fails only for counts that were never looked at.
        let _ = later.0.subtract(&earlier.0);
        later
    }

    /// This share of the commits took no longer; `None` where there were none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_micros(self.0.value_at_quantile(share)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_looks_give_what_was_between_them() {
        let mut times = CommitTimes::default();
        times.add(Duration::from_secs(9));
        let earlier = times.clone();
        assert_eq!(times.since(&earlier).quantile(0.5), None);
        for millis in 1..=100 {
            times.add(Duration::from_millis(millis));
        }
        let between = times.since(&earlier);
        assert_eq!(between.count(), 100);
        let [half, most] =
            [0.5, 0.98].map(|share| between.quantile(share).expect("there were some").as_millis());
        assert!((48..=54).contains(&half) && (96..=106).contains(&most), "{half} {most}");
    }

    #[test]
    fn the_longest_are_not_lost() {
        let mut times = CommitTimes::default();
        times.add(Duration::MAX);
        times.add(Duration::ZERO);
        assert!(times.quantile(1.0).is_some_and(|longest| longest >= Duration::from_secs(60)));
        assert_eq!(times.count(), 2);
    }
}
