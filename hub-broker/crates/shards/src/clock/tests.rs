use proptest::prelude::*;

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
    assert_eq!(rule.read(at(0, 0), || false), Some(START.wall_ms));
    assert_eq!(rule.read(at(5_000, 1_000), || false), Some(START.wall_ms + 5_000));
    assert_eq!(rule.held, None);
}

#[test]
fn stamps_never_go_backwards() {
    let mut rule = rule();
    rule.read(at(10_000, 10_000), || false);
    assert_eq!(rule.read(at(4_000, 11_000), || false), Some(START.wall_ms + 10_000));
    assert_eq!(rule.read(at(11_000, 18_000), || false), Some(START.wall_ms + 11_000));
}

#[test]
fn a_jump_is_not_believed_until_the_clock_comes_back() {
    let mut rule = rule();
    let years = 70 * 365 * 24 * HOUR_MS;
    assert_eq!(rule.read(at(years, 1_000), || false), Some(START.wall_ms + 1_000));
    assert_eq!(rule.held, Some(ClockHeld::Jumped));
    assert_eq!(rule.read(at(years + 1_000, 2_000), || false), Some(START.wall_ms + 2_000));
    assert_eq!(rule.read(at(3_500, 3_000), || false), Some(START.wall_ms + 3_500));
    assert_eq!(rule.held, None);
}

#[test]
fn a_jump_of_a_synchronised_clock_is_believed() {
    let mut rule = rule();
    assert_eq!(rule.read(at(9 * HOUR_MS, 1_000), || true), Some(START.wall_ms + 9 * HOUR_MS));
    assert_eq!(rule.held, None);
}

#[test]
fn a_jump_may_be_accepted_by_a_person() {
    let mut rule = rule();
    rule.read(at(9 * HOUR_MS, 1_000), || false);
    rule.accept(at(9 * HOUR_MS, 1_000));
    assert_eq!(rule.read(at(9 * HOUR_MS, 1_000), || false), Some(START.wall_ms + 9 * HOUR_MS));
}

#[test]
fn time_asleep_is_no_jump() {
    let mut rule = rule();
    let night = 9 * HOUR_MS;
    assert_eq!(rule.read(at(night, night), || false), Some(START.wall_ms + night));
    assert_eq!(rule.held, None);
}

#[test]
fn a_hub_that_starts_in_another_year_goes_on_from_its_last_stamp() {
    let mut rule = StampRule::new(Some(START.wall_ms), at(-40 * 365 * 24 * HOUR_MS, 0));
    let stamp = rule.read(at(-40 * 365 * 24 * HOUR_MS + 1_000, 1_000), || false);
    assert_eq!(stamp, Some(START.wall_ms + 1_000));
    assert_eq!(rule.held, Some(ClockHeld::Jumped));
}

const YEARS_MS: i64 = 70 * 365 * 24 * HOUR_MS;

#[test]
fn a_hub_that_has_joined_believes_no_clock_before_it_hears_the_time() {
    let mut rule = StampRule::unknown();
    assert_eq!(rule.read(at(YEARS_MS, 0), || false), None);
    assert_eq!(rule.held, Some(ClockHeld::Unheard));
    rule.hear(START.wall_ms, at(YEARS_MS, 1_000));
    assert_eq!(rule.read(at(YEARS_MS + 2_000, 3_000), || false), Some(START.wall_ms + 2_000));
    assert_eq!(rule.held, Some(ClockHeld::Jumped));
    assert_eq!(rule.read(at(2_500, 4_000), || false), Some(START.wall_ms + 2_500));
    assert_eq!(rule.held, None, "its wall clock was set right");
}

#[test]
fn a_hub_that_has_joined_believes_a_synchronised_clock() {
    let mut rule = StampRule::unknown();
    assert_eq!(rule.read(at(0, 0), || true), Some(START.wall_ms));
    assert_eq!(rule.held, None);
}

#[test]
fn a_hub_that_was_off_for_hours_is_released_by_what_it_hears() {
    let mut rule = StampRule::new(Some(START.wall_ms), at(9 * HOUR_MS, 0));
    rule.read(at(9 * HOUR_MS, 0), || false);
    assert_eq!(rule.held, Some(ClockHeld::Jumped));
    // It catches up: old entries come first.
    for heard_ms in [1_000, 4 * HOUR_MS, 9 * HOUR_MS - 500] {
        rule.hear(START.wall_ms + heard_ms, at(9 * HOUR_MS, 0));
    }
    assert_eq!(rule.read(at(9 * HOUR_MS + 10, 10), || false), Some(START.wall_ms + 9 * HOUR_MS + 10));
    assert_eq!(rule.held, None);
}

#[test]
fn what_is_heard_moves_no_clock_that_is_believed() {
    let mut rule = rule();
    rule.read(at(0, 0), || false);
    rule.hear(START.wall_ms + YEARS_MS, at(0, 0));
    assert_eq!(rule.read(at(1_000, 1_000), || false), Some(START.wall_ms + 1_000));
    assert_eq!(rule.held, None);
}

#[test]
fn what_is_heard_late_does_not_take_the_time_back() {
    let mut rule = StampRule::unknown();
    rule.hear(START.wall_ms, at(YEARS_MS, 0));
    rule.hear(START.wall_ms - 5 * HOUR_MS, at(YEARS_MS, 0));
    assert_eq!(rule.read(at(YEARS_MS, 0), || false), Some(START.wall_ms));
}

#[test]
fn a_stamp_at_the_end_of_time_is_survived() {
    let mut rule = StampRule::unknown();
    rule.hear(i64::MAX, at(0, 0));
    assert_eq!(rule.read(at(0, 0), || false), Some(i64::MAX));
    assert_eq!(rule.held, Some(ClockHeld::Jumped));
}

#[test]
fn only_a_founder_takes_the_wall_clock_as_it_is() {
    let founder = Clock::given(at(YEARS_MS, 0));
    founder.go_on_from(None, true);
    assert_eq!((founder.known_ms(), founder.is_held()), (Some(START.wall_ms + YEARS_MS), false));
    let member = Clock::given(at(YEARS_MS, 0));
    member.go_on_from(None, false);
    assert_eq!((member.known_ms(), member.is_held()), (None, true));
}

#[test]
fn what_is_heard_while_a_hub_starts_is_not_forgotten() {
    let clock = Clock::given(at(YEARS_MS, 0));
    clock.hear(START.wall_ms);
    clock.go_on_from(Some(START.wall_ms - HOUR_MS), false);
    assert_eq!((clock.known_ms(), clock.is_held()), (Some(START.wall_ms), true));
}

#[test]
fn most_clocks_release_one_that_shows_the_same() {
    let night_ms = 9 * HOUR_MS;
    let mut rule = StampRule::new(Some(START.wall_ms), at(night_ms, 0));
    rule.read(at(night_ms, 0), || false);
    rule.judge(START.wall_ms + night_ms + 2 * CLOCK_AGREEMENT_MS, at(night_ms, 0));
    assert_eq!(rule.read(at(night_ms, 0), || false), Some(START.wall_ms), "they do not agree");
    rule.judge(START.wall_ms + night_ms + 900, at(night_ms, 0));
    assert_eq!(rule.read(at(night_ms, 0), || false), Some(START.wall_ms + night_ms));
    assert_eq!(rule.held, None);
}

#[test]
fn a_founder_at_another_year_goes_by_most_clocks_once_there_are_others() {
    let mut rule = StampRule::new(None, at(YEARS_MS, 0));
    assert_eq!(rule.read(at(YEARS_MS, 0), || true), Some(START.wall_ms + YEARS_MS));
    rule.judge(START.wall_ms, at(YEARS_MS, 0));
    assert_eq!(rule.read(at(YEARS_MS + 5, 5), || true), Some(START.wall_ms + 5), "its source is wrong");
    assert_eq!(rule.held, Some(ClockHeld::Outvoted));
    // What it stamped before it knew better comes back from the others.
    rule.hear(START.wall_ms + YEARS_MS, at(YEARS_MS + 5, 5));
    assert_eq!(rule.read(at(YEARS_MS + 6, 6), || false), Some(START.wall_ms + 6));
    assert_eq!(rule.read(at(7, 7), || false), Some(START.wall_ms + 7), "its wall clock was set right");
    assert_eq!(rule.held, None);
}

#[test]
fn whoever_was_ahead_goes_back_when_its_wall_clock_turns_out_to_be_right() {
    let ahead = |release: fn(&mut StampRule, Reading)| {
        let mut rule = StampRule::new(Some(START.wall_ms + 30 * HOUR_MS), START);
        assert_eq!(rule.read(at(5, 5), || false), Some(START.wall_ms + 30 * HOUR_MS + 5));
        assert_eq!(rule.held, Some(ClockHeld::Jumped));
        release(&mut rule, at(5, 5));
        rule.read(at(6, 6), || false)
    };
    assert_eq!(ahead(StampRule::accept), Some(START.wall_ms + 6));
    assert_eq!(ahead(|rule, reading| rule.judge(reading.wall_ms, reading)), Some(START.wall_ms + 6));
    let synchronised = |rule: &mut StampRule, reading| {
        rule.read(reading, || true);
    };
    assert_eq!(ahead(synchronised), Some(START.wall_ms + 6));
}

#[test]
fn a_person_outweighs_most_clocks_until_the_clock_jumps() {
    let mut rule = StampRule::new(None, START);
    rule.accept(START);
    rule.judge(START.wall_ms + 9 * HOUR_MS, at(1, 1));
    assert_eq!(rule.read(at(1, 1), || false), Some(START.wall_ms + 1));
    rule.read(at(2 * HOUR_MS, 2), || false);
    assert_eq!(rule.held, Some(ClockHeld::Jumped));
    rule.judge(START.wall_ms + 9 * HOUR_MS, at(2 * HOUR_MS, 2));
    assert_eq!(rule.read(at(2 * HOUR_MS, 2), || false), Some(START.wall_ms + 9 * HOUR_MS));
    assert_eq!(rule.held, Some(ClockHeld::Outvoted));
}

/// What happens to a clock that is not looked after by a person.
#[derive(Clone, Debug)]
enum Happening {
    /// Somebody sets the wall clock, to so much beside the right time.
    Set(i64),
    Pass(i64),
    Hear(i64),
}

fn any_happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (-YEARS_MS..YEARS_MS).prop_map(Happening::Set),
        (-90_000..90_000_i64).prop_map(Happening::Set),
        (0..3 * HOUR_MS).prop_map(Happening::Pass),
        (-YEARS_MS..YEARS_MS).prop_map(Happening::Hear),
    ]
}

proptest! {
    #[test]
    fn whoever_is_judged_by_clocks_that_are_right_is_believed_only_when_it_is(
        happenings in proptest::collection::vec(any_happening(), 0..40),
        off_ms in -30_000..30_000_i64,
        synchronised in any::<bool>(),
        founder in any::<bool>(),
    ) {
        let mut rule = if founder { StampRule::new(None, START) } else { StampRule::unknown() };
        let (mut passed_ms, mut wrong_ms) = (0, 0);
        for happening in happenings {
            let reading = at(passed_ms + wrong_ms, passed_ms);
            match happening {
                Happening::Set(by_ms) => wrong_ms = by_ms,
                Happening::Pass(ms) => passed_ms += ms,
                Happening::Hear(beside_ms) => rule.hear(START.wall_ms + passed_ms + beside_ms, reading),
            }
            let reading = at(passed_ms + wrong_ms, passed_ms);
            rule.read(reading, || synchronised);
            let right_ms = START.wall_ms + passed_ms;
            rule.judge(right_ms + off_ms, reading);
            let now_ms = rule.read(reading, || synchronised);
            let apart_ms = (wrong_ms - off_ms).abs();
            if apart_ms > CLOCK_JUMP_MS_MAX {
                prop_assert_eq!(rule.held, Some(ClockHeld::Outvoted));
                prop_assert_eq!(now_ms, Some(right_ms + off_ms));
            } else if apart_ms <= CLOCK_AGREEMENT_MS {
                prop_assert_eq!(rule.held, None);
            }
        }
    }

    #[test]
    fn without_others_a_clock_goes_on_by_the_uptime_or_within_an_hour_of_it(
        jumps in proptest::collection::vec((-YEARS_MS..YEARS_MS, 0..HOUR_MS), 1..30),
    ) {
        let mut rule = StampRule::new(None, START);
        let (mut passed_ms, mut last_ms) = (0, START.wall_ms);
        for (wrong_ms, pass_ms) in jumps {
            passed_ms += pass_ms;
            let now_ms = rule.read(at(passed_ms + wrong_ms, passed_ms), || false).expect("it knows a time");
            prop_assert!(now_ms >= last_ms, "it never goes back");
            prop_assert!(now_ms - last_ms <= pass_ms + CLOCK_JUMP_MS_MAX);
            last_ms = now_ms;
        }
    }
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
