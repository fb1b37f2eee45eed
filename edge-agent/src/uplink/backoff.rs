//! How long to wait before the next connection.

use std::time::Duration;

const FIRST_MS: u64 = 250;
const LONGEST_MS: u64 = 30_000;
/// Where the host answers that nobody listens, or is near: it may be back any moment.
const LONGEST_NEAR_MS: u64 = 5_000;
/// Another client with our identity took the session: it would take it again.
const TAKEN_OVER_MS: u64 = 60_000;
/// A connection that lasted this long starts the count anew.
const GOOD_MS: u64 = 60_000;

/// How a connection ended, or failed to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nobody listens there.
    Refused,
    /// DISCONNECT with reason 0x8E.
    TakenOver,
    /// We ended it to connect again at once.
    OnPurpose,
    Failed,
}

#[derive(Debug)]
pub struct Backoff {
    is_lan: bool,
    next_ms: u64,
    take_overs: u32,
}

impl Backoff {
    pub fn new(is_lan: bool) -> Self {
        Self { is_lan, next_ms: FIRST_MS, take_overs: 0 }
    }

    /// The wait after a connection that lasted `connected_ms`; `random` in 0..1 spreads many agents.
    pub fn after(&mut self, ended: Ended, connected_ms: u64, random: f64) -> Duration {
        if self.is_good(connected_ms) {
            self.begin_anew();
        }
        let base_ms = match ended {
            Ended::OnPurpose => return Duration::ZERO,
            Ended::TakenOver => {
                self.take_overs += 1;
                self.next_ms.max(TAKEN_OVER_MS)
            }
            Ended::Refused => self.next_ms.min(LONGEST_NEAR_MS),
            Ended::Failed if self.is_lan => self.next_ms.min(LONGEST_NEAR_MS),
            Ended::Failed => self.next_ms,
        };
        self.next_ms = (self.next_ms * 2).min(LONGEST_MS);
        Duration::from_millis(base_ms).mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// Whether a connection lasted so long that the one before it does not matter any more.
    pub fn is_good(&self, connected_ms: u64) -> bool {
        connected_ms >= GOOD_MS
    }

    pub fn begin_anew(&mut self) {
        self.next_ms = FIRST_MS;
        self.take_overs = 0;
    }

    /// The second take-over in a row: another agent uses this identity.
    pub fn is_duplicate_identity(&self) -> bool {
        self.take_overs >= 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(is_lan: bool, ended: Ended, count: usize) -> Vec<u64> {
        let mut backoff = Backoff::new(is_lan);
        (0..count).map(|_| backoff.after(ended, 0, 1.0).as_millis() as u64).collect()
    }

    #[test]
    fn waits_double_up_to_half_a_minute() {
        assert_eq!(
            waits(false, Ended::Failed, 9),
            [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]
        );
    }

    #[test]
    fn a_hub_that_is_near_or_refuses_is_asked_every_five_seconds() {
        assert_eq!(waits(false, Ended::Refused, 8)[6..], [5000, 5000]);
        assert_eq!(waits(true, Ended::Failed, 8)[6..], [5000, 5000]);
    }

    #[test]
    fn jitter_takes_up_to_half() {
        assert_eq!(Backoff::new(false).after(Ended::Failed, 0, 0.0), Duration::from_millis(125));
    }

    #[test]
    fn only_a_minute_of_connection_starts_anew() {
        let mut backoff = Backoff::new(false);
        for _ in 0..4 {
            backoff.after(Ended::Failed, 59_999, 1.0);
        }
        assert_eq!(backoff.after(Ended::Failed, 59_999, 1.0), Duration::from_secs(4));
        assert_eq!(backoff.after(Ended::Failed, 60_000, 1.0), Duration::from_millis(250));
    }

    #[test]
    fn the_second_take_over_names_a_duplicate_identity() {
        let mut backoff = Backoff::new(true);
        assert_eq!(backoff.after(Ended::TakenOver, 10, 1.0), Duration::from_secs(60));
        assert!(!backoff.is_duplicate_identity());
        backoff.after(Ended::TakenOver, 10, 1.0);
        assert!(backoff.is_duplicate_identity());
    }
}
