//! How long to wait before the next connection.

use std::time::Duration;

use crate::config::Link;

/// Another client with our identity took the session: it would take it again. Spread below this like every wait, but not
/// up to it, so that both have met twice within three minutes.
const TAKEN_OVER_MS: u64 = 60_000;
/// A connection that lasted this long starts the count anew.
const GOOD_MS: u64 = 60_000;
/// Two that take a session from each other in turns meet again within this.
const TAKE_OVERS_FORGOTTEN_MS: u64 = 300_000;
/// A hub that says that it is too busy, or does not let the device in, is left alone for at least this long.
const BUSY_MS: u64 = 5_000;

/// How a connection ended, or failed to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nobody listens there.
    Refused,
    /// DISCONNECT with reason 0x8E.
    TakenOver,
    /// The hub has too much to do, or does not let the device in.
    Busy,
    /// We ended it to connect again at once.
    OnPurpose,
    Failed,
}

#[derive(Debug)]
pub struct Backoff {
    first_ms: u64,
    longest_ms: u64,
    refused_longest_ms: u64,
    spread_ms: u64,
    next_ms: u64,
    take_overs: u32,
}

impl Backoff {
    pub fn new(link: &Link) -> Self {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            first_ms: ms(link.reconnect_first),
            longest_ms: ms(link.reconnect_longest),
            refused_longest_ms: ms(link.reconnect_refused_longest),
            spread_ms: ms(link.reconnect_spread),
            next_ms: ms(link.reconnect_first),
            take_overs: 0,
        }
    }

    /// The wait after a connection that lasted `connected_ms`; `random` in 0..1 spreads many agents.
    pub fn after(&mut self, ended: Ended, connected_ms: u64, random: f64) -> Duration {
        if self.is_good(connected_ms) {
            self.begin_anew();
        }
        if connected_ms >= TAKE_OVERS_FORGOTTEN_MS {
            self.take_overs = 0;
        }
        let base_ms = match ended {
            Ended::OnPurpose => return Duration::ZERO,
            Ended::TakenOver => {
                self.take_overs += 1;
                self.next_ms.max(TAKEN_OVER_MS)
            }
            Ended::Busy => self.next_ms.max(BUSY_MS),
            Ended::Refused => self.next_ms.min(self.refused_longest_ms),
            Ended::Failed => self.next_ms,
        };
        self.next_ms = (self.next_ms * 2).min(self.longest_ms);
        // Those that lost one hub together come back over at least the spread.
        let from_ms = base_ms / 2;
        let over_ms = match ended {
            // Three of these waits are within three minutes: by then both have met twice.
            Ended::TakenOver => from_ms - from_ms / 6,
            _ => from_ms.max(self.spread_ms),
        };
        Duration::from_millis(from_ms) + Duration::from_millis(over_ms).mul_f64(random.clamp(0.0, 1.0))
    }

    /// Whether a connection lasted so long that the one before it does not matter any more.
    pub fn is_good(&self, connected_ms: u64) -> bool {
        connected_ms >= GOOD_MS
    }

    pub fn begin_anew(&mut self) {
        self.next_ms = self.first_ms;
    }

    /// The second take-over in a row: another agent uses this identity.
    pub fn is_duplicate_identity(&self) -> bool {
        self.take_overs >= 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Profile;

    fn backoff(profile: Profile) -> Backoff {
        Backoff::new(&profile.link(false))
    }

    fn waits(profile: Profile, ended: Ended, count: usize) -> Vec<u64> {
        let mut backoff = backoff(profile);
        (0..count).map(|_| backoff.after(ended, 0, 1.0).as_millis() as u64).collect()
    }

    #[test]
    fn waits_double_up_to_half_a_minute_and_spread_over_two_seconds_at_least() {
        assert_eq!(
            waits(Profile::Wan, Ended::Failed, 9),
            [2125, 2250, 2500, 3000, 4000, 8000, 16_000, 30_000, 30_000]
        );
        let least: Vec<u64> = {
            let mut backoff = backoff(Profile::Wan);
            (0..4).map(|_| backoff.after(Ended::Failed, 0, 0.0).as_millis() as u64).collect()
        };
        assert_eq!(least, [125, 250, 500, 1000]);
    }

    #[test]
    fn a_hub_that_is_near_or_refuses_is_asked_every_five_seconds() {
        assert_eq!(waits(Profile::Wan, Ended::Refused, 8)[6..], [5000, 5000]);
        assert_eq!(waits(Profile::Lan, Ended::Failed, 8), [2125, 2250, 2500, 3000, 4000, 5000, 5000, 5000]);
    }

    #[test]
    fn a_dear_link_is_used_seldom() {
        assert_eq!(waits(Profile::Metered, Ended::Failed, 10)[8..], [900_000, 900_000]);
        assert_eq!(waits(Profile::Cellular, Ended::Refused, 10)[8..], [30_000, 30_000]);
    }

    #[test]
    fn a_busy_hub_is_left_alone_for_a_while() {
        assert_eq!(waits(Profile::Lan, Ended::Busy, 2), [5000, 5000]);
        assert_eq!(waits(Profile::Wan, Ended::Busy, 7)[6..], [16_000]);
    }

    #[test]
    fn only_a_minute_of_connection_starts_anew() {
        let mut backoff = backoff(Profile::Lan);
        for _ in 0..4 {
            backoff.after(Ended::Failed, 59_999, 1.0);
        }
        assert_eq!(backoff.after(Ended::Failed, 59_999, 1.0), Duration::from_secs(4));
        assert_eq!(backoff.after(Ended::Failed, 60_000, 1.0), Duration::from_millis(2125));
    }

    #[test]
    fn the_second_take_over_names_a_duplicate_identity() {
        let mut backoff = backoff(Profile::Lan);
        assert_eq!(backoff.after(Ended::TakenOver, 10, 1.0), Duration::from_secs(55));
        assert!(!backoff.is_duplicate_identity());
        // The other one waited for a minute meanwhile.
        backoff.after(Ended::TakenOver, 60_000, 1.0);
        assert!(backoff.is_duplicate_identity());
        backoff.after(Ended::Failed, 300_000, 1.0);
        assert!(!backoff.is_duplicate_identity());
    }
}
