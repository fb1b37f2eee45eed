//! What other hubs' replicas say, on its way to the executors.
//!
//! It is bounded: what finds no room is dropped, as the network might have dropped it, and raft says it again.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

use consensus::{Beat, PeerMessage, ReplicaId};
use peers::{Change, Parcel, ParcelBody};
use schemas::NodeId;

use crate::answer::Permit;
use crate::doors::Doors;
use crate::limits::{PARCEL_BYTES_MAX, REQUEST_OVERHEAD_BYTES};
use crate::message::Message;
use crate::observe;

/// Takes what peers send from now on.
pub(crate) fn connect(doors: &Arc<Doors>) {
    let inbound = Inbound { doors: Arc::downgrade(doors), waiting_bytes: Arc::default() };
    let peers = &doors.shared.peers;
    peers.on_parcels(Arc::new(move |from, parcels| inbound.take(from, parcels)));
    let held = Arc::downgrade(doors);
    peers.on_change(Arc::new(move |change| {
        if let Some(doors) = held.upgrade() {
            changed(&doors, &change);
        }
    }));
}

struct Inbound {
    doors: Weak<Doors>,
    /// Bytes of messages that no executor has taken yet.
    waiting_bytes: Arc<AtomicU64>,
}

impl Inbound {
    fn take(&self, from: NodeId, parcels: Vec<Parcel>) {
        let Some(doors) = self.doors.upgrade() else { return };
        let mut ways = doors.ways();
        for parcel in parcels {
            let group = parcel.group;
            let Some(place) = doors.place_of_group(group) else {
                tracing::warn!(%from, group, "a peer spoke to a group that this hub does not have");
                continue;
            };
            let bytes = bytes(&parcel) + REQUEST_OVERHEAD_BYTES;
            let Some(permit) = Permit::take(&self.waiting_bytes, bytes, PARCEL_BYTES_MAX) else {
                observe::message_dropped();
                continue;
            };
            match message(from, doors.identity.node, parcel) {
                Some(message) => ways.push(place, Message::Peer { slot: place.slot, message, permit }),
                None => tracing::warn!(%from, group, "a peer sent what is no message between two replicas"),
            }
        }
        ways.go();
    }
}

fn bytes(parcel: &Parcel) -> u64 {
    match &parcel.body {
        ParcelBody::Beat { context, .. } => context.len() as u64,
        ParcelBody::Message(bytes) => bytes.len() as u64,
    }
}

/// Only from a replica of the hub that sent it, and only to one of this hub.
pub(crate) fn message(from: NodeId, own: NodeId, parcel: Parcel) -> Option<PeerMessage> {
    let (sender, receiver) = (ReplicaId(parcel.from), ReplicaId(parcel.to));
    let message = match parcel.body {
        ParcelBody::Beat { response, term, commit, context } => {
            PeerMessage::from_beat(Beat { from: sender, to: receiver, term, commit, response, context })
        }
        ParcelBody::Message(bytes) => PeerMessage::decode(&bytes).ok()?,
    };
    let fits = message.from() == sender
        && message.to() == receiver
        && sender.node() == from.0
        && receiver.node() == own.0;
    fits.then_some(message)
}

/// The followers of a leader whose process is gone need not wait until its lease ends.
fn changed(doors: &Doors, change: &Change) {
    if let Change::Down { node, gone: true } = change {
        for inbox in doors.inboxes.iter() {
            inbox.push(Message::LeaderGone { node: *node });
        }
    }
}

#[cfg(test)]
mod tests;
