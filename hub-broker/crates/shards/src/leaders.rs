//! Who leads which group, as far as this hub knows: from its own replicas, and from what the leaders tell everyone.
//!
//! The newest term wins. A hub that goes down stays in the table until another leads: whether it can be reached is
//! the transport's to say.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use consensus::ReplicaId;
use parking_lot::RwLock;
use schemas::{NodeId, Term};
use tokio::sync::watch;

/// Who leads a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    pub node: NodeId,
    pub term: Term,
    /// It has applied an entry of its own term: it knows everything that was acknowledged, and answers.
    pub serving: bool,
}

/// What is known of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupView {
    pub leader: Option<Leader>,
    pub voters: Vec<NodeId>,
    /// The replicas that vote: a hub that has lost its disk is a voter's hub, and has the voter no more. A number of 0 is
    /// one that the leader did not tell.
    pub voting: Vec<ReplicaId>,
    pub learners: Vec<NodeId>,
    /// Voters that have, or are about to have, everything that is committed; the leader is one of them.
    pub in_sync: Vec<NodeId>,
}

/// What this hub's own replica of a group knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnView {
    pub term: u64,
    pub leader: Option<ReplicaId>,
    /// This replica leads, and has applied an entry of its own term.
    pub serving: bool,
    pub voters: Vec<ReplicaId>,
    pub learners: Vec<ReplicaId>,
    /// Only the leader knows.
    pub in_sync: Vec<ReplicaId>,
    /// Damaged files that nobody has given, of a replica that its group cannot do without.
    pub lost_files: Vec<PathBuf>,
}

/// What a leader tells of a group that it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub group: u32,
    pub term: u64,
    pub serving: bool,
    pub voters: Vec<ReplicaId>,
    pub learners: Vec<NodeId>,
    pub in_sync: Vec<NodeId>,
}

/// The table.
pub(crate) struct Leaders {
    node: NodeId,
    groups: Vec<Entry>,
    changes: watch::Sender<u64>,
}

struct Entry {
    known: RwLock<Known>,
    /// The term in which this hub serves the group; 0 while it does not.
    serving: AtomicU64,
    lost_files: RwLock<Vec<PathBuf>>,
}

#[derive(Default)]
struct Known {
    /// The newest term that was heard of.
    term: u64,
    view: GroupView,
    /// The newest term of which a leader was heard; 0: of none.
    led: u64,
    /// The leader itself said so: it knows more than a follower.
    told: bool,
}

impl Leaders {
    pub(crate) fn new(node: NodeId, groups: u32) -> Self {
        let entry =
            || Entry { known: RwLock::default(), serving: AtomicU64::new(0), lost_files: RwLock::default() };
        Self { node, groups: (0..groups).map(|_| entry()).collect(), changes: watch::Sender::new(0) }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn leader(&self, group: u32) -> Option<Leader> {
        self.entry(group)?.known.read().view.leader
    }

    /// The newest term in which somebody led the group, as far as this hub knows.
    pub(crate) fn last_led(&self, group: u32) -> Option<Term> {
        let led = self.entry(group)?.known.read().led;
        (led != 0).then_some(Term(led))
    }

    pub(crate) fn view(&self, group: u32) -> GroupView {
        self.entry(group).map(|entry| entry.known.read().view.clone()).unwrap_or_default()
    }

    /// The term in which this hub serves the group.
    pub(crate) fn serving(&self, group: u32) -> Option<Term> {
        let term = self.entry(group)?.serving.load(Ordering::Acquire);
        (term != 0).then_some(Term(term))
    }

    /// Whether this segment, or the one with this index, is damaged here and nobody gives it.
    pub(crate) fn is_lost(&self, group: u32, file: &Path) -> bool {
        let log = file.with_extension("log");
        self.entry(group).is_some_and(|entry| entry.lost_files.read().contains(&log))
    }

    /// What this hub's own replica knows has changed; `None`: there is no replica here any more.
    pub(crate) fn update(&self, group: u32, own: Option<&OwnView>) {
        let Some(entry) = self.entry(group) else { return };
        let serving = own.filter(|own| own.serving).map_or(0, |own| own.term);
        *entry.lost_files.write() = own.map(|own| own.lost_files.clone()).unwrap_or_default();
        let changed = {
            let mut known = entry.known.write();
            let served = entry.serving.swap(serving, Ordering::AcqRel) != serving;
            served | own.is_some_and(|own| known.take_own(self.node, own))
        };
        self.tell(changed);
    }

    /// What `from` says of the groups that it leads.
    pub(crate) fn hear(&self, from: NodeId, told: impl IntoIterator<Item = Told>) {
        let mut changed = false;
        for told in told {
            if let Some(entry) = self.entry(told.group) {
                changed |= entry.known.write().take_told(from, told);
            }
        }
        self.tell(changed);
    }

    /// What this hub has to tell: every group that it leads.
    pub(crate) fn led_here(&self) -> Vec<Told> {
        let told = |(group, entry): (u32, &Entry)| {
            let known = entry.known.read();
            let leader = known.view.leader.filter(|leader| leader.node == self.node)?;
            let GroupView { voting: voters, learners, in_sync, .. } = known.view.clone();
            let (term, serving) = (leader.term.0, leader.serving);
            Some(Told { group, term, serving, voters, learners, in_sync })
        };
        (0..).zip(&self.groups).filter_map(told).collect()
    }

    fn entry(&self, group: u32) -> Option<&Entry> {
        self.groups.get(usize::try_from(group).ok()?)
    }

    fn tell(&self, changed: bool) {
        if changed {
            let served = |entry: &&Entry| entry.serving.load(Ordering::Relaxed) != 0;
            metrics::gauge!("headwater_groups_served").set(self.groups.iter().filter(served).count() as f64);
            self.changes.send_modify(|count| *count += 1);
        }
    }
}

impl Known {
    /// True if anything is new.
    fn take_own(&mut self, node: NodeId, own: &OwnView) -> bool {
        if own.term < self.term {
            return false;
        }
        let heard = self.view.leader.filter(|leader| leader.term.0 == own.term && leader.node != node);
        let leads = own.leader.map(node_of);
        if self.told && heard.is_some_and(|heard| leads.is_none_or(|leads| leads == heard.node)) {
            return false;
        }
        let serving = leads == Some(node) && own.serving;
        let leader = leads.map(|node| Leader { node, term: Term(own.term), serving });
        let in_sync = match leads {
            Some(leads) if leads == node => nodes(&own.in_sync),
            _ => self.view.in_sync.clone(),
        };
        let view = GroupView {
            leader: leader.or(heard),
            voters: nodes(&own.voters),
            voting: own.voters.clone(),
            learners: nodes(&own.learners),
            in_sync,
        };
        self.replace(own.term, view, false)
    }

    fn take_told(&mut self, from: NodeId, told: Told) -> bool {
        if told.term < self.term {
            return false;
        }
        let leader = Leader { node: from, term: Term(told.term), serving: told.serving };
        let Told { voters, learners, in_sync, .. } = told;
        let view =
            GroupView { leader: Some(leader), voters: nodes(&voters), voting: voters, learners, in_sync };
        self.replace(told.term, view, true)
    }

    fn replace(&mut self, term: u64, view: GroupView, told: bool) -> bool {
        let changed = self.view != view;
        let led = if view.leader.is_some() { term } else { self.led };
        *self = Self { term, view, led, told };
        changed
    }
}

/// Each hub once, rising.
fn nodes(replicas: &[ReplicaId]) -> Vec<NodeId> {
    let mut nodes: Vec<_> = replicas.iter().copied().map(node_of).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

fn node_of(replica: ReplicaId) -> NodeId {
    NodeId(replica.node())
}

#[cfg(test)]
mod tests;
