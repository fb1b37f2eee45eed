//! What most of several clocks say.

/// The time on which more than half of `clocks` agree, each within `within_ms` of all others; `walls` are those that are
/// known. One clock alone is no majority, not even of one.
pub(super) fn majority_ms(walls: &[i64], clocks: usize, within_ms: i64) -> Option<i64> {
    let needed = (clocks / 2 + 1).max(2);
    let mut walls = walls.to_vec();
    walls.sort_unstable();
    let is_close = |some: &&[i64]| match some {
        [first, .., last] => last.saturating_sub(*first) <= within_ms,
        _ => false,
    };
    // Of several the closest: it is the least likely to have a wrong one in it.
    let spread =
        |some: &&[i64]| some.last().zip(some.first()).map(|(last, first)| last.saturating_sub(*first));
    let closest = walls.windows(needed).filter(is_close).min_by_key(spread)?;
    closest.get(needed / 2).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE_MS: i64 = 60_000;
    const NOW_MS: i64 = 1_700_000_000_000;
    const YEARS_MS: i64 = 76 * 365 * 24 * 60 * MINUTE_MS;

    fn of(walls: &[i64], clocks: usize) -> Option<i64> {
        majority_ms(walls, clocks, MINUTE_MS)
    }

    #[test]
    fn two_of_three_that_agree_are_most_and_one_is_not() {
        let wrong_ms = NOW_MS + YEARS_MS;
        assert_eq!(of(&[NOW_MS, wrong_ms, NOW_MS + 400], 3), Some(NOW_MS + 400));
        assert_eq!(of(&[NOW_MS, wrong_ms], 3), None);
        assert_eq!(of(&[NOW_MS, NOW_MS + 1], 3), Some(NOW_MS + 1), "the third need not answer");
        assert_eq!(of(&[NOW_MS, NOW_MS + 1], 4), None);
        assert_eq!(of(&[NOW_MS, NOW_MS + MINUTE_MS + 1], 2), None);
    }

    #[test]
    fn nobody_agrees_with_itself_alone() {
        assert_eq!(of(&[], 0), None);
        assert_eq!(of(&[NOW_MS], 1), None);
        assert_eq!(of(&[NOW_MS], 2), None);
    }

    #[test]
    fn clocks_at_both_ends_of_time_are_survived() {
        assert_eq!(of(&[i64::MIN, i64::MAX], 2), None);
        assert_eq!(of(&[i64::MIN, i64::MAX, i64::MAX], 3), Some(i64::MAX));
    }

    proptest! {
        #[test]
        fn a_minority_of_wrong_clocks_neither_sways_nor_silences_the_others(
            right in proptest::collection::vec(0..MINUTE_MS, 2..6),
            wrong in proptest::collection::vec(any::<i64>(), 0..6),
            close in proptest::collection::vec(-3 * MINUTE_MS..3 * MINUTE_MS, 0..6),
            order in any::<prop::sample::Index>(),
        ) {
            let wrong: Vec<_> = close.iter().map(|ms| NOW_MS + ms).chain(wrong).take(right.len() - 1).collect();
            let clocks = right.len() + wrong.len();
            let mut walls: Vec<_> = right.iter().map(|ms| NOW_MS + ms).chain(wrong).collect();
            walls.rotate_left(order.index(clocks));
            let found = of(&walls, clocks).expect("most agree");
            // A majority has one of the right ones in it, from which it is not further than a minute.
            prop_assert!((NOW_MS - MINUTE_MS..=NOW_MS + 2 * MINUTE_MS).contains(&found), "{found}");
        }

        #[test]
        fn less_than_most_say_nothing(
            walls in proptest::collection::vec(NOW_MS..NOW_MS + MINUTE_MS, 0..6),
            more in 0..3_usize,
        ) {
            let clocks = 2 * walls.len() + more;
            prop_assert_eq!(of(&walls, clocks), None);
        }
    }
}
