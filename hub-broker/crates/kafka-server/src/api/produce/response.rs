//! The Produce response.
//!
//! ```text
//!   [ topic name, or id (13+) │ [ index i32 │ error i16 │ base offset i64 │ append time i64 (2+)
//!                               │ log start i64 (5+) │ record errors, message (8+)
//!                               │ tag 0: leader i32, epoch i32 (10+) ] ]
//!   │ throttle i32 (1+) │ tag 0: [ node i32 │ host │ port i32 │ rack ] (10+)
//! ```

use bytes::Bytes;
use ingest::ProduceError;
use shards::{AppendError, Appended, SequenceError};

use crate::answer::Head;
use crate::hubs::Endpoint;
use crate::leadership::Leadership;
use crate::stale;
use crate::topics::TopicRef;
use crate::wire::Writer;

pub(super) struct TopicAnswer {
    pub(super) name: TopicRef,
    pub(super) partitions: Vec<PartitionAnswer>,
}

/// KIP-951.
const FIRST_WITH_LEADER: i16 = 10;
const LEADER_TAG: u32 = 0;

pub(super) struct PartitionAnswer {
    pub(super) index: i32,
    pub(super) error_code: i16,
    /// Who leads, where the client was wrong about it.
    pub(super) leader: Option<Leadership>,
    message: Option<String>,
    base_offset: i64,
    append_time_ms: i64,
    log_start: i64,
}

impl PartitionAnswer {
    pub(super) fn stored(index: i32, appended: &Appended, log_append_time: bool) -> Self {
        Self {
            index,
            error_code: 0,
            leader: None,
            message: None,
            base_offset: appended.base_offset.0,
            append_time_ms: if log_append_time { appended.append_time_ms } else { -1 },
            log_start: appended.log_start.0,
        }
    }

    pub(super) fn refused(index: i32, error_code: i16, error: Option<&ProduceError>) -> Self {
        let message = error.map(ToString::to_string);
        // The Java client sends the same batch again and again until it is told where the log starts.
        let log_start = match error {
            Some(ProduceError::Append(AppendError::Sequence(SequenceError::ProducerExpired {
                log_start,
            }))) => log_start.0,
            _ => -1,
        };
        Self { index, error_code, leader: None, message, base_offset: -1, append_time_ms: -1, log_start }
    }

    /// Says beside the error what it comes from.
    pub(super) fn add_cause(&mut self, cause: &str) {
        let said = self.message.take().map(|message| format!("{message}: ")).unwrap_or_default();
        self.message = Some(format!("{said}{cause}"));
    }

    /// For the log, where the client is told nothing.
    pub(super) fn reason(&self) -> String {
        self.message.clone().unwrap_or_else(|| format!("Kafka error {}", self.error_code))
    }
}

/// `leaders`: where the hubs are that partitions name as their leaders.
pub(super) fn encode(topics: &[TopicAnswer], leaders: &[Endpoint], head: &Head) -> Vec<Bytes> {
    let version = head.version;
    let mut body = Writer::new(head.flexible_response);
    body.array(topics.len());
    for topic in topics {
        match &topic.name {
            TopicRef::Name(name) => body.string(name),
            TopicRef::Id(id) => body.uuid(*id),
        }
        body.array(topic.partitions.len());
        for partition in &topic.partitions {
            encode_partition(&mut body, partition, version);
        }
        body.no_tagged_fields();
    }
    if version >= 1 {
        body.i32(0);
    }
    stale::write_endpoints(&mut body, if version >= FIRST_WITH_LEADER { leaders } else { &[] });
    body.finish()
}

fn encode_partition(body: &mut Writer, partition: &PartitionAnswer, version: i16) {
    body.i32(partition.index);
    body.i16(partition.error_code);
    body.i64(partition.base_offset);
    if version >= 2 {
        body.i64(partition.append_time_ms);
    }
    if version >= 5 {
        body.i64(partition.log_start);
    }
    if version >= 8 {
        // A batch is refused as a whole, so no single records are named.
        body.array(0);
        body.nullable_string(partition.message.as_deref());
    }
    stale::write_leader(body, LEADER_TAG, partition.leader.filter(|_| version >= FIRST_WITH_LEADER));
}
