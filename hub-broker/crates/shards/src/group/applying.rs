//! What is committed takes effect, entry by entry.

use consensus::{Committed, Event, LogEntry};
use partition_log::LogError;

use super::{Group, Standing};
use crate::answer::Refusal;
use crate::apply::{ApplyError, Applying};
use crate::entry::UnknownEntry;
use crate::outbox::Outbox;

/// Of an ordinary entry, as the protocol numbers kinds.
const ORDINARY: u8 = 0;

impl Group {
    pub(super) fn hand_out(&mut self, entries: Vec<Committed>) {
        for entry in entries {
            // Handed out before only with a fault.
            if entry.index > self.handed_out || !self.faults.apply_before_commit {
                self.handed_out = entry.index;
                self.unapplied_bytes += entry.payload.len();
                self.committed.push_back(entry);
            }
        }
    }

    /// The fault: what this leader proposes takes effect at once.
    pub(super) fn hand_out_early(&mut self, entries: &[LogEntry]) {
        for entry in entries {
            if entry.kind == ORDINARY && entry.index == self.handed_out + 1 {
                self.handed_out = entry.index;
                self.unapplied_bytes += entry.payload.len();
                self.committed.push_back(Committed {
                    index: entry.index,
                    term: entry.term,
                    payload: entry.payload.clone(),
                    token: self.waiting.newest_proposal(),
                    membership: None,
                });
            }
        }
    }

    /// Tries an entry again that could not be applied for want of room.
    pub(crate) fn resume(&mut self, outbox: &mut Outbox) {
        if self.standing != Standing::Paused {
            return;
        }
        self.standing = Standing::Running;
        self.apply_committed();
        if self.standing == Standing::Running {
            tracing::info!(group = %self.id, "the shard goes on: there is room again");
            let index = self.applied.0;
            self.step(Event::Applied { index }, outbox);
        }
    }

    /// Returns what it had to pause for, if it had to.
    pub(super) fn apply_committed(&mut self) -> Option<LogError> {
        while self.standing == Standing::Running && !self.incoming.is_switching() {
            let mut applying = self.applying.take().map_or_else(|| self.begin_next(), |it| Some(Ok(it)))?;
            let applied = match &mut applying {
                Ok(applying) => self.machine.apply(applying, self.faults.no_room),
                Err(error) => Err(ApplyError::Unknown(*error)),
            };
            match (applied, applying) {
                (Ok(()), Ok(applying)) => self.finish(applying),
                (Err(ApplyError::NoSpace(error)), Ok(applying)) => {
                    self.pause(applying);
                    return Some(error);
                }
                (Err(ApplyError::Unknown(error)), _) | (Ok(()) | Err(ApplyError::NoSpace(_)), Err(error)) => {
                    self.stop(error);
                }
            }
        }
        None
    }

    fn begin_next(&mut self) -> Option<Result<Applying, UnknownEntry>> {
        let entry = self.committed.pop_front()?;
        self.unapplied_bytes -= entry.payload.len();
        Some(Applying::begin(entry, self.last_stamp_ms, self.local_ms))
    }

    /// The entry has taken effect: says so to those who wait.
    fn finish(&mut self, mut applying: Applying) {
        self.applied = (applying.at.index, applying.at.term);
        // What this hub has stamped itself tells its clock nothing.
        if applying.token.is_none() {
            self.hear(applying.at.stamp_ms);
        }
        self.last_stamp_ms = self.last_stamp_ms.max(applying.at.stamp_ms);
        self.changed = true;
        if let Some(membership) = applying.membership() {
            tracing::debug!(group = %self.id, %membership, "the group's replicas have changed");
            self.members_changed |= !membership.is_joint();
            self.membership = membership;
            self.news += 1;
            self.count_in_sync();
        }
        self.begin_comparison();
        if let Some(token) = applying.token {
            self.waiting.applied(token, applying.outcomes);
        }
    }

    /// Another hub has given this stamp.
    pub(super) fn hear(&mut self, stamp_ms: i64) {
        if stamp_ms > self.last_stamp_ms {
            self.heard_ms = Some(stamp_ms);
        }
    }

    fn pause(&mut self, applying: Applying) {
        self.applying = Some(applying);
        self.standing = Standing::Paused;
    }

    fn stop(&mut self, error: UnknownEntry) {
        tracing::error!(group = %self.id, after = self.applied.0, %error, "the shard is stopped by an entry");
        self.standing = Standing::Stopped;
        self.waiting.refuse_all(Refusal::Stopped);
    }

    /// Forgets what was committed and is part of a snapshot that has taken the state's place.
    pub(super) fn forget_committed(&mut self, through: u64) {
        self.applying = None;
        self.committed.retain(|entry| entry.index > through);
        self.unapplied_bytes = self.committed.iter().map(|entry| entry.payload.len()).sum();
        self.handed_out = self.handed_out.max(through);
        if self.standing == Standing::Paused {
            self.standing = Standing::Running;
        }
    }
}
