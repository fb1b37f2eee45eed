//! What the metadata group agrees on, and its encoding.
//!
//! ```text
//! command = version u8 (2, 3 from kind 20 on, 4 where it is about feature levels) | kind u8 | body
//!   1 FormCluster          cluster id uuid | data shards u16 | since 4: feature level u16
//!   2 RegisterHub          hub
//!   3 CreateTopic          name string | topic id uuid | partitions i32 | settings list of (string, string)
//!   4 ConfigureTopic       topic id uuid | settings list of (string, string)
//!   5 AdmitAgents          topic id uuid
//!   6 DeleteTopic          topic id uuid
//!   7 TopicSettled         topic id uuid | version u64
//!   8 TopicClosed          topic id uuid
//!   9 AllocateProducerIds  count i64
//!  10 RaiseFeatureLevel    level u16
//!  11 AdoptFounder         node u32 | incarnation uuid
//!  12 AddReplica           group u32 | node u32
//!  13 ReplicaJoined        group u32 | number u32
//!  14 LeaveReplica         group u32 | number u32
//!  15 RemoveReplica        group u32 | number u32
//!  16 ReplaceReplica       group u32 | number u32
//!  17 PreferLeader         group u32 | number u32
//!  18 DrainHub             node u32 | draining u8
//!  19 RemoveHub            node u32
//!  20 ClaimNode            hub | held by option of uuid
//! hub = node u32 | incarnation uuid | rack option of string | listeners list of (name string, host string, port u16)
//!   | cluster address option of string | since 4: levels option of (least u16, most u16)
//! ```
//! Version 1 has the kinds up to 10, and a hub without a cluster address; version 2 has those up to 19. Version 4 has the
//! same kinds as 3. Written in it are hubs that say which feature levels they support, where every hub reads that
//! ([`shards::feature`]); and kinds 1 and 10 with a level, so that a release that knows of none goes no further.
//! Primitives as in [`crate::wire`]. Kinds are never reused; a changed body is a new version.

use std::collections::BTreeMap;

use schemas::{NodeId, TopicId, TopicName};
use shards::Levels;
use uuid::Uuid;

use crate::topic::{Hub, Listener};
use crate::wire::{DecodeError, Reader, Writer};

/// What most commands are written in, and the newest that is read.
const VERSION: u8 = 2;
const VERSION_OF_CLAIMS: u8 = 3;
pub(crate) const VERSION_OF_LEVELS: u8 = 4;
const VERSION_MAX: u8 = VERSION_OF_LEVELS;
/// The last kinds that earlier versions have.
const KIND_MAX_OF_VERSION_1: u8 = 10;
const KIND_MAX_OF_VERSION_2: u8 = 19;
const WHAT: &str = "metadata command";

/// A topic's own settings, as text: what they mean is the view's business, not the state's.
pub type Settings = BTreeMap<String, String>;

/// One command of the metadata group. Whatever is random in it was drawn by the proposer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Gives the cluster its identity, and the feature level that it begins with. The first one counts.
    FormCluster {
        cluster_id: Uuid,
        data_shards: u16,
        feature_level: u16,
    },
    /// A hub says where it can be reached. Another incarnation than before has none of the node's replicas.
    RegisterHub(Hub),
    /// Creates a topic and places its partitions where there are fewest.
    CreateTopic {
        name: TopicName,
        id: TopicId,
        partitions: i32,
        settings: Settings,
    },
    /// Replaces a topic's settings.
    ConfigureTopic {
        id: TopicId,
        settings: Settings,
    },
    /// Marks a topic as fed by agents, for good.
    AdmitAgents {
        id: TopicId,
    },
    /// Takes a topic out of sight; its partitions are still to be closed.
    DeleteTopic {
        id: TopicId,
    },
    /// The shards know the topic as it was at `version`.
    TopicSettled {
        id: TopicId,
        version: u64,
    },
    /// The shards have forgotten a deleted topic.
    TopicClosed {
        id: TopicId,
    },
    AllocateProducerIds {
        count: i64,
    },
    /// What may be written from now on; never falls. Refused while a hub is registered that does not support it.
    RaiseFeatureLevel {
        level: u16,
    },
    /// The hub that the cluster began with has the first replica of every group. Counts where no group has any.
    AdoptFounder {
        node: NodeId,
        incarnation: Uuid,
    },
    /// The group is to have one more replica, with the next number.
    AddReplica {
        group: u32,
        node: NodeId,
    },
    /// The group has taken the replica in.
    ReplicaJoined {
        group: u32,
        number: u32,
    },
    /// The group is to let the replica go.
    LeaveReplica {
        group: u32,
        number: u32,
    },
    /// The group has let the replica go.
    RemoveReplica {
        group: u32,
        number: u32,
    },
    /// The replica was destroyed where it lay: its number is given up, and another takes its place.
    ReplaceReplica {
        group: u32,
        number: u32,
    },
    /// The replica is to lead its group whenever it can.
    PreferLeader {
        group: u32,
        number: u32,
    },
    /// Everything is to be moved off the hub, or no longer.
    DrainHub {
        node: NodeId,
        draining: bool,
    },
    /// Strikes off a hub that has been drained.
    RemoveHub {
        node: NodeId,
    },
    /// As [`Command::RegisterHub`], if the node id still is whose the proposer knew it to be: of several hubs that
    /// claim it at the same time, the first gets it.
    ClaimNode {
        hub: Hub,
        /// The incarnation that had the node id; none for one that nobody had.
        held_by: Option<Uuid>,
    },
}

impl Command {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        let version = self.version();
        out.u8(version);
        match self {
            Self::FormCluster { cluster_id, data_shards, feature_level } => {
                out.u8(1).uuid(*cluster_id).u16(*data_shards);
                if version >= VERSION_OF_LEVELS { out.u16(*feature_level) } else { &mut out }
            }
            Self::RegisterHub(hub) => {
                out.u8(2);
                write_hub(&mut out, hub, version);
                &mut out
            }
            Self::CreateTopic { name, id, partitions, settings } => {
                out.u8(3).string(name.as_str()).uuid(id.0).i32(*partitions);
                write_settings(&mut out, settings)
            }
            Self::ConfigureTopic { id, settings } => {
                out.u8(4).uuid(id.0);
                write_settings(&mut out, settings)
            }
            Self::AdmitAgents { id } => out.u8(5).uuid(id.0),
            Self::DeleteTopic { id } => out.u8(6).uuid(id.0),
            Self::TopicSettled { id, version } => out.u8(7).uuid(id.0).u64(*version),
            Self::TopicClosed { id } => out.u8(8).uuid(id.0),
            Self::AllocateProducerIds { count } => out.u8(9).i64(*count),
            Self::RaiseFeatureLevel { level } => out.u8(10).u16(*level),
            Self::AdoptFounder { node, incarnation } => out.u8(11).u32(node.0).uuid(*incarnation),
            Self::AddReplica { group, node } => out.u8(12).u32(*group).u32(node.0),
            Self::ReplicaJoined { group, number } => out.u8(13).u32(*group).u32(*number),
            Self::LeaveReplica { group, number } => out.u8(14).u32(*group).u32(*number),
            Self::RemoveReplica { group, number } => out.u8(15).u32(*group).u32(*number),
            Self::ReplaceReplica { group, number } => out.u8(16).u32(*group).u32(*number),
            Self::PreferLeader { group, number } => out.u8(17).u32(*group).u32(*number),
            Self::DrainHub { node, draining } => out.u8(18).u32(node.0).u8(u8::from(*draining)),
            Self::RemoveHub { node } => out.u8(19).u32(node.0),
            Self::ClaimNode { hub, held_by } => {
                out.u8(20);
                write_hub(&mut out, hub, version);
                out.option(*held_by, |out, held_by| {
                    out.uuid(held_by);
                })
            }
        };
        out.finish()
    }

    fn version(&self) -> u8 {
        match self {
            Self::RaiseFeatureLevel { .. } | Self::FormCluster { feature_level: 1.., .. } => {
                VERSION_OF_LEVELS
            }
            Self::RegisterHub(hub) | Self::ClaimNode { hub, .. } if hub.levels.is_some() => VERSION_OF_LEVELS,
            Self::ClaimNode { .. } => VERSION_OF_CLAIMS,
            _ => VERSION,
        }
    }

    /// # Errors
    /// Bytes that are no command of this version. The group that meets them stops.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(WHAT, bytes);
        let version = input.version_up_to(VERSION_MAX)?;
        let kind = input.u8()?;
        let is_later =
            version == 1 && kind > KIND_MAX_OF_VERSION_1 || version == 2 && kind > KIND_MAX_OF_VERSION_2;
        if is_later {
            return Err(input.unknown_kind(kind));
        }
        let command = match kind {
            1 => Self::FormCluster {
                cluster_id: input.uuid()?,
                data_shards: input.u16()?,
                feature_level: if version >= VERSION_OF_LEVELS { input.u16()? } else { 0 },
            },
            2 => Self::RegisterHub(read_hub(&mut input, version)?),
            3 => Self::CreateTopic {
                name: input.topic_name()?,
                id: input.topic_id()?,
                partitions: input.i32()?,
                settings: read_settings(&mut input)?,
            },
            4 => Self::ConfigureTopic { id: input.topic_id()?, settings: read_settings(&mut input)? },
            5 => Self::AdmitAgents { id: input.topic_id()? },
            6 => Self::DeleteTopic { id: input.topic_id()? },
            7 => Self::TopicSettled { id: input.topic_id()?, version: input.u64()? },
            8 => Self::TopicClosed { id: input.topic_id()? },
            9 => Self::AllocateProducerIds { count: input.i64()? },
            10 => Self::RaiseFeatureLevel { level: input.u16()? },
            11 => Self::AdoptFounder { node: input.node()?, incarnation: input.uuid()? },
            12 => Self::AddReplica { group: input.u32()?, node: input.node()? },
            13 => Self::ReplicaJoined { group: input.u32()?, number: input.u32()? },
            14 => Self::LeaveReplica { group: input.u32()?, number: input.u32()? },
            15 => Self::RemoveReplica { group: input.u32()?, number: input.u32()? },
            16 => Self::ReplaceReplica { group: input.u32()?, number: input.u32()? },
            17 => Self::PreferLeader { group: input.u32()?, number: input.u32()? },
            18 => Self::DrainHub { node: input.node()?, draining: input.flag()? },
            19 => Self::RemoveHub { node: input.node()? },
            20 => {
                Self::ClaimNode { hub: read_hub(&mut input, version)?, held_by: input.option(Reader::uuid)? }
            }
            kind => return Err(input.unknown_kind(kind)),
        };
        input.end()?;
        Ok(command)
    }
}

pub(crate) fn write_settings<'a>(out: &'a mut Writer, settings: &Settings) -> &'a mut Writer {
    out.list(settings.iter(), |out, (key, value)| {
        out.string(key).string(value);
    })
}

pub(crate) fn read_settings(input: &mut Reader<'_>) -> Result<Settings, DecodeError> {
    Ok(input.list(|input| Ok((input.string()?, input.string()?)))?.into_iter().collect())
}

/// `version`: of the commands. What has no room in it is left out.
pub(crate) fn write_hub(out: &mut Writer, hub: &Hub, version: u8) {
    out.u32(hub.node.0).uuid(hub.incarnation);
    out.option(hub.rack.as_deref(), |out, rack| {
        out.string(rack);
    });
    out.list(hub.listeners.iter(), |out, listener| {
        out.string(&listener.name).string(&listener.host).u16(listener.port);
    });
    out.option(hub.cluster_address.as_deref(), |out, address| {
        out.string(address);
    });
    if version >= VERSION_OF_LEVELS {
        out.option(hub.levels, |out, levels| {
            out.u16(levels.least).u16(levels.most);
        });
    }
}

pub(crate) fn read_hub(input: &mut Reader<'_>, version: u8) -> Result<Hub, DecodeError> {
    Ok(Hub {
        node: input.node()?,
        incarnation: input.uuid()?,
        rack: input.option(Reader::string)?,
        listeners: input.list(|input| {
            Ok(Listener { name: input.string()?, host: input.string()?, port: input.u16()? })
        })?,
        cluster_address: if version > 1 { input.option(Reader::string)? } else { None },
        levels: if version >= VERSION_OF_LEVELS { input.option(read_levels)? } else { None },
    })
}

fn read_levels(input: &mut Reader<'_>) -> Result<Levels, DecodeError> {
    Ok(Levels { least: input.u16()?, most: input.u16()? })
}
