//! Which hub the cluster means by a node id, and what a hub does whose id was given to another.
//!
//! A hub that comes with an empty directory under a known node id takes that id over. Its former self, if that still
//! runs somewhere, may not speak for it any more: the transport is told which incarnations are meant. Both the former
//! self and a hub that was away have an old catalog and may hear of a newer one from nobody whose messages they take;
//! so each asks those that it is connected with. What any hub knows was agreed on: the higher version is right. A hub
//! that was in the catalog and is not in a later one was removed.
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

use crate::error::Ousted;
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

/// What this hub knows of who is meant, itself among them.
struct Standing {
    node: NodeId,
    incarnation: Uuid,
    newest: Directory,
    /// The latest version in which this hub was found.
    listed_at: Option<u64>,
}

impl Standing {
    fn of(node: NodeId, incarnation: Uuid) -> Self {
        Self { node, incarnation, newest: Directory::default(), listed_at: None }
    }

    fn hear(&mut self, directory: Directory) {
        if directory.hubs.get(&self.node) == Some(&self.incarnation) {
            self.listed_at = self.listed_at.max(Some(directory.version));
        }
        if directory.version > self.newest.version {
            self.newest = directory;
        }
    }

    /// A hub that has only just joined may hear of catalogs from before.
    fn ousted(&self) -> Option<Ousted> {
        let node = self.node;
        match self.newest.hubs.get(&node) {
            Some(by) if *by != self.incarnation => Some(Ousted::Displaced { node, by: *by }),
            Some(_) => None,
            None => self.listed_at.filter(|at| *at < self.newest.version).map(|_| Ousted::Removed { node }),
        }
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
pub(crate) async fn watch(peers: Peers, views: ViewSource, ousted: watch::Sender<Option<Ousted>>) {
    let mut versions = views.subscribe();
    let mut standing = Standing::of(peers.node(), peers.incarnation());
    let mut told = BTreeMap::new();
    loop {
        versions.mark_unchanged();
        standing.hear(Directory::of(&views.load()));
        if standing.newest.hubs != told {
            told.clone_from(&standing.newest.hubs);
            peers.mean(told.clone());
        }
        if let Some(why) = standing.ousted() {
            tracing::error!("{why}");
            ousted.send_replace(Some(why));
            return;
        }
        tokio::select! {
            changed = versions.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            heard = ask(&peers) => heard.into_iter().for_each(|directory| standing.hear(directory)),
        }
    }
}

/// What the others have, after a while.
async fn ask(peers: &Peers) -> Vec<Directory> {
    tokio::time::sleep(IDENTITY_INTERVAL).await;
    let cluster = peers.cluster();
    let is_of_it =
        |peer: &PeerInfo| peer.connected_since.is_some() && cluster.is_some() && peer.cluster == cluster;
    let others = peers.known().into_iter().filter(is_of_it);
    let asked = others.map(|peer| async move {
        let answer = peers.request(peer.node, IDENTITY_KIND, vec![VERSION].into(), REPORT_TIMEOUT).await;
        Directory::decode(&answer.ok()?).ok()
    });
    join_all(asked).await.into_iter().flatten().collect()
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

    /// Hub 3, with the data directory 9, having heard of these: version, and the directory that has its node id there.
    fn standing(heard: &[(u64, Option<u128>)]) -> Standing {
        let mut standing = Standing::of(NodeId(3), Uuid::from_u128(9));
        for (version, owner) in heard {
            let hubs = owner.map(|owner| (NodeId(3), Uuid::from_u128(owner)));
            standing.hear(Directory { version: *version, hubs: hubs.into_iter().collect() });
        }
        standing
    }

    #[test]
    fn a_hub_that_was_in_the_catalog_and_is_not_in_a_later_one_was_removed() {
        let removed = Some(Ousted::Removed { node: NodeId(3) });
        assert_eq!(standing(&[(5, Some(9)), (7, None)]).ousted(), removed);
        assert_eq!(standing(&[(7, None), (5, Some(9))]).ousted(), removed, "it reads its own catalog later");
        assert_eq!(standing(&[(5, None), (7, Some(9))]).ousted(), None, "it joined in between");
        assert_eq!(standing(&[(7, None)]).ousted(), None, "it has joined, and hears of what was before");
        assert_eq!(standing(&[(7, Some(9)), (5, None)]).ousted(), None);
    }

    #[test]
    fn the_owner_of_the_node_id_in_the_latest_catalog_counts() {
        let displaced = Some(Ousted::Displaced { node: NodeId(3), by: Uuid::from_u128(4) });
        assert_eq!(standing(&[(5, Some(9)), (7, Some(4))]).ousted(), displaced);
        assert_eq!(standing(&[(7, Some(9)), (5, Some(4))]).ousted(), None);
    }
}
