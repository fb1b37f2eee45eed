//! The catalog as a checkpoint keeps it.
//!
//! ```text
//! snapshot = version u8 (3, or 2 at feature level 0) | metadata version u64
//!   | formed option of (cluster id uuid, data shards u16)
//!   | feature level u16 | next producer id i64
//!   | hubs list of (hub, state u8 (0 active, 1 draining), replica floor u32)
//!   | next replica u32
//!   | groups list of (replicas list of (node u32, number u32, flags u8 (1 joined, 2 leaving)))
//!   | topics list of topic | deleted topics list of topic
//! topic = name string | id uuid | settings list of (string, string) | agent fed u8
//!   | changed at u64 | settled at u64
//!   | partitions list of (list of (shard u16, from i64, epoch base i32), at least one)
//! ```
//! Version 3 has hubs of command version 4, and version 2 those of version 2. Version 1 has hubs without state and floor,
//! with a hub of command version 1, and neither next replica nor groups.
//! Primitives as in [`crate::wire`]; hub and settings as in [`crate::command`].

use std::sync::Arc;

use schemas::{LeaderEpoch, Offset, ShardId};
use shards::feature::REGISTERED_LEVELS;

use super::{Catalog, Formed, Member};
use crate::command::{VERSION_OF_LEVELS, read_hub, read_settings, write_hub, write_settings};
use crate::config::TopicConfig;
use crate::replica::{HubState, ReplicaRecord};
use crate::topic::{PartitionPlacement, PlacementStep, Topic};
use crate::wire::{DecodeError, Reader, Writer};

const VERSION: u8 = 3;
const VERSION_BEFORE_LEVELS: u8 = 2;
const WHAT: &str = "metadata snapshot";

impl Catalog {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        let version = self.snapshot_version();
        out.u8(version).u64(self.version);
        out.option(self.formed, |out, formed| {
            out.uuid(formed.cluster_id).u16(formed.data_shards);
        });
        out.u16(self.feature_level).i64(self.next_producer_id);
        out.list(self.hubs.values(), |out, member| {
            write_hub(out, &member.hub, hub_version(version));
            out.u8(u8::from(member.state == HubState::Draining)).u32(member.replica_floor);
        });
        out.u32(self.next_replica);
        out.list(self.groups.iter(), |out, records| {
            out.list(records.iter(), write_replica);
        });
        out.list(self.topics.values(), |out, topic| write_topic(out, topic));
        out.list(self.closing.values(), |out, topic| write_topic(out, topic));
        out.finish()
    }

    /// The newest that every hub of the cluster reads.
    fn snapshot_version(&self) -> u8 {
        if self.feature_level >= REGISTERED_LEVELS { VERSION } else { VERSION_BEFORE_LEVELS }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(WHAT, bytes);
        let version = input.version_up_to(VERSION)?;
        let mut catalog = Self { version: input.u64()?, ..Self::default() };
        catalog.formed =
            input.option(|input| Ok(Formed { cluster_id: input.uuid()?, data_shards: input.u16()? }))?;
        catalog.feature_level = input.u16()?;
        catalog.next_producer_id = input.i64()?;
        let hubs = input.list(|input| read_member(input, version))?;
        catalog.hubs = hubs.into_iter().map(|member| (member.hub.node, member)).collect();
        if version > 1 {
            catalog.next_replica = input.u32()?;
            catalog.groups = Arc::new(input.list(|input| input.list(read_replica))?);
        }
        for deleted in [false, true] {
            for topic in input.list(read_topic)? {
                catalog.restore_topic(topic, deleted);
            }
        }
        input.end()?;
        Ok(catalog)
    }
}

/// The version of the commands whose hub a snapshot has.
fn hub_version(version: u8) -> u8 {
    match version {
        VERSION => VERSION_OF_LEVELS,
        version => version,
    }
}

fn read_member(input: &mut Reader<'_>, version: u8) -> Result<Member, DecodeError> {
    let hub = read_hub(input, hub_version(version))?;
    if version == 1 {
        return Ok(Member { hub, state: HubState::Active, replica_floor: 0 });
    }
    let state = if input.flag()? { HubState::Draining } else { HubState::Active };
    Ok(Member { hub, state, replica_floor: input.u32()? })
}

const JOINED: u8 = 1;
const LEAVING: u8 = 2;

fn write_replica(out: &mut Writer, record: &ReplicaRecord) {
    let flags = if record.joined { JOINED } else { 0 } | if record.leaving { LEAVING } else { 0 };
    out.u32(record.node.0).u32(record.number).u8(flags);
}

fn read_replica(input: &mut Reader<'_>) -> Result<ReplicaRecord, DecodeError> {
    let (node, number, flags) = (input.node()?, input.u32()?, input.u8()?);
    if flags & !(JOINED | LEAVING) != 0 {
        return Err(DecodeError::Value { what: WHAT });
    }
    Ok(ReplicaRecord { node, number, joined: flags & JOINED != 0, leaving: flags & LEAVING != 0 })
}

fn write_topic(out: &mut Writer, topic: &Topic) {
    out.string(topic.name.as_str()).uuid(topic.id.0);
    write_settings(out, topic.config.overrides());
    out.u8(u8::from(topic.agent_fed)).u64(topic.changed_at).u64(topic.settled_at);
    out.list(topic.partitions.iter(), |out, placement| {
        let steps: Vec<_> = placement.steps().collect();
        out.list(steps.into_iter(), |out, step| {
            out.u16(step.shard.0).i64(step.from.0).i32(step.epoch_base.0);
        });
    });
}

fn read_topic(input: &mut Reader<'_>) -> Result<Topic, DecodeError> {
    Ok(Topic {
        name: input.topic_name()?,
        id: input.topic_id()?,
        config: TopicConfig::from_stored(&read_settings(input)?),
        agent_fed: input.flag()?,
        changed_at: input.u64()?,
        settled_at: input.u64()?,
        partitions: input.list(|input| {
            let steps = input.list(|input| {
                Ok(PlacementStep {
                    shard: ShardId(input.u16()?),
                    from: Offset(input.i64()?),
                    epoch_base: LeaderEpoch(input.i32()?),
                })
            })?;
            PartitionPlacement::from_steps(&steps).ok_or(DecodeError::Value { what: WHAT })
        })?,
    })
}
