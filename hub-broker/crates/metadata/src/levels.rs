//! The cluster's feature level, and the hubs whose releases support it.
//!
//! Which formats a level allows stands in [`shards::feature`]. Each hub says in its registration which levels it supports;
//! below level 1 a registration has no room for that, and whoever has to know asks the hub. The level is raised to what
//! all hubs support (`upgrade`), which is decided where the command is applied. A hub that does not support the level is not
//! taken in, and one that finds that its cluster has another level than it supports ends.
//!
//! ```text
//! levels?, kind 41   version u8 (1)
//!   answer           version u8 (1) | the cluster's level u16 | least u16 | most u16
//!   refusal          nothing: the hub does not know yet
//! ```
//! Primitives as in [`crate::wire`].

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use peers::{Peers, RequestError};
use schemas::NodeId;
use shards::feature::REGISTERED_LEVELS;
use shards::{Levels, Shards};
use tokio::sync::watch;

use crate::error::{Ousted, Unfit};
use crate::limits::{IDENTITY_INTERVAL, METADATA_GROUP, REPORT_TIMEOUT};
use crate::topic::Hub;
use crate::view::{View, ViewSource};
use crate::wire::{DecodeError, Reader, Writer};

const LEVELS_KIND: u8 = 41;
const VERSION: u8 = 1;

impl Hub {
    /// As it is registered with a cluster of that level.
    pub(crate) fn at_level(mut self, level: u16) -> Self {
        self.levels = self.levels.filter(|_| level >= REGISTERED_LEVELS);
        self
    }

    /// Whether the hub may be in a cluster of that level, by its registration, which said nothing before there was room.
    pub(crate) fn supports(&self, level: u16) -> bool {
        self.levels.map_or(level < REGISTERED_LEVELS, |levels| levels.contains(level))
    }
}

/// What a hub says of itself and its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    level: u16,
    supported: Levels,
}

impl Answer {
    fn encode(self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(VERSION).u16(self.level).u16(self.supported.least).u16(self.supported.most);
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new("answer about levels", bytes);
        input.version(VERSION)?;
        let level = input.u16()?;
        let supported = Levels { least: input.u16()?, most: input.u16()? };
        input.end()?;
        Ok(Self { level, supported })
    }
}

/// Answers whoever asks from now on.
pub(crate) fn serve(peers: &Peers, views: &ViewSource, supported: Levels) {
    let views = views.clone();
    peers.serve(
        LEVELS_KIND,
        Arc::new(move |_, _, reply| {
            let view = views.load();
            if view.cluster().is_none() {
                return reply.refuse(Vec::new().into());
            }
            reply.ok(Answer { level: view.feature_level, supported }.encode().into());
        }),
    );
}

/// Hands each level on to the shards. Ends when it is none that this hub supports, having said so, or with the views.
pub(crate) async fn watch(
    shards: Shards,
    views: ViewSource,
    supported: Option<Levels>,
    ousted: watch::Sender<Option<Ousted>>,
) {
    let mut versions = views.subscribe();
    loop {
        versions.mark_unchanged();
        let view = views.load();
        if view.cluster().is_some() {
            shards.set_feature_level(view.feature_level);
            if let Some(why) = unfit(&shards, &views, supported).await {
                tracing::error!("{why}");
                ousted.send_replace(Some(why.into()));
                return;
            }
        }
        // One that seems too new is looked at again.
        let fits = supported.is_none_or(|levels| levels.contains(view.feature_level));
        tokio::select! {
            changed = versions.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(IDENTITY_INTERVAL), if !fits => {}
        }
    }
}

/// Levels never fall, so a hub that is too old for one is so for good. A level below those that it supports may be that of
/// an old catalog: whoever leads the metadata knows.
async fn unfit(shards: &Shards, views: &ViewSource, supported: Option<Levels>) -> Option<Unfit> {
    let why = Unfit::check(supported?, views.load().feature_level).err()?;
    if matches!(why, Unfit::TooOld { .. }) {
        return Some(why);
    }
    let leader = shards.metadata_leader()?.node;
    let level = if leader == shards.peers().node() {
        shards.is_serving_group(METADATA_GROUP).map(|_| views.load().feature_level)
    } else {
        of_cluster(shards.peers(), leader).await.ok()
    };
    Unfit::check(supported?, level?).err()
}

/// The level of the cluster that a hub belongs to.
///
/// # Errors
/// It does not answer, or does not know yet.
pub(crate) async fn of_cluster(peers: &Peers, node: NodeId) -> Result<u16, RequestError> {
    match ask(peers, node).await {
        Ok(answer) => Ok(answer.level),
        // A release that knows of no levels.
        Err(RequestError::UnknownKind) => Ok(Levels::BEFORE.most),
        Err(error) => Err(error),
    }
}

/// What each hub of the cluster supports, as it says itself, or else as it is registered. None: nobody knows.
pub(crate) type Supported = BTreeMap<NodeId, Option<Levels>>;

/// Asks every hub that is connected. `own`: of this one.
pub(crate) async fn gather(shards: &Shards, view: &View, own: Option<Levels>) -> Supported {
    let peers = shards.peers();
    let asked = view.hubs().map(|hub| async move {
        let said = match hub.node {
            node if node == peers.node() => own,
            node if !peers.is_connected(node) => None,
            node => match ask(peers, node).await {
                Ok(answer) => Some(answer.supported),
                // Or it has only just started, where it once said what it supports.
                Err(RequestError::UnknownKind) => hub.levels.or(Some(Levels::BEFORE)),
                Err(_) => None,
            },
        };
        (hub.node, said.or(hub.levels))
    });
    join_all(asked).await.into_iter().collect()
}

async fn ask(peers: &Peers, node: NodeId) -> Result<Answer, RequestError> {
    let answer = peers.request(node, LEVELS_KIND, vec![VERSION].into(), REPORT_TIMEOUT).await?;
    // What cannot be read is as good as no answer.
    Answer::decode(&answer).map_err(|_| RequestError::Lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_again_and_is_what_is_documented() {
        let answer = Answer { level: 258, supported: Levels { least: 1, most: 772 } };
        let bytes = answer.encode();
        assert_eq!(bytes, [1, 1, 2, 0, 1, 3, 4]);
        assert_eq!(Answer::decode(&bytes), Ok(answer));
        for end in 0..bytes.len() {
            assert!(Answer::decode(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn a_registration_has_room_for_levels_from_the_level_on_at_which_every_hub_reads_them() {
        let hub = Hub { levels: Some(Levels::OWN), ..Hub::new(NodeId(1), uuid::Uuid::nil()) };
        assert_eq!(hub.clone().at_level(0).levels, None);
        assert_eq!(hub.clone().at_level(1), hub);
        assert!(hub.supports(0) && hub.supports(1) && !hub.supports(2));
        let silent = hub.at_level(0);
        assert!(silent.supports(0) && !silent.supports(1));
    }
}
