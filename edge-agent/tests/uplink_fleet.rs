//! What a fleet does together: it comes back over time, and two devices of one name are found.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::time::Duration;

use edge_agent::config::Profile;
use edge_agent::uplink::{Ended, Route};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use schemas::DeviceId;

const AGENTS: usize = 500;
/// Of them within 100 ms. Where a fleet comes back evenly over a second, 50 do, and 33 more by chance once in a million.
const AT_ONCE_MAX: usize = AGENTS / 6;

fn agent(profile: Profile, number: usize) -> Route {
    among(1, profile, number)
}

fn among(hubs: usize, profile: Profile, number: usize) -> Route {
    let device = DeviceId::try_from(format!("pump-{number}").as_str()).unwrap();
    Route::new(hubs, &device, &profile.link(false))
}

/// The most of these times that lie within 100 ms.
fn most_at_once(times_ms: &[u64]) -> usize {
    let mut slices: BTreeMap<u64, usize> = BTreeMap::new();
    times_ms.iter().for_each(|ms| *slices.entry(ms / 100).or_default() += 1);
    slices.into_values().max().unwrap()
}

/// When each of the fleet is connected again after a hub was away for so long, in ms from when it was gone.
fn reconnects(profile: Profile, ended: Ended, down_ms: u64, seed: u64) -> Vec<u64> {
    let mut random = StdRng::seed_from_u64(seed);
    let one = |number| {
        let mut route = agent(profile, number);
        let mut lasted_ms = 3_600_000;
        let mut now_ms = 0;
        loop {
            let how = if now_ms == 0 { Ended::Failed } else { ended };
            let wait = route.after(how, lasted_ms, random.r#gen());
            now_ms += u64::try_from(wait.as_millis()).unwrap();
            if now_ms >= down_ms {
                return now_ms;
            }
            lasted_ms = 0;
        }
    };
    (0..AGENTS).map(one).collect()
}

#[test]
fn a_hub_that_was_restarted_is_not_met_by_its_fleet_at_once() {
    let seed = rand::random();
    for profile in [Profile::Lan, Profile::Wan, Profile::Cellular, Profile::Metered] {
        for ended in [Ended::Refused, Ended::Failed] {
            for down_ms in [0, 300, 2_000, 10_000, 60_000, 600_000] {
                let times = reconnects(profile, ended, down_ms, seed);
                let most = most_at_once(&times);
                let what = format!("{profile:?} {ended:?}, down for {down_ms} ms, seed {seed}");
                assert!(most <= AT_ONCE_MAX, "{most} of {AGENTS} within 100 ms: {what}");
                let link = profile.link(false);
                let longest = link.reconnect_longest.as_millis() as u64 + 2_000;
                let last = times.iter().max().unwrap();
                assert!(*last <= down_ms + longest, "the last after {last} ms: {what}");
            }
        }
    }
}

#[test]
fn the_fleet_of_a_hub_that_dies_is_not_on_the_next_one_at_once() {
    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    for profile in [Profile::Lan, Profile::Wan, Profile::Cellular, Profile::Metered] {
        let mut waits = Vec::new();
        for mut route in (0..AGENTS).map(|number| among(2, profile, number)) {
            let lost = route.hub();
            route.connected();
            let wait = route.after(Ended::Failed, 3_600_000, random.r#gen());
            assert_ne!(route.hub(), lost);
            waits.push(u64::try_from(wait.as_millis()).unwrap());
        }
        let most = most_at_once(&waits);
        assert!(most <= AT_ONCE_MAX, "{most} of {AGENTS} within 100 ms: {profile:?}, seed {seed}");
        let spread_ms = profile.link(false).reconnect_spread.as_millis() as u64;
        assert!(waits.iter().all(|ms| *ms <= spread_ms), "{profile:?}, seed {seed}");
    }
}

/// Two agents of one name on one hub: each that comes takes the session of the other.
fn ms_until_both_know(seed: u64) -> u64 {
    let mut random = StdRng::seed_from_u64(seed);
    let mut routes = [agent(Profile::Auto, 1), agent(Profile::Auto, 1)];
    // The first is connected for long, and then the second comes.
    let mut connected_since = [0_u64, 1_000];
    let mut now_ms = 1_000;
    let mut loser = 0;
    loop {
        let lasted = now_ms - connected_since[loser];
        let wait: Duration = routes[loser].after(Ended::TakenOver, lasted, random.r#gen());
        if routes.iter().all(Route::is_duplicate_identity) {
            return now_ms - 1_000;
        }
        now_ms += u64::try_from(wait.as_millis()).unwrap() + random.gen_range(0..500);
        connected_since[loser] = now_ms;
        loser = 1 - loser;
    }
}

#[test]
fn two_devices_of_one_name_are_both_told_within_three_minutes() {
    for seed in 0..1000 {
        let ms = ms_until_both_know(seed);
        assert!(ms <= 180_000, "after {ms} ms with seed {seed}");
    }
}
