//! Checkpoints, in the background: sync what the groups have written, write their states, let the WAL go.
//!
//! The groups are captured and written one after another, so the executors only ever stop for one group's capture
//! and the disk is never asked to take everything at once.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use checkpoint::Position;
use consensus::SnapshotMark;
use partition_log::DirtyFile;
use wal::{GroupId, Wal};

use crate::capture::Captured;
use crate::clock::{Anchor, Reading, boot_id};
use crate::executor::{Message, Place};
use crate::group_state::GroupState;
use crate::inbox::Inbox;
use crate::order::{self, Install, Order};
use crate::shared::Shared;
use crate::snapshot::{Offer, Snapshots};
use crate::stored_group::StoredGroup;

/// Pause between attempts to install a snapshot while the disk is full.
const INSTALL_RETRY: Duration = Duration::from_millis(500);

pub(crate) struct Checkpointer {
    pub groups: Vec<StoredGroup>,
    pub executors: Vec<Inbox<Message>>,
    pub wal: Wal,
    pub shared: Arc<Shared>,
    pub orders: Receiver<Order>,
    pub interval: Duration,
    pub clock_file: PathBuf,
    /// Whether files are synced: always, but in the control runs of the power-cut tests.
    pub sync: bool,
    /// Where checkpoints go that other replicas shall copy.
    pub snapshots: Snapshots,
    /// Snapshots that wait for room on the disk.
    pub installs: VecDeque<Box<Install>>,
}

/// A checkpoint that is durable.
struct Written {
    position: Position,
    state: GroupState,
    /// Files of its segments that nobody is known to have whole.
    damaged: Vec<PathBuf>,
}

impl Checkpointer {
    pub(crate) fn run(mut self) {
        let mut due = Instant::now() + self.interval;
        loop {
            let retry = (!self.installs.is_empty()).then(|| Instant::now() + INSTALL_RETRY);
            let wake = retry.map_or(due, |retry| retry.min(due));
            match self.orders.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Order::Finish(reply)) => {
                    self.checkpoint();
                    // Whoever stops the hub waits for this.
                    let _ = reply.send(());
                    return;
                }
                Ok(Order::Checkpoint { group, reply }) => reply(self.snapshot(group)),
                Ok(Order::Soon { group }) => drop(self.checkpoint_group(group as usize, false)),
                Ok(Order::Install(install)) => self.installs.push_back(install),
                Ok(Order::NoteDamage { group, generation, damage }) => {
                    self.groups[group as usize].note_damage(generation, *damage);
                }
                Ok(Order::Destroy { group, directories, reply }) => self.destroy(group, directories, reply),
                Ok(Order::Due) => due = Instant::now(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.install();
            if Instant::now() >= due {
                self.checkpoint();
                due = Instant::now() + self.interval;
            }
        }
    }

    fn checkpoint(&mut self) {
        let begun = Instant::now();
        self.shared.wal_bytes.store(0, Ordering::Relaxed);
        let mut written = 0;
        for group in 0..self.groups.len() {
            self.groups[group].clear_away();
            self.groups[group].write_damage();
            let force = !self.groups[group].is_settled();
            written += usize::from(self.checkpoint_group(group, force).is_some());
        }
        if written > 0 {
            self.write_anchor();
            tracing::debug!(groups = written, took = ?begun.elapsed(), "checkpoint");
            metrics::histogram!("headwater_checkpoint_seconds").record(begun.elapsed().as_secs_f64());
        }
    }

    /// Returns what was made durable.
    fn checkpoint_group(&mut self, group: usize, force: bool) -> Option<Written> {
        let id = number(group);
        let place = Place::of(id, self.executors.len());
        let (reply, captured) = sync_channel(1);
        self.executors[place.executor].push(Message::Capture { slot: place.slot, force, reply });
        // An executor that has stopped drops the message, and with it the sender.
        let captured = captured.recv().ok()??;
        self.sync(&captured.dirty);
        let (position, state) = (captured.position, captured.group.clone());
        let damaged = captured.damaged.clone();
        let release_through = self.store(group, captured)?;
        self.wal.release(GroupId(id), release_through);
        Some(Written { position, state, damaged })
    }

    /// A checkpoint that replicas of other hubs may copy.
    fn snapshot(&mut self, group: u32) -> Option<SnapshotMark> {
        let Written { position, state, damaged } = self.checkpoint_group(group as usize, true)?;
        let stored = &self.groups[group as usize];
        let states = match stored.newest() {
            Ok(newest) => newest?.states,
            Err(error) => {
                tracing::error!(group, %error, "a checkpoint cannot be read back for others to copy");
                return None;
            }
        };
        let mark = SnapshotMark {
            index: position.applied,
            term: position.term,
            membership: state.membership.clone(),
        };
        self.snapshots.offer(Offer { group, position, state, states, damaged, pin: stored.pin() });
        Some(mark)
    }

    /// Switches in what has arrived. Where there is no room, the old state stands and it is tried again.
    fn install(&mut self) {
        while let Some(install) = self.installs.pop_front() {
            let group = install.group;
            match self.groups[group as usize].install(&install) {
                Ok(()) => self.installed(*install),
                Err(error) if error.is_no_space() => {
                    tracing::warn!(group, %error, "a snapshot waits for room");
                    return self.installs.push_front(install);
                }
                // The protocol counts on the snapshot already.
                Err(error) => crate::fail::stop("a snapshot could not be installed", &error),
            }
        }
    }

    fn installed(&self, install: Install) {
        let Install { group, arrived, reply, .. } = install;
        self.wal.release(GroupId(group), arrived.position.applied);
        self.wal.forget_entries(GroupId(group));
        let Position { applied, term, .. } = arrived.position;
        tracing::debug!(group, applied, term, generation = arrived.generation, "a snapshot is installed");
        crate::observe::snapshots::installed();
        reply(arrived);
    }

    fn destroy(&mut self, group: u32, directories: Vec<PathBuf>, reply: order::Answer<()>) {
        self.installs.retain(|install| install.group != group);
        if let Err(error) = self.groups[group as usize].destroy(directories) {
            // What is left would be taken for a state, and is of a replica that is no more.
            crate::fail::stop("the files of a replica that is no more cannot be removed", &error);
        }
        reply(());
    }

    fn store(&mut self, group: usize, captured: Captured) -> Option<u64> {
        match self.groups[group].store(captured) {
            Ok(release_through) => release_through,
            Err(error) => {
                // The earlier checkpoints stand and the WAL is kept, so nothing is lost; the next one tries again.
                tracing::error!(group, %error, "a checkpoint could not be written");
                None
            }
        }
    }

    fn sync(&self, dirty: &[DirtyFile]) {
        let mut seen = HashSet::new();
        for file in dirty.iter().filter(|_| self.sync) {
            if seen.insert(file.path())
                && let Err(error) = file.sync()
            {
                crate::fail::stop(&format!("cannot sync {}", file.path().display()), &error);
            }
        }
    }

    /// Not synced on its own: without it the clock is only more careful after a restart.
    fn write_anchor(&self) {
        let Some(stamp_ms) = self.shared.clock.known_ms() else { return };
        let anchor = Anchor { boot_id: boot_id(), boot_ms: Reading::now().boot_ms, stamp_ms };
        if let Err(error) = std::fs::write(&self.clock_file, anchor.encode()) {
            tracing::warn!(%error, "the clock's anchor could not be written");
        }
    }
}

fn number(group: usize) -> u32 {
    u32::try_from(group).expect("groups are numbered in 16 bits")
}
