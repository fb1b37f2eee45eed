//! Which hub the cluster means by a node id, and what a hub does whose id was given to another.
//!
//! A hub that comes with an empty directory under a known node id takes that id over. Its former self, if that still
//! runs somewhere, may not speak for it any more: the transport is told which incarnations are meant. Both the former
//! self and a hub that was away have an old catalog and may hear of a newer one from nobody whose messages they take;
//! so each asks those that it is connected with. What any hub knows was agreed on: the higher version is right.
//!
//! ```text
//! question, kind 35   version u8 (1)
//!   answer            version u8 (1) | catalog's version u64 | hubs list of (node u32, incarnation uuid)
//! ```
//! Primitives as in [`crate::wire`].

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use peers::{PeerInfo, Peers};
use schemas::NodeId;
use tokio::sync::watch;
use uuid::Uuid;

use crate::limits::{IDENTITY_INTERVAL, REPORT_TIMEOUT};
use crate::view::{View, ViewSource};
use crate::wire::{DecodeError, Reader, Writer};

pub(crate) const IDENTITY_KIND: u8 = 35;
const VERSION: u8 = 1;

/// The hubs by node id, as a catalog names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Directory {
    version: u64,
    hubs: BTreeMap<NodeId, Uuid>,
}

impl Directory {
    fn of(view: &View) -> Self {
        let hubs = view.hubs().map(|hub| (hub.node, hub.incarnation)).collect();
        Self { version: view.version, hubs }
    }

    fn newer(self, other: Self) -> Self {
        if other.version > self.version { other } else { self }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(VERSION).u64(self.version);
        out.list(self.hubs.iter(), |out, (node, incarnation)| {
            out.u32(node.0).uuid(*incarnation);
        });
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new("directory of hubs", bytes);
        input.version(VERSION)?;
        let version = input.u64()?;
        let hubs = input.list(|input| Ok((input.node()?, input.uuid()?)))?;
        input.end()?;
        Ok(Self { version, hubs: hubs.into_iter().collect() })
    }
}

/// Answers whoever asks from now on.
pub(crate) fn serve(peers: &Peers, views: &ViewSource) {
    let views = views.clone();
    let answer = move || Directory::of(&views.load()).encode().into();
    peers.serve(IDENTITY_KIND, Arc::new(move |_, _, reply| reply.ok(answer())));
}

/// Keeps the transport to the hubs that are meant. Ends when this hub is not one of them any more, having said so, or
/// with the views.
pub(crate) async fn watch(peers: Peers, views: ViewSource, displaced: watch::Sender<Option<Uuid>>) {
    let mut versions = views.subscribe();
    let mut newest = Directory::default();
    let mut told = Directory::default();
    loop {
        versions.mark_unchanged();
        newest = newest.newer(Directory::of(&views.load()));
        if newest.hubs != told.hubs {
            peers.mean(newest.hubs.clone());
            told = newest.clone();
        }
        let owner = newest.hubs.get(&peers.node()).copied();
        if let Some(other) = owner.filter(|owner| *owner != peers.incarnation()) {
            let node = peers.node();
            tracing::error!("the node id {node} belongs to the hub with the data directory {other} now");
            displaced.send_replace(Some(other));
            return;
        }
        tokio::select! {
            changed = versions.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            heard = ask(&peers) => newest = newest.newer(heard),
        }
    }
}

/// The newest directory of those that the others have, after a while.
async fn ask(peers: &Peers) -> Directory {
    tokio::time::sleep(IDENTITY_INTERVAL).await;
    let cluster = peers.cluster();
    let is_of_it =
        |peer: &PeerInfo| peer.connected_since.is_some() && cluster.is_some() && peer.cluster == cluster;
    let others = peers.known().into_iter().filter(is_of_it);
    let asked = others.map(|peer| async move {
        let answer = peers.request(peer.node, IDENTITY_KIND, vec![VERSION].into(), REPORT_TIMEOUT).await;
        Directory::decode(&answer.ok()?).ok()
    });
    join_all(asked).await.into_iter().flatten().fold(Directory::default(), Directory::newer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_read_again_and_is_what_is_documented() {
        let directory = Directory { version: 7, hubs: BTreeMap::from([(NodeId(3), Uuid::from_u128(9))]) };
        let bytes = directory.encode();
        let expected = [&[1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 3][..], &[0; 15], &[9]].concat();
        assert_eq!(bytes, expected);
        assert_eq!(Directory::decode(&bytes), Ok(directory));
        for end in 0..bytes.len() {
            assert!(Directory::decode(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn the_higher_version_counts() {
        let of = |version| Directory { version, ..Directory::default() };
        assert_eq!(of(2).newer(of(3)), of(3));
        assert_eq!(of(3).newer(of(2)), of(3));
    }
}
