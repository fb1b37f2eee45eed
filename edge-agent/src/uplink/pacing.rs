//! How fast a backlog is shipped: a bucket of bytes that fills at the configured rate. The time comes in.

use crate::limits::{BACKLOG_BYTES_IN_FLIGHT, PUBLISH_BYTES_TARGET};

/// A publish is at most this part of a second's bytes, so that what is live finds the link free soon.
const PUBLISHES_A_SECOND: u64 = 4;
const PUBLISH_BYTES_MIN: usize = 4096;

#[derive(Debug)]
pub struct Pace {
    bytes_per_second: Option<u64>,
    /// Whether little of it may be on its way at a time, because something else is to overtake it.
    is_overtaken: bool,
    /// Thousandths of a byte that may be sent; below 0 they were sent ahead of time.
    credit: i128,
    at_ms: u64,
    /// Bytes that are not answered.
    in_flight: usize,
}

impl Pace {
    pub fn new(bytes_per_second: Option<u64>, is_overtaken: bool) -> Self {
        Self { bytes_per_second, is_overtaken, credit: 0, at_ms: 0, in_flight: 0 }
    }

    pub fn is_limited(&self) -> bool {
        self.bytes_per_second.is_some()
    }

    /// Whether a publish of that size may be sent now.
    pub fn has_room(&mut self, bytes: usize, now_ms: u64) -> bool {
        self.refill(now_ms);
        let fits =
            !self.is_overtaken || self.in_flight == 0 || self.in_flight + bytes <= BACKLOG_BYTES_IN_FLIGHT;
        fits && self.credit >= 0
    }

    pub fn send(&mut self, bytes: usize) {
        self.in_flight += bytes;
        if self.is_limited() {
            self.credit -= bytes as i128 * 1000;
        }
    }

    pub fn answered(&mut self, bytes: usize) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// Nothing is on its way any more.
    pub fn disconnected(&mut self) {
        self.in_flight = 0;
    }

    /// When more may be sent, if that is a matter of time.
    pub fn wake_ms(&self) -> Option<u64> {
        let rate = i128::from(self.bytes_per_second?);
        let owed = (-self.credit).max(0);
        (owed > 0).then(|| self.at_ms + u64::try_from(owed.div_euclid(rate) + 1).unwrap_or(u64::MAX / 2))
    }

    /// What neighbouring batches are joined up to.
    pub fn publish_bytes_max(&self) -> usize {
        let share = self.bytes_per_second.and_then(|rate| usize::try_from(rate / PUBLISHES_A_SECOND).ok());
        share.map_or(PUBLISH_BYTES_TARGET, |bytes| bytes.clamp(PUBLISH_BYTES_MIN, PUBLISH_BYTES_TARGET))
    }

    /// What is more than this is a backlog: it takes about a second.
    pub fn backlog_bytes(&self) -> u64 {
        self.bytes_per_second.unwrap_or(PUBLISH_BYTES_TARGET as u64)
    }

    fn refill(&mut self, now_ms: u64) {
        let Some(rate) = self.bytes_per_second else { return };
        let elapsed = i128::from(now_ms.saturating_sub(self.at_ms));
        self.at_ms = self.at_ms.max(now_ms);
        let most = i128::from(rate) * 1000 / i128::from(PUBLISHES_A_SECOND);
        self.credit = (self.credit + elapsed * i128::from(rate)).min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_it_is_the_rate_that_was_asked_for() {
        let mut pace = Pace::new(Some(100_000), true);
        let (mut now, mut sent) = (1_000_000, 0);
        while now < 1_060_000 {
            if pace.has_room(20_000, now) {
                pace.send(20_000);
                pace.answered(20_000);
                sent += 20_000;
            } else {
                let wake = pace.wake_ms().unwrap();
                assert!(wake > now, "it does not spin");
                now = wake;
            }
        }
        assert!((5_980_000..6_080_000).contains(&sent), "{sent} in a minute of 100,000 a second");
    }

    #[test]
    fn a_pause_saves_up_no_more_than_a_quarter_of_a_second() {
        let mut pace = Pace::new(Some(100_000), false);
        assert!(pace.has_room(1, 3_600_000));
        pace.send(25_001);
        assert!(!pace.has_room(1, 3_600_000));
    }

    #[test]
    fn what_is_overtaken_never_fills_the_link_but_one_publish_may_always_fly() {
        let mut pace = Pace::new(None, true);
        assert!(pace.has_room(2 * BACKLOG_BYTES_IN_FLIGHT, 0));
        pace.send(2 * BACKLOG_BYTES_IN_FLIGHT);
        assert!(!pace.has_room(1, 0));
        pace.answered(2 * BACKLOG_BYTES_IN_FLIGHT);
        assert!(pace.has_room(1, 0) && pace.wake_ms().is_none());
    }
}
