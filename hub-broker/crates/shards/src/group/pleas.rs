//! Who has asked a leader in its term to be let go: its half of `leave`, without anything that is sent.

use std::collections::{BTreeMap, VecDeque};

use consensus::ReplicaId;

use crate::limits::{LEAVE_BEHIND_TICKS, LEAVE_FORGOTTEN_TICKS, LEAVE_VOID_TICKS, LEAVE_WAIT_TICKS};

#[derive(Default)]
pub(super) struct Pleas {
    asked: BTreeMap<ReplicaId, Asked>,
    /// The last committed index at each of the last ticks, the oldest first, while there are pleas.
    commits: VecDeque<u64>,
}

#[derive(Default)]
struct Asked {
    /// Ticks since it first asked, and since it last did.
    ticks: u64,
    silent_ticks: u64,
    /// For so many ticks it has been heard of since it was let go.
    let_go: Option<u32>,
}

impl Pleas {
    /// Time passes. Leave that a replica has not made use of is void: its damage is mended, or forgotten.
    pub(super) fn tick(&mut self, commit: u64, is_heard: impl Fn(ReplicaId) -> bool) {
        self.asked.retain(|id, asked| {
            asked.ticks += 1;
            asked.silent_ticks += 1;
            match &mut asked.let_go {
                Some(heard_ticks) => {
                    *heard_ticks = if is_heard(*id) { *heard_ticks + 1 } else { 0 };
                    *heard_ticks < LEAVE_VOID_TICKS
                }
                None => asked.silent_ticks < LEAVE_FORGOTTEN_TICKS,
            }
        });
        if self.asked.is_empty() {
            return self.commits.clear();
        }
        if self.commits.len() >= LEAVE_BEHIND_TICKS {
            self.commits.pop_front();
        }
        self.commits.push_back(commit);
    }

    /// A replica asks. Once it has waited long enough: up to where those who stay must have everything.
    pub(super) fn hear(&mut self, id: ReplicaId) -> Option<u64> {
        let asked = self.asked.entry(id).or_default();
        asked.silent_ticks = 0;
        self.commits.front().copied().filter(|_| asked.ticks >= LEAVE_WAIT_TICKS)
    }

    pub(super) fn let_go(&mut self, id: ReplicaId) {
        self.asked.entry(id).or_default().let_go = Some(0);
    }

    pub(super) fn is_let_go(&self, id: ReplicaId) -> bool {
        self.asked.get(&id).is_some_and(|asked| asked.let_go.is_some())
    }

    pub(super) fn retain(&mut self, is_member: impl Fn(ReplicaId) -> bool) {
        self.asked.retain(|id, _| is_member(*id));
    }

    pub(super) fn clear(&mut self) {
        self.asked.clear();
        self.commits.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKS: u64 = LEAVE_BEHIND_TICKS as u64;

    fn id() -> ReplicaId {
        ReplicaId::new(3, 7)
    }

    #[test]
    fn however_long_a_replica_has_asked_those_who_stay_must_have_what_was_committed_lately() {
        let mut pleas = Pleas::default();
        assert_eq!(pleas.hear(id()), None);
        for commit in 1..=10_000 {
            pleas.tick(commit, |_| true);
            let expected = Some((commit + 1).saturating_sub(TICKS)).filter(|_| commit >= LEAVE_WAIT_TICKS);
            assert_eq!(pleas.hear(id()), expected);
        }
    }

    #[test]
    fn one_that_has_not_asked_for_long_waits_anew() {
        let mut pleas = Pleas::default();
        pleas.hear(id());
        (0..LEAVE_FORGOTTEN_TICKS - 1).for_each(|commit| pleas.tick(commit, |_| true));
        assert!(pleas.hear(id()).is_some());
        (0..LEAVE_FORGOTTEN_TICKS).for_each(|commit| pleas.tick(commit, |_| true));
        assert_eq!(pleas.hear(id()), None);
        pleas.tick(5, |_| true);
        assert_eq!(pleas.hear(id()), None);
    }

    #[test]
    fn leave_is_void_when_the_replica_is_heard_of_long_after_it_and_not_before() {
        let mut pleas = Pleas::default();
        pleas.let_go(id());
        for _ in 0..10 {
            (1..LEAVE_VOID_TICKS).for_each(|_| pleas.tick(5, |_| true));
            pleas.tick(5, |_| false);
        }
        assert!(pleas.is_let_go(id()), "it may hear of its leave only now");
        (1..LEAVE_VOID_TICKS).for_each(|_| pleas.tick(5, |_| true));
        pleas.let_go(id());
        pleas.tick(5, |_| true);
        assert!(pleas.is_let_go(id()), "leave was given once more");
        (1..LEAVE_VOID_TICKS).for_each(|_| pleas.tick(5, |_| true));
        assert!(!pleas.is_let_go(id()));
    }
}
