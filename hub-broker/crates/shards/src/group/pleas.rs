//! Who has asked a leader in its term to be let go: its half of `leave`, without anything that is sent.

use std::collections::{BTreeMap, VecDeque};

use consensus::ReplicaId;

use crate::limits::{LEAVE_BEHIND_TICKS, LEAVE_FORGOTTEN_TICKS, LEAVE_WAIT_TICKS};

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
    is_let_go: bool,
}

impl Pleas {
    /// Time passes.
    pub(super) fn tick(&mut self, commit: u64) {
        self.asked.retain(|_, asked| {
            asked.ticks += 1;
            asked.silent_ticks += 1;
            asked.is_let_go || asked.silent_ticks < LEAVE_FORGOTTEN_TICKS
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
        self.asked.entry(id).or_default().is_let_go = true;
    }

    pub(super) fn is_let_go(&self, id: ReplicaId) -> bool {
        self.asked.get(&id).is_some_and(|asked| asked.is_let_go)
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
            pleas.tick(commit);
            let expected = Some((commit + 1).saturating_sub(TICKS)).filter(|_| commit >= LEAVE_WAIT_TICKS);
            assert_eq!(pleas.hear(id()), expected);
        }
    }

    #[test]
    fn one_that_has_not_asked_for_long_waits_anew() {
        let mut pleas = Pleas::default();
        pleas.hear(id());
        (0..LEAVE_FORGOTTEN_TICKS - 1).for_each(|commit| pleas.tick(commit));
        assert!(pleas.hear(id()).is_some());
        (0..LEAVE_FORGOTTEN_TICKS).for_each(|commit| pleas.tick(commit));
        assert_eq!(pleas.hear(id()), None);
        pleas.tick(5);
        assert_eq!(pleas.hear(id()), None);
    }
}
