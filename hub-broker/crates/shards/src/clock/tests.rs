use super::*;

const HOUR_MS: i64 = 3_600_000;
const START: Reading = Reading { wall_ms: 1_700_000_000_000, boot_ms: 50_000 };

fn at(wall_ms: i64, boot_ms: i64) -> Reading {
    Reading { wall_ms: START.wall_ms + wall_ms, boot_ms: START.boot_ms + boot_ms }
}

fn rule() -> StampRule {
    StampRule::new(None, START)
}

#[test]
fn stamps_follow_the_wall_clock() {
    let mut rule = rule();
    assert_eq!(rule.read(at(0, 0), || false), START.wall_ms);
    assert_eq!(rule.read(at(5_000, 1_000), || false), START.wall_ms + 5_000);
    assert!(!rule.held);
}

#[test]
fn stamps_never_go_backwards() {
    let mut rule = rule();
    rule.read(at(10_000, 10_000), || false);
    assert_eq!(rule.read(at(4_000, 11_000), || false), START.wall_ms + 10_000);
    assert_eq!(rule.read(at(11_000, 18_000), || false), START.wall_ms + 11_000);
}

#[test]
fn a_jump_is_not_believed_until_the_clock_comes_back() {
    let mut rule = rule();
    let years = 70 * 365 * 24 * HOUR_MS;
    assert_eq!(rule.read(at(years, 1_000), || false), START.wall_ms + 1_000);
    assert!(rule.held);
    assert_eq!(rule.read(at(years + 1_000, 2_000), || false), START.wall_ms + 2_000);
    assert_eq!(rule.read(at(3_500, 3_000), || false), START.wall_ms + 3_500);
    assert!(!rule.held);
}

#[test]
fn a_jump_of_a_synchronised_clock_is_believed() {
    let mut rule = rule();
    assert_eq!(rule.read(at(9 * HOUR_MS, 1_000), || true), START.wall_ms + 9 * HOUR_MS);
    assert!(!rule.held);
}

#[test]
fn a_jump_may_be_accepted_by_a_person() {
    let mut rule = rule();
    rule.read(at(9 * HOUR_MS, 1_000), || false);
    rule.accept(at(9 * HOUR_MS, 1_000));
    assert_eq!(rule.read(at(9 * HOUR_MS, 1_000), || false), START.wall_ms + 9 * HOUR_MS);
}

#[test]
fn time_asleep_is_no_jump() {
    let mut rule = rule();
    let night = 9 * HOUR_MS;
    assert_eq!(rule.read(at(night, night), || false), START.wall_ms + night);
    assert!(!rule.held);
}

#[test]
fn a_hub_that_starts_in_another_year_goes_on_from_its_last_stamp() {
    let mut rule = StampRule::new(Some(START.wall_ms), at(-40 * 365 * 24 * HOUR_MS, 0));
    let stamp = rule.read(at(-40 * 365 * 24 * HOUR_MS + 1_000, 1_000), || false);
    assert_eq!(stamp, START.wall_ms + 1_000);
    assert!(rule.held);
}

#[test]
fn an_anchor_accounts_for_the_time_between_two_processes_of_a_boot() {
    let anchor = Anchor { boot_id: [7; 16], boot_ms: 1_000, stamp_ms: START.wall_ms };
    assert_eq!(Anchor::decode(&anchor.encode()), Some(anchor));
    let later = Reading { wall_ms: 0, boot_ms: 1_000 + 9 * HOUR_MS };
    assert_eq!(anchor.expected_ms([7; 16], later), Some(START.wall_ms + 9 * HOUR_MS));
    assert_eq!(anchor.expected_ms([8; 16], later), None, "another boot");
}

#[test]
fn a_damaged_anchor_is_no_anchor() {
    let anchor = Anchor { boot_id: [7; 16], boot_ms: 1_000, stamp_ms: START.wall_ms };
    let bytes = anchor.encode();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        assert_eq!(Anchor::decode(&damaged), None, "byte {at}");
        assert_eq!(Anchor::decode(&bytes[..at]), None, "cut at {at}");
    }
}
