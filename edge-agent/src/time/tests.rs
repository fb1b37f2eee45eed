use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::*;

/// Clocks that stand still until they are set.
#[derive(Debug, Default)]
struct Hands {
    boot_ms: AtomicI64,
    kernel_ms: AtomicI64,
    is_synchronised: AtomicBool,
}

#[derive(Debug)]
struct Shown(Arc<Hands>);

impl Machine for Shown {
    fn boot_ms(&self) -> i64 {
        self.0.boot_ms.load(Ordering::Relaxed)
    }

    fn kernel_ms(&self) -> i64 {
        self.0.kernel_ms.load(Ordering::Relaxed)
    }

    fn is_synchronised(&self) -> bool {
        self.0.is_synchronised.load(Ordering::Relaxed)
    }

    fn hardware_s(&self) -> Option<i64> {
        None
    }
}

impl Hands {
    /// Time passes by every clock.
    fn pass(&self, ms: i64) {
        self.boot_ms.fetch_add(ms, Ordering::Relaxed);
        self.kernel_ms.fetch_add(ms, Ordering::Relaxed);
    }

    fn set_kernel(&self, ms: i64, is_synchronised: bool) {
        self.kernel_ms.store(ms, Ordering::Relaxed);
        self.is_synchronised.store(is_synchronised, Ordering::Relaxed);
    }
}

const BOOT: Uuid = Uuid::from_u128(5);
const NOW: i64 = BUILT_AT_MS + 100 * DAY_MS;

fn clock() -> (Arc<Hands>, Clock) {
    let hands = Arc::new(Hands::default());
    hands.pass(10_000);
    let clock = Clock::of(Box::new(Shown(hands.clone())), BOOT);
    (hands, clock)
}

#[test]
fn records_are_stamped_by_the_agents_own_time_and_a_set_clock_does_not_move_it() {
    let (hands, clock) = clock();
    assert_eq!(clock.stamp(), Stamp::Boot(10_000));
    clock.hear_hub(NOW, true);
    hands.pass(500);
    assert_eq!(clock.stamp(), Stamp::Wall(NOW + 500));
    hands.set_kernel(NOW - 40 * DAY_MS, false);
    hands.pass(500);
    assert_eq!(clock.stamp(), Stamp::Wall(NOW + 1000));
    let status = clock.status();
    let jump = status.last_jump.unwrap();
    assert_eq!((status.jumps, jump.is_followed), (1, false));
    assert_eq!((status.source, status.now_ms), (Some(Source::Hub), Some(NOW + 1000)));
    hands.set_kernel(NOW + 9000, true);
    hands.pass(500);
    assert_eq!(clock.stamp(), Stamp::Wall(NOW + 9500), "a synchronised one does");
    assert_eq!((clock.status().jumps, clock.status().source), (2, Some(Source::Kernel)));
}

#[test]
fn a_jump_is_noticed_within_a_tenth_of_a_second() {
    let (hands, clock) = clock();
    hands.set_kernel(NOW, true);
    assert_eq!(clock.stamp(), Stamp::Wall(NOW));
    hands.set_kernel(NOW + 60_000, true);
    hands.pass(OBSERVE_EVERY_MS);
    assert_eq!(clock.stamp(), Stamp::Wall(NOW + 60_000 + OBSERVE_EVERY_MS));
}

#[test]
fn only_a_kernel_that_was_synchronised_is_sure_enough_for_certificates() {
    let (hands, clock) = clock();
    assert_eq!((clock.sure_ms(), clock.earliest_ms()), (None, BUILT_AT_MS));
    clock.hear_hub(NOW + 3650 * DAY_MS, true);
    assert_eq!(clock.sure_ms(), None);
    assert_eq!(clock.last_known_ms(), BUILT_AT_MS + DAY_MS + 10_000, "a boot's length and a day");
    assert_eq!(clock.earliest_ms(), BUILT_AT_MS + 10_000);
    hands.set_kernel(NOW, true);
    hands.pass(1000);
    assert_eq!(clock.sure_ms(), Some(NOW + 1000));
    hands.set_kernel(0, false);
    hands.pass(1000);
    assert_eq!(clock.sure_ms(), Some(NOW + 2000));
}

#[test]
fn a_later_run_knows_what_this_one_did() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("time");
    let (hands, clock) = clock();
    clock.write(&path).unwrap();
    assert!(!path.exists(), "nothing is known yet");
    clock.hear_hub(NOW, true);
    clock.write(&path).unwrap();

    let again = Clock::of(Box::new(Shown(hands.clone())), BOOT);
    again.read(&path);
    assert_eq!(again.stamp(), Stamp::Wall(NOW));
    assert_eq!(again.status().source, Some(Source::EarlierRun));

    let other_boot = Clock::of(Box::new(Shown(hands)), Uuid::from_u128(6));
    other_boot.read(&path);
    assert_eq!(other_boot.stamp(), Stamp::Boot(10_000));
    assert_eq!(other_boot.last_known_ms(), clock.last_known_ms());
    assert!(other_boot.last_known_ms() > BUILT_AT_MS);
}

#[test]
fn a_file_that_is_damaged_counts_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("time");
    std::fs::write(&path, "{}").unwrap();
    let (_hands, clock) = clock();
    clock.read(&path);
    assert_eq!((clock.stamp(), clock.earliest_ms()), (Stamp::Boot(10_000), BUILT_AT_MS));
}

#[test]
fn what_an_untrusted_hub_says_is_only_likely() {
    let (_hands, clock) = clock();
    clock.hear_hub(NOW, false);
    assert_eq!((clock.known_offset(), clock.likely_ms()), (None, NOW));
    assert_eq!(clock.last_known_ms(), BUILT_AT_MS, "written only from what is known");
}

#[test]
fn what_was_before_the_boot_counts_as_at_it() {
    assert_eq!(Stamp::Wall(1000).earlier(3000), Stamp::Wall(-2000));
    assert_eq!(Stamp::Boot(1000).earlier(300), Stamp::Boot(700));
    assert_eq!(Stamp::Boot(1000).earlier(3000), Stamp::Boot(0));
    assert_eq!(Stamp::Boot(1000).earlier(-5), Stamp::Boot(1005));
}
