//! What a leader does for those who follow it beyond sending entries: snapshots, and the part of the log that stays in
//! memory for them.

use std::collections::{BTreeMap, BTreeSet};

use raft::eraftpb::Message;
use raft::{ProgressState, SnapshotStatus, StateRole};

use super::Replica;
use crate::tail::Keep;
use crate::{Action, PeerMessage, ReplicaConfig, ReplicaId, SnapshotMark};

pub(super) struct Followers {
    repeat_ticks: u64,
    patience_ticks: u64,
    /// When this replica became what it is; until it hears otherwise, everyone was heard of then.
    since: u64,
    heard: BTreeMap<ReplicaId, u64>,
    /// Followers for whom a checkpoint was asked for.
    asked: BTreeMap<ReplicaId, Asked>,
    /// Snapshots that followers have not come back with yet.
    offers: BTreeMap<ReplicaId, Offer>,
    /// When entries last became durable.
    last_entries: u64,
}

struct Asked {
    at: u64,
    /// The checkpoint will be of this entry or a later one.
    applied: u64,
}

struct Offer {
    message: Message,
    waited_ticks: u64,
    /// The message has probably not arrived.
    lost: bool,
}

impl Followers {
    pub(super) fn new(config: &ReplicaConfig) -> Self {
        Self {
            repeat_ticks: config.snapshot_repeat_ticks,
            patience_ticks: config.follower_patience_ticks,
            since: 0,
            heard: BTreeMap::new(),
            asked: BTreeMap::new(),
            offers: BTreeMap::new(),
            last_entries: 0,
        }
    }

    pub(super) fn forget_all(&mut self, now: u64) {
        self.since = now;
        self.heard.clear();
        self.asked.clear();
        self.offers.clear();
    }

    pub(super) fn offered(&mut self, message: Message) {
        let offer = Offer { waited_ticks: 0, lost: false, message };
        self.offers.insert(ReplicaId(offer.message.to), offer);
    }

    fn is_waited_for(&self, id: ReplicaId, now: u64) -> bool {
        now - self.heard.get(&id).unwrap_or(&self.since) <= self.patience_ticks
    }
}

impl Replica {
    /// A snapshot that the replica has no use for is answered at once; any other one has to be copied first.
    pub(super) fn snapshot_offered(&mut self, message: Message, actions: &mut Vec<Action>) {
        if self.readies.installs_snapshot() {
            return;
        }
        let mark = SnapshotMark::from_raft(message.get_snapshot());
        let log = &self.node.raft.raft_log;
        let outdated = message.term < self.node.raft.term || self.is_leader();
        if outdated || mark.index <= log.committed || log.match_term(mark.index, mark.term) {
            return self.hand_in(message);
        }
        actions.push(Action::WantSnapshot {
            from: ReplicaId(message.from),
            index: mark.index,
            term: mark.term,
            message: PeerMessage(message),
        });
    }

    /// The message is as old as the copying took, so that it is looked at once more.
    pub(super) fn snapshot_copied(&mut self, message: Message) {
        if self.is_fit(&message) && !self.readies.installs_snapshot() {
            self.hand_in(message);
        }
    }

    /// Asks for a checkpoint for those whom raft-rs found none for.
    pub(super) fn need_snapshots(&mut self, actions: &mut Vec<Action>) {
        let wanted = self.node.mut_store().take_wanted();
        if !self.is_leader() {
            return;
        }
        let (now, applied) = (self.now, self.node.raft.raft_log.applied);
        for to in wanted {
            let asked = self.followers.asked.get(&to);
            if asked.is_none_or(|asked| now - asked.at >= self.followers.repeat_ticks) {
                self.followers.asked.insert(to, Asked { at: now, applied });
                actions.push(Action::NeedSnapshot { to });
            }
        }
    }

    pub(super) fn snapshot_ready(&mut self, mark: SnapshotMark) {
        let waiting: BTreeSet<_> = std::mem::take(&mut self.followers.asked).into_keys().collect();
        self.node.mut_store().offer(mark, waiting.clone());
        for to in waiting {
            if self.is_leader() && self.node.raft.prs().get(to.0).is_some() {
                self.node.raft.send_append(to.0);
            }
        }
    }

    pub(super) fn snapshot_sent(&mut self, to: ReplicaId, ok: bool) {
        match self.followers.offers.get_mut(&to) {
            Some(offer) if ok => offer.waited_ticks = 0,
            Some(_) => {
                self.followers.offers.remove(&to);
                // What could not be copied may be gone.
                self.node.mut_store().withdraw();
                self.node.report_snapshot(to.0, SnapshotStatus::Failure);
            }
            None => {}
        }
    }

    pub(super) fn unreachable(&mut self, replica: ReplicaId) {
        if let Some(offer) = self.followers.offers.get_mut(&replica) {
            offer.lost = true;
        }
        self.node.report_unreachable(replica.0);
    }

    pub(super) fn heard_of(&mut self, id: ReplicaId, actions: &mut Vec<Action>) {
        self.followers.heard.insert(id, self.now);
        if let Some(offer) = self.followers.offers.get_mut(&id).filter(|offer| offer.lost) {
            (offer.lost, offer.waited_ticks) = (false, 0);
            actions.push(Action::Send(PeerMessage(offer.message.clone())));
        }
    }

    /// raft-rs waits for ever for a follower with a snapshot, even where the offer or its answer was lost.
    pub(super) fn repeat_offers(&mut self, actions: &mut Vec<Action>) {
        let (raft, followers) = (&self.node.raft, &mut self.followers);
        followers.offers.retain(|to, offer| {
            let progress = raft.prs().get(to.0);
            let index = offer.message.get_snapshot().get_metadata().index;
            progress.is_some_and(|it| it.state == ProgressState::Snapshot && it.pending_snapshot == index)
        });
        for offer in followers.offers.values_mut() {
            offer.waited_ticks += 1;
            if offer.waited_ticks.is_multiple_of(followers.repeat_ticks) {
                actions.push(Action::Send(PeerMessage(offer.message.clone())));
            }
        }
    }

    pub(super) fn note_entries(&mut self) {
        self.followers.last_entries = self.now;
    }

    pub(super) fn compact(&mut self) {
        let keep = match self.node.raft.prs().iter().len() {
            0 | 1 => Keep { wanted_from: None, wanted_bytes_max: 0, idle_bytes_max: 0 },
            _ => Keep { wanted_from: self.wanted_from(), ..self.keep },
        };
        let applied = self.node.raft.raft_log.applied;
        self.node.mut_store().compact(applied, keep);
    }

    /// The first entry that a follower may still be sent. Who follows does not know what the others have, and may lead
    /// them in a moment: while there is something to do, it keeps all it may.
    fn wanted_from(&self) -> Option<u64> {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader {
            let quiet_ticks = 2 * raft.election_timeout() as u64;
            return (self.now - self.followers.last_entries < quiet_ticks).then_some(0);
        }
        let first = self.node.store().first();
        let wanted = |(id, progress): (&u64, &raft::Progress)| {
            let id = ReplicaId(*id);
            if id.0 == raft.id || !self.followers.is_waited_for(id, self.now) {
                return None;
            }
            let next = progress.matched.max(progress.pending_snapshot) + 1;
            match self.followers.asked.get(&id) {
                Some(asked) if next < first => Some(asked.applied + 1),
                // A new leader does not know yet where this one's log ends.
                None if next == 1 => Some(first),
                _ => Some(next).filter(|next| *next >= first),
            }
        };
        raft.prs().iter().filter_map(wanted).min()
    }
}
