//! For how long this hub has seen no majority of the hubs, and so whom it sends clients to.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::limits::{CUT_OFF_AFTER, CUT_OFF_FORGOTTEN_AFTER};

/// Since when it has seen none, as far as it was asked, and when it was asked last.
#[derive(Debug, Default)]
pub(crate) struct CutOff(Mutex<Option<(Instant, Instant)>>);

impl CutOff {
    /// Whose turn it is as of `now`, when this hub sees no majority or does; nobody's for a while.
    pub(crate) fn turn(&self, is_cut_off: bool, now: Instant) -> Option<usize> {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // There may have been a majority in a time of which nothing is known.
        let known = asked.filter(|(_, last)| now.saturating_duration_since(*last) < CUT_OFF_FORGOTTEN_AFTER);
        let since = known.map_or(now, |(since, _)| since);
        *asked = is_cut_off.then_some((since, now));
        let lasts = now.saturating_duration_since(asked.map(|(since, _)| since)?);
        usize::try_from(lasts.as_millis() / CUT_OFF_AFTER.as_millis()).ok()?.checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_has_seen_no_majority_for_a_while_names_one_after_the_other_for_a_while_each() {
        let (cut_off, start) = (CutOff::default(), Instant::now());
        let turn_at = |is_cut_off, at| cut_off.turn(is_cut_off, start + at);
        let after = CUT_OFF_AFTER;
        assert_eq!([turn_at(true, Duration::ZERO), turn_at(true, after / 2)], [None, None], "an election");
        assert_eq!([turn_at(true, after), turn_at(true, after * 3 / 2)], [Some(0), Some(0)]);
        assert_eq!(turn_at(true, after * 2), Some(1));
        assert_eq!(turn_at(false, after * 3), None);
        assert_eq!([turn_at(true, after * 4), turn_at(true, after * 5)], [None, Some(0)], "it begins anew");
        assert_eq!(turn_at(true, after * 5 + CUT_OFF_FORGOTTEN_AFTER), None, "nobody has asked for a while");
    }
}
