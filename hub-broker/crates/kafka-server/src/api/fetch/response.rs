//! The Fetch response, around the log's own bytes.
//!
//! ```text
//!   throttle i32 │ error i16, session i32 (7+)
//!   │ [ topic name, or id (13+) │ [ index i32 │ error i16 │ high watermark i64 │ last stable i64
//!                                 │ log start i64 (5+) │ aborted [] │ preferred replica i32 (11+) │ records
//!                                 │ tag 1: leader i32, epoch i32 (16+) ] ]
//!   │ tag 0: [ node i32 │ host │ port i32 │ rack ] (16+)
//! ```

use ::fetch::Fetched;
use bytes::Bytes;
use schemas::NodeId;

use crate::answer::Head;
use crate::hubs::{self, Endpoint};
use crate::leadership::Leadership;
use crate::stale;
use crate::topics::TopicRef;
use crate::wire::Writer;

/// KIP-951. The field is older, but only clients that know this version look at it without being a replica.
const FIRST_WITH_LEADER: i16 = 16;
const LEADER_TAG: u32 = 1;

pub(super) struct TopicAnswer {
    pub(super) name: TopicRef,
    pub(super) partitions: Vec<PartitionAnswer>,
}

pub(super) struct PartitionAnswer {
    pub(super) index: i32,
    /// An error is a Kafka code.
    pub(super) outcome: Result<Fetched, i16>,
    /// Who leads, where the client was wrong about it.
    pub(super) leader: Option<Leadership>,
    /// The hub that the client shall read from instead (KIP-392).
    pub(super) preferred: Option<NodeId>,
}

impl PartitionAnswer {
    pub(super) fn new(index: i32, outcome: Result<Fetched, i16>) -> Self {
        Self { index, outcome, leader: None, preferred: None }
    }

    /// Whether it waits for what is read here.
    pub(super) fn is_open(&self) -> bool {
        self.outcome.is_ok() && self.preferred.is_none()
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.outcome.as_ref().map_or(0, Fetched::len_bytes)
    }
}

/// `leaders`: where the hubs are that partitions name as their leaders.
pub(super) fn encode(
    topics: Vec<TopicAnswer>,
    leaders: &[Endpoint],
    error_code: i16,
    head: &Head,
) -> Vec<Bytes> {
    let version = head.version;
    let mut body = Writer::new(head.flexible_response);
    body.i32(0);
    if version >= 7 {
        body.i16(error_code);
        body.i32(0);
    }
    body.array(topics.len());
    for topic in topics {
        match &topic.name {
            TopicRef::Name(name) => body.string(name),
            TopicRef::Id(id) => body.uuid(*id),
        }
        body.array(topic.partitions.len());
        for partition in topic.partitions {
            encode_partition(&mut body, partition, version);
        }
        body.no_tagged_fields();
    }
    stale::write_endpoints(&mut body, if version >= FIRST_WITH_LEADER { leaders } else { &[] });
    body.finish()
}

fn encode_partition(body: &mut Writer, partition: PartitionAnswer, version: i16) {
    let (error_code, high_watermark, log_start, records) = match partition.outcome {
        Ok(fetched) => (0, fetched.high_watermark.0, fetched.log_start.0, fetched.records),
        Err(code) => (code, -1, -1, Vec::new()),
    };
    body.i32(partition.index);
    body.i16(error_code);
    body.i64(high_watermark);
    // The last stable offset: there are no transactions that could hold it back.
    body.i64(high_watermark);
    if version >= 5 {
        body.i64(log_start);
    }
    body.null_array();
    if version >= 11 {
        body.i32(partition.preferred.map_or(-1, hubs::wire_id));
    }
    body.bytes(records);
    stale::write_leader(body, LEADER_TAG, partition.leader.filter(|_| version >= FIRST_WITH_LEADER));
}
