//! The thread that makes damaged segments again, one after the other; and what this hub gives to those of others.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bytes::Bytes;
use consensus::ReplicaId;
use peers::{Peers, RequestError};
use schemas::NodeId;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::doors::Doors;
use crate::inbox::Inbox;
use crate::limits::{MEND_RATE_BYTES, RANGE_ANSWER_MAX};
use crate::mend::wire::{RANGE, Range};
use crate::mend::{Damaged, Given, Mended, answer, mend};
use crate::message::{Message, Place};
use crate::readers::Readers;

pub(crate) struct Mender {
    pub damaged: Receiver<Damaged>,
    pub readers: Readers,
    pub peers: Peers,
    pub executors: Vec<Inbox<Message>>,
    /// True when the hub stops.
    pub stop: watch::Receiver<bool>,
}

impl Mender {
    /// Until nobody has anything to be made again any more.
    pub(crate) fn run(mut self) {
        let runtime = match Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "no runtime to make damaged segments again"),
        };
        while let Ok(damaged) = self.damaged.recv() {
            let outcome = self.mend(&runtime, &damaged);
            let Place { executor, slot } = Place::of(damaged.group, self.executors.len());
            self.executors[executor].push(Message::Mended { slot, file: damaged.file, outcome });
        }
    }

    fn mend(&mut self, runtime: &Runtime, damaged: &Damaged) -> Mended {
        // A partition that was closed meanwhile misses nothing.
        let Some(reader) = self.readers.get(damaged.partition) else { return Mended::Whole };
        let (peers, mut stopping, stop) = (self.peers.clone(), self.stop.clone(), &mut self.stop);
        let mut go_on = |bytes| {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = stopping.wait_for(|is_set| *is_set) => false,
                    () = tokio::time::sleep(pause_after(bytes)) => true,
                }
            })
        };
        let mut ask = |of: ReplicaId, range: Range| {
            let asked = async {
                let node = NodeId(of.node());
                let answer = peers.request(node, RANGE, range.encode(), RANGE_ANSWER_MAX).await;
                match answer.inspect_err(|error| tracing::debug!(%node, %error, "no range")) {
                    Ok(batches) => {
                        tokio::time::sleep(pause_after(batches.len())).await;
                        Given::Batches(batches)
                    }
                    Err(RequestError::Refused(_)) => Given::Nothing,
                    Err(_) => Given::NoAnswer,
                }
            };
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|is_set| *is_set) => Given::NoAnswer,
                    batches = asked => batches,
                }
            })
        };
        mend(damaged, &reader, &mut go_on, &mut ask)
    }
}

fn pause_after(bytes: usize) -> Duration {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    Duration::from_micros(bytes.saturating_mul(1_000_000) / MEND_RATE_BYTES)
}

/// Answers from now on.
pub(crate) fn connect(doors: &Arc<Doors>) {
    let held = Arc::downgrade(doors);
    doors.shared.peers.serve(
        RANGE,
        Arc::new(move |_, body, reply| {
            // Without the shards the reply is dropped: the peer hears that nobody answers.
            let Some(doors) = held.upgrade() else { return };
            let Some(runtime) = &doors.runtime else { return };
            let readers = doors.shared.readers.clone();
            // Reading waits for the disk. The transport bounds what each peer may have outstanding.
            runtime.spawn_blocking(move || match answer(&readers, body) {
                Some(batches) => reply.ok(batches),
                None => reply.refuse(Bytes::new()),
            });
        }),
    );
}
