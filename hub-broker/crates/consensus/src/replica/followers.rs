//! What a leader does for those who follow it beyond sending entries: snapshots, and the part of the log that stays in
//! memory for them.

use std::collections::{BTreeMap, BTreeSet};

use raft::eraftpb::Message;
use raft::{ProgressState, SnapshotStatus, StateRole};

use super::Replica;
use crate::budget::Share;
use crate::tail::Keep;
use crate::{Action, PeerMessage, ReplicaConfig, ReplicaId, SnapshotMark};

/// Ticks before a follower that could not take one snapshot is offered another.
const REST_AFTER_FAILURE: u64 = 4;
const FAILURE_DOUBLINGS_MAX: u32 = 8;

pub(super) struct Followers {
    repeat_ticks: u64,
    patience_ticks: u64,
    /// When this replica became what it is; until it hears otherwise, everyone was heard of then.
    since: u64,
    heard: BTreeMap<ReplicaId, u64>,
    /// Followers for whom a checkpoint was asked for.
    asked: BTreeMap<ReplicaId, Asked>,
    /// Followers that could not take a snapshot: when last, and how often in a row.
    failed: BTreeMap<ReplicaId, (u64, u32)>,
    /// Snapshots that followers have not come back with yet.
    offers: BTreeMap<ReplicaId, Offer>,
    /// Followers that needed a snapshot and have not come up since.
    catching_up: BTreeSet<ReplicaId>,
    /// What may be kept for them beyond the usual, and what is.
    share_bytes_max: usize,
    share: Share,
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
            failed: BTreeMap::new(),
            offers: BTreeMap::new(),
            catching_up: BTreeSet::new(),
            share_bytes_max: config.tail_bytes_catching_up_max.saturating_sub(config.tail_bytes_max),
            share: Share::new(config.tail_budget.clone()),
            last_entries: 0,
        }
    }

    pub(super) fn forget_all(&mut self, now: u64) {
        self.since = now;
        self.heard.clear();
        self.asked.clear();
        self.failed.clear();
        self.offers.clear();
        self.catching_up.clear();
    }

    pub(super) fn offered(&mut self, message: Message) {
        let offer = Offer { waited_ticks: 0, lost: false, message };
        let to = ReplicaId(offer.message.to);
        self.offers.insert(to, offer);
        self.catching_up.insert(to);
    }

    fn is_waited_for(&self, id: ReplicaId, now: u64) -> bool {
        self.silent_ticks(id, now) <= self.patience_ticks
    }

    /// For how long it was not heard of.
    pub(super) fn silent_ticks(&self, id: ReplicaId, now: u64) -> u64 {
        now - self.heard.get(&id).unwrap_or(&self.since)
    }

    /// One that could not take a snapshot, for lack of room perhaps, is not offered the next at once, and each time less
    /// soon: every offer costs a checkpoint.
    fn rests(&self, id: ReplicaId, now: u64) -> bool {
        self.failed.get(&id).is_some_and(|(at, times)| {
            let rest = (REST_AFTER_FAILURE << times.min(&FAILURE_DOUBLINGS_MAX)).min(self.repeat_ticks);
            now - at < rest
        })
    }

    fn note_failure(&mut self, id: ReplicaId, now: u64) {
        let failed = self.failed.entry(id).or_insert((now, 0));
        *failed = (now, failed.1.saturating_add(1));
    }

    /// The entry that the checkpoint holds which was asked for on its account.
    pub(super) fn asked_after(&self, id: ReplicaId) -> Option<u64> {
        self.asked.get(&id).map(|asked| asked.applied)
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
            if self.followers.rests(to, now) {
                continue;
            }
            if asked.is_none_or(|asked| now - asked.at >= self.followers.repeat_ticks) {
                self.followers.catching_up.insert(to);
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
                self.followers.note_failure(to, self.now);
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
        let is_alone = self.node.raft.prs().iter().len() <= 1;
        let keep = match is_alone {
            true => Keep { wanted_from: None, wanted_bytes_max: 0, idle_bytes_max: 0 },
            false => {
                let wanted_bytes_max = self.keep.wanted_bytes_max + self.share_for_catching_up();
                Keep { wanted_from: self.wanted_from(), wanted_bytes_max, ..self.keep }
            }
        };
        let applied = self.node.raft.raft_log.applied;
        self.node.mut_store().compact(applied, keep);
        let used = if is_alone { 0 } else { self.bytes_beyond_the_usual() };
        self.followers
            .share
            .resize(used.min(keep.wanted_bytes_max.saturating_sub(self.keep.wanted_bytes_max)));
    }

    fn bytes_beyond_the_usual(&self) -> usize {
        self.node.store().bytes().saturating_sub(self.keep.wanted_bytes_max)
    }

    /// Bytes that may be kept beyond the usual for followers with a snapshot.
    fn share_for_catching_up(&mut self) -> usize {
        let beyond = self.bytes_beyond_the_usual();
        let (raft, now) = (&self.node.raft, self.now);
        // Where the usual is enough, whoever is sent entries again has come up.
        let has_come_up = |it: &raft::Progress| beyond == 0 && it.state == ProgressState::Replicate;
        let mut catching_up = std::mem::take(&mut self.followers.catching_up);
        catching_up.retain(|id| raft.prs().get(id.0).is_some_and(|it| !has_come_up(it)));
        self.followers.failed.retain(|id, _| catching_up.contains(id));
        let is_wanted = catching_up.iter().any(|id| self.followers.is_waited_for(*id, now));
        self.followers.catching_up = catching_up;
        let bytes = if is_wanted { beyond.min(self.followers.share_bytes_max) } else { 0 };
        self.followers.share.resize(bytes)
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
