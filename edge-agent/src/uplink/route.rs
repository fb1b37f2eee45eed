//! Which hub is tried next, and when.
//!
//! An agent stays with a hub that answers. When one is lost, the next is tried within the spread of the link's profile,
//! for all agents of that hub have lost it together; one that cannot be reached is passed over at once, and only after
//! all of them have failed in a row is there a longer wait. Agents begin at different hubs, so that a fleet with one
//! configuration spreads over the cluster.

use std::time::Duration;

use schemas::{DeviceId, murmur2};

use super::backoff::{Backoff, Ended};
use crate::config::Link;
use crate::limits::{CONNECT_TIMEOUT, CONNECT_TIMEOUT_AMONG_SEVERAL};

/// Agents that could not reach one hub do not all arrive at the next in the same moment.
const MOVE_ON: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Route {
    hubs: usize,
    at: usize,
    /// Hubs that were tried in a row without a connection that lasted.
    failed: usize,
    /// All hubs have failed once, so that time may be what they lack.
    is_patient: bool,
    is_connected: bool,
    /// Agents that lost one hub together arrive at the next over this time.
    spread: Duration,
    backoff: Backoff,
}

impl Route {
    /// `hubs`: how many there are, at least one.
    pub fn new(hubs: usize, device: &DeviceId, link: &Link) -> Self {
        let hubs = hubs.max(1);
        let at = murmur2(device.as_str().as_bytes()) as usize % hubs;
        Self {
            hubs,
            at,
            failed: 0,
            is_patient: false,
            is_connected: false,
            spread: link.reconnect_spread,
            backoff: Backoff::new(link),
        }
    }

    /// The index of the hub whose turn it is.
    pub fn hub(&self) -> usize {
        self.at
    }

    /// How long that hub may take to accept a connection.
    pub fn connect_timeout(&self) -> Duration {
        if self.hubs > 1 && !self.is_patient { CONNECT_TIMEOUT_AMONG_SEVERAL } else { CONNECT_TIMEOUT }
    }

    /// A connection was made.
    pub fn connected(&mut self) {
        self.is_patient = false;
        self.is_connected = true;
    }

    /// The connection, or the attempt at one, ended after so long: chooses the next hub and answers the wait before it
    /// is tried. `random` in 0..1 spreads many agents.
    pub fn after(&mut self, ended: Ended, lasted_ms: u64, random: f64) -> Duration {
        let was_connected = std::mem::take(&mut self.is_connected);
        match ended {
            // Whoever took the session over, or the new topic, would be met at another hub too.
            Ended::OnPurpose | Ended::TakenOver => return self.backoff.after(ended, lasted_ms, random),
            Ended::Refused | Ended::Busy | Ended::Failed => {}
        }
        if self.backoff.is_good(lasted_ms) {
            self.failed = 0;
            self.backoff.begin_anew();
        }
        self.at = (self.at + 1) % self.hubs;
        self.failed += 1;
        if self.failed < self.hubs {
            let over = if was_connected { self.spread } else { MOVE_ON };
            return over.mul_f64(random.clamp(0.0, 1.0));
        }
        self.failed = 0;
        self.is_patient = true;
        self.backoff.after(ended, lasted_ms, random)
    }

    /// The second take-over in a row: another agent uses this identity.
    pub fn is_duplicate_identity(&self) -> bool {
        self.backoff.is_duplicate_identity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Profile;

    fn link() -> Link {
        Profile::Lan.link(false)
    }

    fn route(hubs: usize) -> Route {
        let mut route = Route::new(hubs, &DeviceId::try_from("d").unwrap(), &link());
        route.at = 0;
        route
    }

    fn waits(route: &mut Route, count: usize) -> Vec<u64> {
        (0..count).map(|_| route.after(Ended::Failed, 0, 1.0).as_millis() as u64).collect()
    }

    #[test]
    fn the_next_hub_is_tried_at_once_and_all_of_them_again_after_a_wait() {
        let mut route = route(3);
        assert_eq!(waits(&mut route, 7), [100, 100, 2125, 100, 100, 2250, 100]);
        assert_eq!(route.hub(), 1);
    }

    #[test]
    fn a_single_hub_is_waited_for_as_ever() {
        let mut route = route(1);
        assert_eq!(waits(&mut route, 3), [2125, 2250, 2500]);
        assert_eq!((route.hub(), route.connect_timeout()), (0, CONNECT_TIMEOUT));
    }

    #[test]
    fn a_connection_that_lasted_begins_the_round_anew() {
        let mut route = route(2);
        assert_eq!(waits(&mut route, 3), [100, 2125, 100]);
        assert_eq!(route.after(Ended::Failed, 60_000, 1.0), Duration::from_millis(100));
        assert_eq!(waits(&mut route, 1), [2125]);
    }

    #[test]
    fn who_loses_a_hub_with_others_does_not_meet_them_at_the_next() {
        let mut route = route(3);
        route.connected();
        assert_eq!(route.after(Ended::Failed, 60_000, 1.0), link().reconnect_spread);
        assert_eq!(waits(&mut route, 1), [100], "they are apart by then");
    }

    #[test]
    fn a_slow_network_is_given_time_once_all_hubs_have_failed() {
        let mut route = route(2);
        assert_eq!(route.connect_timeout(), CONNECT_TIMEOUT_AMONG_SEVERAL);
        waits(&mut route, 2);
        assert_eq!(route.connect_timeout(), CONNECT_TIMEOUT);
        route.connected();
        assert_eq!(route.connect_timeout(), CONNECT_TIMEOUT_AMONG_SEVERAL);
    }

    #[test]
    fn a_new_topic_is_told_to_the_same_hub_and_a_taken_session_is_left_alone() {
        let mut route = route(3);
        assert_eq!(route.after(Ended::OnPurpose, 10, 1.0), Duration::ZERO);
        assert_eq!(route.after(Ended::TakenOver, 10, 1.0), Duration::from_secs(55));
        assert_eq!(route.hub(), 0);
    }

    #[test]
    fn a_fleet_begins_at_every_hub() {
        let first =
            |n: u32| Route::new(3, &DeviceId::try_from(format!("pump-{n}").as_str()).unwrap(), &link()).hub();
        let counts = (0..300).fold([0; 3], |mut counts, n| {
            counts[first(n)] += 1;
            counts
        });
        assert!(counts.iter().all(|count| *count > 60), "{counts:?}");
    }
}
