//! What hubs ask each other before they have a cluster in common.
//!
//! ```text
//! join request, kind 32   version u8 (2, or 1 at feature level 0) | hub, as in the metadata's commands of version 4, or 2
//!   answer                version u8 (1) | cluster id uuid | replica floor u32
//!   refusal               version u8 (1) | reason u8: 1 unavailable, 2 connected with another incarnation,
//!                           3 too many hubs, 4 malformed, 5 unknown hub, 6 no majority,
//!                           7 the node id was just given to another hub,
//!                           8 what the hub had that has the node id, nobody else has,
//!                           9 the hub does not support the cluster's feature level
//! empty?, kind 33         version u8 (1)
//!   answer                version u8 (1) | empty u8: 1 the hub's directory is empty and it waits for a cluster
//! report, kind 34         see `crate::report`
//! directory, kind 35      see `crate::identity`
//! judge, kind 36          a request to join that another hub was sent, for the metadata's leader; layout, answer and
//!                           refusal as in kind 32
//! renew, kind 37          a member says again where it is, to the metadata's leader; all as in kind 32
//! clock, accept, kinds 38 and 39   see `crate::clocks`
//! let go?, kind 40        see `crate::letting_go`
//! levels?, kind 41        see `crate::levels`; a hub asks before it joins
//! ```
//! Primitives as in [`crate::wire`].

use std::sync::Arc;

use peers::Peers;
use thiserror::Error;
use uuid::Uuid;

use crate::command::{VERSION_OF_LEVELS, read_hub, write_hub};
use crate::topic::Hub;
use crate::wire::{DecodeError, Reader, Writer};

pub(crate) const JOIN_KIND: u8 = 32;
pub(crate) const EMPTY_KIND: u8 = 33;
pub(crate) const REPORT_KIND: u8 = 34;
pub(crate) const JUDGE_KIND: u8 = 36;
pub(crate) const RENEW_KIND: u8 = 37;

const VERSION: u8 = 1;
/// The newest version of the requests that have a hub in them.
const JOIN_VERSION: u8 = 2;

/// A hub has been registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JoinAnswer {
    pub(super) cluster: Uuid,
    pub(super) replica_floor: u32,
}

/// Why a hub is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum JoinRefusal {
    #[error("its metadata does not take commands now")]
    Unavailable,
    #[error("another hub with the same node id is connected: each needs a --node-id of its own")]
    OtherIncarnation,
    #[error("the cluster has as many hubs as it may have")]
    TooManyHubs,
    #[error("the request cannot be read")]
    Malformed,
    #[error(
        "the cluster does not know its data directory: it was removed, or its node id was given to another hub"
    )]
    UnknownHub,
    #[error(
        "too few of its hubs are there to agree on it, and one that lost its data directory does not count: start those that still have theirs, and this one with its former one if there is any (README, Several hubs)"
    )]
    NoMajority,
    #[error("another hub has just been given its node id: each needs a --node-id of its own")]
    NodeTaken,
    #[error(
        "of some shards too few other hubs have what the hub with this node id had, so that its place is kept: start it with its former data directory, or wait until the shards are replicated again (cluster status); if the directory is lost and they cannot be, a new hub needs a --node-id of its own"
    )]
    OnlyReplica,
    #[error("its release does not support the cluster's feature level")]
    Unfit,
}

impl JoinRefusal {
    const ALL: [(u8, Self); 9] = [
        (1, Self::Unavailable),
        (2, Self::OtherIncarnation),
        (3, Self::TooManyHubs),
        (4, Self::Malformed),
        (5, Self::UnknownHub),
        (6, Self::NoMajority),
        (7, Self::NodeTaken),
        (8, Self::OnlyReplica),
        (9, Self::Unfit),
    ];

    /// Whether asking again cannot help. A former self may still seem to be connected for a while, and the level may just
    /// have been raised: a hub judges by itself whether it supports that.
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::TooManyHubs | Self::Malformed | Self::NodeTaken)
    }

    pub(super) fn encode(self) -> Vec<u8> {
        let known = Self::ALL.iter().find(|(_, known)| *known == self);
        let mut out = Writer::default();
        out.u8(VERSION).u8(known.expect("every refusal is in the table").0);
        out.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new("refusal of a hub", bytes);
        input.version(VERSION)?;
        let reason = input.u8()?;
        let known = Self::ALL.iter().find(|(known, _)| *known == reason);
        known.map(|(_, refusal)| *refusal).ok_or_else(|| input.unknown_kind(reason))
    }
}

impl JoinAnswer {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(VERSION).uuid(self.cluster).u32(self.replica_floor);
        out.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new("answer to a hub", bytes);
        input.version(VERSION)?;
        let answer = Self { cluster: input.uuid()?, replica_floor: input.u32()? };
        input.end()?;
        Ok(answer)
    }
}

/// The version of the commands whose hub a request has.
fn hub_version(version: u8) -> u8 {
    if version > 1 { VERSION_OF_LEVELS } else { 2 }
}

pub(super) fn encode_join(hub: &Hub) -> Vec<u8> {
    let mut out = Writer::default();
    let version = if hub.levels.is_some() { JOIN_VERSION } else { 1 };
    out.u8(version);
    write_hub(&mut out, hub, hub_version(version));
    out.finish()
}

pub(super) fn decode_join(bytes: &[u8]) -> Result<Hub, DecodeError> {
    let mut input = Reader::new("request to join", bytes);
    let version = input.version_up_to(JOIN_VERSION)?;
    let hub = read_hub(&mut input, hub_version(version))?;
    input.end()?;
    Ok(hub)
}

pub(super) fn encode_question() -> Vec<u8> {
    vec![VERSION]
}

pub(super) fn decode_empty(bytes: &[u8]) -> Result<bool, DecodeError> {
    let mut input = Reader::new("answer of an empty hub", bytes);
    input.version(VERSION)?;
    let is_empty = input.flag()?;
    input.end()?;
    Ok(is_empty)
}

/// Answers whoever asks from now on.
pub(super) fn answer_that_empty(peers: &Peers, is_empty: bool) {
    let mut out = Writer::default();
    out.u8(VERSION).u8(u8::from(is_empty));
    let answer = bytes::Bytes::from(out.finish());
    peers.serve(EMPTY_KIND, Arc::new(move |_, _, reply| reply.ok(answer.clone())));
}
