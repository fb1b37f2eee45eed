//! Steps that groups refuse again and again. One that is refused for a moment is usual; where that lasts somebody has to
//! see to it. Knows no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{REFUSAL_FORGOTTEN, REFUSAL_LOG_INTERVAL, REFUSAL_PATIENCE};

#[derive(Debug, Default)]
pub(super) struct Refusals {
    groups: BTreeMap<u32, Refused>,
    told_at: Option<Instant>,
}

#[derive(Debug)]
struct Refused {
    since: Instant,
    last: Instant,
}

/// What is worth a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// For how long the group has refused now.
    pub lasting: Duration,
    /// How many groups have refused for long.
    pub groups: usize,
}

impl Refusals {
    /// The group has taken a step.
    pub(super) fn taken(&mut self, group: u32) {
        self.groups.remove(&group);
    }

    /// The group has refused a step.
    pub(super) fn refused(&mut self, group: u32, now: Instant) -> Option<Complaint> {
        // Groups that are led elsewhere by now say nothing more.
        self.groups.retain(|_, refused| now - refused.last < REFUSAL_FORGOTTEN);
        let refused = self.groups.entry(group).or_insert(Refused { since: now, last: now });
        refused.last = now;
        let lasting = now - refused.since;
        let was_told = self.told_at.is_some_and(|told_at| now - told_at < REFUSAL_LOG_INTERVAL);
        if lasting < REFUSAL_PATIENCE || was_told {
            return None;
        }
        self.told_at = Some(now);
        let lasts = |refused: &&Refused| now - refused.since >= REFUSAL_PATIENCE;
        Some(Complaint { lasting, groups: self.groups.values().filter(lasts).count() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(1);

    /// The times, since the first refusal, at which there is something to say.
    fn complaints(refusals: &mut Refusals, groups: &[u32], seconds: u32) -> Vec<(Duration, Complaint)> {
        let begun = Instant::now();
        let mut said = Vec::new();
        for at in (0..seconds).map(|second| REST * second) {
            for group in groups {
                said.extend(refusals.refused(*group, begun + at).map(|complaint| (at, complaint)));
            }
        }
        said
    }

    #[test]
    fn a_group_that_refuses_for_long_is_told_of_from_time_to_time() {
        let said = complaints(&mut Refusals::default(), &[7], 120);
        let at = |lasting| (lasting, Complaint { lasting, groups: 1 });
        assert_eq!(said, [at(REFUSAL_PATIENCE), at(REFUSAL_PATIENCE + REFUSAL_LOG_INTERVAL)]);
    }

    #[test]
    fn many_groups_are_told_of_together() {
        let said = complaints(&mut Refusals::default(), &[1, 2, 3], 92);
        let told: Vec<_> = said.iter().map(|(_, complaint)| complaint.groups).collect();
        assert_eq!(told, [3, 3], "one line for all, and again after a while");
    }

    #[test]
    fn one_that_takes_a_step_or_is_led_elsewhere_meanwhile_is_given_its_time_again() {
        let (mut refusals, mut now) = (Refusals::default(), Instant::now());
        for _ in 0..3 {
            for _ in 0..REFUSAL_PATIENCE.as_secs() {
                assert_eq!(refusals.refused(7, now), None);
                now += REST;
            }
            refusals.taken(7);
        }
        for _ in 0..3 {
            now += REFUSAL_FORGOTTEN;
            for _ in 0..REFUSAL_PATIENCE.as_secs() {
                assert_eq!(refusals.refused(7, now), None);
                now += REST;
            }
        }
    }
}
