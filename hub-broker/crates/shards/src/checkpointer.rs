//! Checkpoints, in the background: sync what the groups have written, write their states, let the WAL go.
//!
//! The groups are captured and written one after another, so the executors only ever stop for one group's capture
//! and the disk is never asked to take everything at once.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use partition_log::DirtyFile;
use wal::{GroupId, Wal};

use crate::capture::Captured;
use crate::clock::{Anchor, Reading, boot_id};
use crate::executor::{Message, Place};
use crate::inbox::Inbox;
use crate::order::Order;
use crate::shared::Shared;
use crate::stored_group::StoredGroup;

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
}

impl Checkpointer {
    pub(crate) fn run(mut self) {
        let mut due = Instant::now() + self.interval;
        loop {
            match self.orders.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Order::Finish(reply)) => {
                    self.checkpoint();
                    // Whoever stops the hub waits for this.
                    let _ = reply.send(());
                    return;
                }
                // Made by the groups once they have other replicas.
                Ok(Order::Checkpoint { reply, .. }) => reply(None),
                Ok(Order::Install(install)) => (install.reply)(install.arrived),
                Ok(Order::Destroy { reply, .. }) => reply(()),
                Ok(Order::Due) | Err(RecvTimeoutError::Timeout) => self.checkpoint(),
            }
            due = Instant::now() + self.interval;
        }
    }

    fn checkpoint(&mut self) {
        let begun = Instant::now();
        self.shared.wal_bytes.store(0, Ordering::Relaxed);
        let mut written = 0;
        for group in 0..self.groups.len() {
            written += usize::from(self.checkpoint_group(group));
        }
        if written > 0 {
            self.write_anchor();
            tracing::debug!(groups = written, took = ?begun.elapsed(), "checkpoint");
            metrics::histogram!("headwater_checkpoint_seconds").record(begun.elapsed().as_secs_f64());
        }
    }

    fn checkpoint_group(&mut self, group: usize) -> bool {
        let id = u32::try_from(group).expect("groups are numbered in 16 bits");
        let place = Place::of(id, self.executors.len());
        let (reply, captured) = sync_channel(1);
        let force = !self.groups[group].is_settled();
        self.executors[place.executor].push(Message::Capture { slot: place.slot, force, reply });
        // An executor that has stopped drops the message, and with it the sender.
        let Ok(Some(captured)) = captured.recv() else { return false };
        self.sync(&captured.dirty);
        let Some(release_through) = self.store(group, captured) else { return false };
        self.wal.release(GroupId(id), release_through);
        true
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
        let stamp_ms = self.shared.clock.now_ms();
        let anchor = Anchor { boot_id: boot_id(), boot_ms: Reading::now().boot_ms, stamp_ms };
        if let Err(error) = std::fs::write(&self.clock_file, anchor.encode()) {
            tracing::warn!(%error, "the clock's anchor could not be written");
        }
    }
}
