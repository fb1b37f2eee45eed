//! What a group's leader does next so that the group becomes what the catalog says: a pure function.
//!
//! ```text
//!  record             replica                          step
//!  none               in the group                     removed (a number that was given up)
//!  there              not in the group                 added as a learner
//!  there, to vote     learner, caught up               promoted
//!  there, not to vote voter, and all others vote       removed, to come back as a learner
//!  not joined         as it is to be                   ReplicaJoined
//!  leaving            in the group                     removed
//!  leaving            not in the group                 RemoveReplica, once most voters have applied that
//! ```
//!
//! The leader hands over before it goes itself, and to the preferred leader once all this is done. Every step may be
//! repeated: the next look at the group finds what is left.

use std::collections::BTreeSet;

use consensus::{Membership, MembershipChange, Progress, ProgressState, ReplicaId};
use schemas::NodeId;

use crate::limits::CAUGHT_UP_ENTRIES;
use crate::replica::ReplicaRecord;
use crate::view::View;

/// What the catalog wants of a group.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) records: Vec<ReplicaRecord>,
    /// Numbers of those that are to vote.
    pub(crate) voters: BTreeSet<u32>,
    /// Those that may lead, the preferred one first.
    pub(crate) leaders: Vec<ReplicaRecord>,
    /// The catalog knows of the replica numbers below this.
    pub(crate) next_replica: u32,
    /// Hubs that have been connected for a while.
    pub(crate) steady: BTreeSet<NodeId>,
}

/// A group as its leader here sees it.
#[derive(Clone, Debug)]
pub(crate) struct Led {
    pub(crate) own: ReplicaId,
    pub(crate) membership: Membership,
    pub(crate) commit: u64,
    pub(crate) progress: Vec<Progress>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Change(MembershipChange),
    Transfer(ReplicaId),
    /// The catalog is told that the replica has joined.
    Joined(u32),
    /// The catalog is told that the replica is gone.
    Removed(u32),
}

impl Wish {
    pub(crate) fn of(view: &View, group: u32, steady: &BTreeSet<NodeId>) -> Self {
        Self {
            records: view.replicas(group).to_vec(),
            voters: view.voters(group),
            leaders: view.leaders(group),
            next_replica: view.next_replica,
            steady: steady.clone(),
        }
    }

    fn record(&self, id: ReplicaId) -> Option<&ReplicaRecord> {
        self.records.iter().find(|record| record.id() == id)
    }

    /// A catalog that has never heard of a replica is too old to say anything about it.
    fn knows(&self, membership: &Membership) -> bool {
        !self.records.is_empty() && membership.replicas().iter().all(|id| id.number() < self.next_replica)
    }

    fn votes(&self, record: &ReplicaRecord) -> bool {
        self.voters.contains(&record.number)
    }
}

impl Led {
    fn progress(&self, id: ReplicaId) -> Option<&Progress> {
        self.progress.iter().find(|progress| progress.id == id)
    }

    fn is_active(&self, id: ReplicaId) -> bool {
        id == self.own || self.progress(id).is_some_and(|progress| progress.recently_active)
    }

    fn is_caught_up(&self, id: ReplicaId) -> bool {
        let is_close = |progress: &Progress| {
            progress.state == ProgressState::Replicate
                && progress.recently_active
                && progress.matched.saturating_add(CAUGHT_UP_ENTRIES) >= self.commit
        };
        id == self.own || self.progress(id).is_some_and(is_close)
    }

    fn is_voter(&self, id: ReplicaId) -> bool {
        self.membership.voters.contains(&id)
    }

    fn is_learner(&self, id: ReplicaId) -> bool {
        self.membership.learners.contains(&id)
    }

    /// Whether the voters that remain can go on.
    fn goes_on_without(&self, gone: &[ReplicaId]) -> bool {
        let remaining: Vec<_> = self.membership.voters.iter().filter(|id| !gone.contains(id)).collect();
        remaining.iter().filter(|id| self.is_active(***id)).count() * 2 > remaining.len()
    }
}

/// The next step, if one is due and possible.
pub(crate) fn next_step(wish: &Wish, led: &Led) -> Option<Step> {
    if led.membership.is_joint() || !wish.knows(&led.membership) {
        return None;
    }
    told(wish, led)
        .or_else(|| let_go(wish, led, |record| record.is_none()))
        .or_else(|| add(wish, led))
        .or_else(|| promote(wish, led))
        .or_else(|| let_go(wish, led, |record| record.is_some_and(|record| record.leaving)))
        .or_else(|| demote(wish, led))
        .or_else(|| hand_back(wish, led))
}

/// What the catalog does not know yet.
fn told(wish: &Wish, led: &Led) -> Option<Step> {
    wish.records.iter().find_map(|record| {
        let id = record.id();
        if record.leaving {
            return (!led.membership.contains(id)).then_some(Step::Removed(record.number));
        }
        let is_in = if wish.votes(record) { led.is_voter(id) } else { led.is_learner(id) };
        (!record.joined && is_in && led.is_caught_up(id)).then_some(Step::Joined(record.number))
    })
}

/// Those of whom `is_to_go` says so; this leader itself hands over instead.
fn let_go(wish: &Wish, led: &Led, is_to_go: impl Fn(Option<&ReplicaRecord>) -> bool) -> Option<Step> {
    let going: Vec<_> =
        led.membership.replicas().into_iter().filter(|id| is_to_go(wish.record(*id))).collect();
    remove(wish, led, going)
}

fn remove(wish: &Wish, led: &Led, mut going: Vec<ReplicaId>) -> Option<Step> {
    if going.contains(&led.own) {
        if let Some(heir) = heir(wish, led) {
            return Some(Step::Transfer(heir));
        }
        going.retain(|id| *id != led.own);
    }
    if going.is_empty() || !led.goes_on_without(&going) {
        return None;
    }
    Some(Step::Change(MembershipChange { remove: going, ..MembershipChange::default() }))
}

/// Whoever can lead at once, the preferred one first.
fn heir(wish: &Wish, led: &Led) -> Option<ReplicaId> {
    let can = |id: &ReplicaId| *id != led.own && led.is_voter(*id) && led.is_caught_up(*id);
    wish.leaders.iter().map(ReplicaRecord::id).find(can)
}

fn add(wish: &Wish, led: &Led) -> Option<Step> {
    let is_missing = |record: &&ReplicaRecord| !record.leaving && !led.membership.contains(record.id());
    let missing: Vec<_> = wish.records.iter().filter(is_missing).map(ReplicaRecord::id).collect();
    (!missing.is_empty())
        .then(|| Step::Change(MembershipChange { add_learners: missing, ..MembershipChange::default() }))
}

fn promote(wish: &Wish, led: &Led) -> Option<Step> {
    let is_ready = |record: &&ReplicaRecord| {
        let id = record.id();
        !record.leaving && wish.votes(record) && led.is_learner(id) && led.is_caught_up(id)
    };
    let ready: Vec<_> = wish.records.iter().filter(is_ready).map(ReplicaRecord::id).collect();
    (!ready.is_empty())
        .then(|| Step::Change(MembershipChange { promote: ready, ..MembershipChange::default() }))
}

/// Those that are no longer to vote come back as learners: their data stays where it is.
fn demote(wish: &Wish, led: &Led) -> Option<Step> {
    let staying = || wish.records.iter().filter(|record| !record.leaving);
    let are_in = staying().filter(|record| wish.votes(record)).all(|record| led.is_voter(record.id()));
    let surplus = staying().filter(|record| !wish.votes(record) && led.is_voter(record.id()));
    let surplus: Vec<_> = surplus.map(ReplicaRecord::id).collect();
    if are_in { remove(wish, led, surplus) } else { None }
}

fn hand_back(wish: &Wish, led: &Led) -> Option<Step> {
    let preferred = wish.leaders.first()?;
    let id = preferred.id();
    let can_lead = led.is_voter(id) && led.is_caught_up(id) && wish.steady.contains(&preferred.node);
    (id != led.own && can_lead).then_some(Step::Transfer(id))
}

#[cfg(test)]
mod tests;
