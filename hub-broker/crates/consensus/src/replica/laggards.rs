//! Followers whose next entries are not in memory any more: those are read back, a little at a time.

use std::collections::{BTreeMap, BTreeSet};

use raft::{Progress, ProgressState};

use super::Replica;
use crate::read_back::ReadBack;
use crate::{Action, LogEntry, ReplicaConfig, ReplicaId};

pub(super) struct Laggards {
    bytes_max: u64,
    patience_ticks: u64,
    /// The entries from here on are being read back.
    reading: Option<u64>,
    /// When entries were last read back.
    last_read: u64,
    /// Where followers wait for entries.
    wanted: BTreeSet<u64>,
    sent: BTreeMap<ReplicaId, Sent>,
}

/// What a follower was sent of what was read back.
struct Sent {
    at: u64,
    /// The last entry of the last piece but one, and of the last one.
    ends: [u64; 2],
}

impl Laggards {
    pub(super) fn new(config: &ReplicaConfig) -> Self {
        Self {
            bytes_max: config.read_bytes_max,
            patience_ticks: config.log_patience_ticks,
            reading: None,
            last_read: 0,
            wanted: BTreeSet::new(),
            sent: BTreeMap::new(),
        }
    }

    pub(super) fn can_read(&self) -> bool {
        self.bytes_max > 0
    }

    /// What is being read is answered in any case.
    pub(super) fn forget_all(&mut self) {
        self.wanted.clear();
        self.sent.clear();
    }

    /// A follower may be sent another piece if it has answered the last but one, fell back behind that, or its answers
    /// have not come for a while: then they are perhaps lost, and another piece brings another.
    fn may_have(&self, id: ReplicaId, from: u64, matched: u64, at_or_before: u64) -> bool {
        self.sent.get(&id).is_none_or(|Sent { at, ends: [before, last] }| {
            matched >= *before || from <= *last || *at <= at_or_before
        })
    }

    fn note_sent(&mut self, id: ReplicaId, from: u64, last: u64, at: u64) {
        let before = self.sent.get(&id).map_or(0, |sent| sent.ends[1]);
        self.sent.insert(id, Sent { at, ends: [if before < from { before } else { 0 }, last] });
    }
}

impl Replica {
    /// Asks for what followers wait for and is not in memory.
    pub(super) fn read_for_laggards(&mut self, actions: &mut Vec<Action>) {
        let missed = self.node.mut_store().take_missed();
        if !self.is_leader() {
            return;
        }
        self.laggards.wanted.extend(missed);
        let long_ago = self.now.saturating_sub(self.node.raft.election_timeout() as u64);
        while self.laggards.reading.is_none()
            && let Some(from) = self.laggards.wanted.pop_first()
        {
            let through = self.node.store().first() - 1;
            if from <= through
                && self
                    .waiting_at(from)
                    .any(|(id, it)| self.laggards.may_have(id, from, it.matched, long_ago))
            {
                self.laggards.reading = Some(from);
                actions.push(Action::ReadEntries { from, through, bytes_max: self.laggards.bytes_max });
            }
        }
    }

    /// The followers of this leader that are to be sent this entry next, and can be.
    fn waiting_at(&self, from: u64) -> impl Iterator<Item = (ReplicaId, &Progress)> {
        let (own, leads) = (self.node.raft.id, self.is_leader());
        self.node.raft.prs().iter().filter_map(move |(id, progress)| {
            let waits = leads
                && *id != own
                && progress.next_idx == from
                && progress.recent_active
                && !progress.is_paused();
            waits.then_some((ReplicaId(*id), progress))
        })
    }

    pub(super) fn entries_read(&mut self, from: u64, before_term: u64, entries: Vec<LogEntry>) {
        let Some(read) = ReadBack::new(from, before_term, entries) else {
            return self.misread(from);
        };
        let last = read.last();
        if !self.node.mut_store().take_back(read) {
            return self.misread(from);
        }
        self.end_reading(from);
        let waiting: Vec<_> = self.waiting_at(from).map(|(id, _)| id).collect();
        for id in waiting {
            self.laggards.note_sent(id, from, last, self.now);
            self.node.raft.send_append(id.0);
            let progress = self.node.raft.prs().get(id.0);
            // The next piece is read while this one is on its way.
            let next = progress.filter(|it| it.state == ProgressState::Replicate).map(|it| it.next_idx);
            self.laggards.wanted.extend(next.filter(|next| *next > from));
        }
    }

    /// What was read cannot have been a part of this log.
    fn misread(&mut self, from: u64) {
        tracing::error!(from, "what was read back of the log does not fit: followers get a snapshot instead");
        self.entries_gone(from);
    }

    /// raft-rs finds out that the entry is not to be had and goes over to a snapshot.
    pub(super) fn entries_gone(&mut self, from: u64) {
        self.end_reading(from);
        self.node.mut_store().end_reach(from);
        let waiting: Vec<_> = self.waiting_at(from).map(|(id, _)| id).collect();
        for id in waiting {
            self.node.raft.send_append(id.0);
        }
    }

    fn end_reading(&mut self, from: u64) {
        self.laggards.last_read = self.now;
        if self.laggards.reading == Some(from) {
            self.laggards.reading = None;
        }
    }

    /// What nobody has asked for in a while takes no memory.
    pub(super) fn forget_what_was_read(&mut self) {
        let quiet_ticks = 2 * self.node.raft.election_timeout() as u64;
        if self.laggards.reading.is_none() && self.now - self.laggards.last_read == quiet_ticks {
            self.node.mut_store().forget_read();
        }
    }

    /// The last entry that a follower who is behind is known to have: the log is to be kept from there on, if there is
    /// room, for what follows is sent with that one's term. `None`: nobody is behind, or this replica does not lead.
    pub fn log_wanted_from(&self) -> Option<u64> {
        if !self.is_leader() || !self.laggards.can_read() {
            return None;
        }
        let raft = &self.node.raft;
        let followers = raft.prs().iter().filter(|(id, _)| **id != raft.id);
        followers.filter_map(|(id, progress)| self.wanted_by(ReplicaId(*id), progress)).min()
    }

    fn wanted_by(&self, id: ReplicaId, progress: &Progress) -> Option<u64> {
        let silent_ticks = self.followers.silent_ticks(id, self.now);
        if silent_ticks > self.laggards.patience_ticks {
            return None;
        }
        let has = progress.matched.max(progress.pending_snapshot);
        if has == 0 {
            // A new leader does not know yet where this one's log ends.
            return Some(self.followers.asked_after(id).unwrap_or(1));
        }
        let is_behind = match progress.state {
            ProgressState::Snapshot => true,
            // Its connection may just have broken.
            ProgressState::Probe => has < self.last_index(),
            ProgressState::Replicate => has + 1 < self.node.store().first(),
        };
        let is_away = silent_ticks > 2 * self.node.raft.election_timeout() as u64;
        (is_behind || is_away).then_some(has)
    }
}
