//! Snapshots between simulated hubs: what is asked of the other hub is answered on the spot.

use bytes::Bytes;
use consensus::{ReplicaId, SnapshotMark};
use partition_log::Verified;

use super::hub::Hub;
use crate::message::Message;
use crate::snapshot::format::{Close, OPEN, Open, READ, Read, Refusal, closed};
use crate::snapshot::{Ask, FetchError, Offer, Target, Wanted, copy, watched};

/// A snapshot that a hub wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotWanted(pub(super) Wanted);

impl SnapshotWanted {
    pub fn group(&self) -> u32 {
        self.0.group
    }

    /// The leader's replica, from which it is to be copied.
    pub fn from(&self) -> ReplicaId {
        self.0.from
    }
}

impl Hub {
    /// The snapshots that the hub waits for.
    pub fn snapshots_wanted(&self) -> &[SnapshotWanted] {
        &self.wanted
    }

    /// Copies what is wanted from the leader's hub, or gives it up where that cannot be reached. The files of both are
    /// in their directories; the copy itself takes no time. True where damage has come with it.
    pub fn copy_snapshot(&mut self, wanted: SnapshotWanted, from: Option<&mut Self>) -> bool {
        self.wanted.retain(|it| *it != wanted);
        let SnapshotWanted(wanted) = wanted;
        let reserve_bytes = if self.is_full { u64::MAX / 2 } else { 0 };
        let files = watched(&self.ground.files, wanted.group, wanted.to.number(), &self.ground.tell);
        let checkpoints = self.stores[wanted.group as usize].dir();
        let (log, verified) = (&self.ground.log, &Verified::default());
        let target = Target { log, files: &files, checkpoints, reserve_bytes, verified };
        let outcome = match from {
            Some(other) => copy(&wanted, &target, &mut Other(other)),
            None => Err(FetchError::Cancelled),
        };
        self.durable.copied(&self.ground.log, wanted.generation);
        let is_damaged = outcome.as_ref().is_ok_and(|arrived| !arrived.damaged.is_empty());
        let (slot, outcome) = (wanted.group as usize, Box::new(outcome));
        self.core.handle(Message::SnapshotArrived { slot, wanted, outcome });
        is_damaged
    }

    /// Switches in what has arrived. Where there is no room, the old state stands and it is tried again.
    pub(super) fn install(&mut self) {
        for install in std::mem::take(&mut self.installs) {
            match self.stores[install.group as usize].install(&install) {
                Ok(()) => {
                    let id = wal::GroupId(install.group);
                    self.write_ahead.wal.release(id, install.arrived.position.applied);
                    self.write_ahead.wal.forget_entries(id);
                    let (slot, arrived) = (install.group as usize, Box::new(install.arrived));
                    self.core.handle(Message::SnapshotInstalled { slot, arrived });
                }
                Err(error) if error.is_no_space() => self.installs.push(install),
                Err(error) => crate::fail::stop("a snapshot could not be installed", &error),
            }
        }
    }

    /// A checkpoint that replicas of other hubs may copy.
    pub(super) fn offer_snapshot(&mut self, group: u32) -> Option<SnapshotMark> {
        let (position, state, damaged) = self.write_checkpoint(group, true)?;
        let stored = &self.stores[group as usize];
        let states = stored.newest().ok()??.states;
        let mark = SnapshotMark {
            index: position.applied,
            term: position.term,
            membership: state.membership.clone(),
        };
        let offer = Offer { group, position, state, states, damaged, pin: stored.pin() };
        let now = self.now();
        self.shelf.offer(offer, now);
        Some(mark)
    }
}

/// The hub that is copied from.
struct Other<'a>(&'a mut Hub);

impl Ask for Other<'_> {
    fn ask(&mut self, kind: u8, body: Bytes) -> Result<Bytes, FetchError> {
        let hub = &mut *self.0;
        hub.answer(kind, &body).map_err(FetchError::Refused)
    }

    fn pause(&mut self, _bytes: u64, _sender_is_slow: bool) -> Result<(), FetchError> {
        Ok(())
    }
}

impl Hub {
    fn answer(&mut self, kind: u8, body: &[u8]) -> Result<Bytes, Refusal> {
        let now = self.now();
        match kind {
            OPEN => {
                let open = Open::decode(body).ok_or(Refusal::Malformed)?;
                Ok(self.shelf.open(open, now)?.encode())
            }
            READ => {
                let read = Read::decode(body).ok_or(Refusal::Malformed)?;
                Ok(self.shelf.read(&read, false, now)?.encode())
            }
            _ => {
                let close = Close::decode(body).ok_or(Refusal::Malformed)?;
                self.shelf.close(close).into_iter().for_each(|notice| self.hear(notice));
                Ok(closed())
            }
        }
    }
}
