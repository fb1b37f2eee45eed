//! The Fetch response, around the log's own bytes.
//!
//! ```text
//!   throttle i32 │ error i16, session i32 (7+)
//!   │ [ topic name, or id (13+) │ [ index i32 │ error i16 │ high watermark i64 │ last stable i64
//!                                 │ log start i64 (5+) │ aborted [] │ preferred replica i32 (11+) │ records ] ]
//! ```

use ::fetch::Fetched;
use bytes::Bytes;

use crate::answer::Head;
use crate::topics::TopicRef;
use crate::wire::Writer;

pub(super) struct TopicAnswer {
    pub(super) name: TopicRef,
    pub(super) partitions: Vec<PartitionAnswer>,
}

pub(super) struct PartitionAnswer {
    pub(super) index: i32,
    /// An error is a Kafka code.
    pub(super) outcome: Result<Fetched, i16>,
}

impl PartitionAnswer {
    pub(super) fn is_refusal(&self) -> bool {
        self.outcome.is_err()
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.outcome.as_ref().map_or(0, Fetched::len_bytes)
    }
}

pub(super) fn encode(topics: Vec<TopicAnswer>, error_code: i16, head: &Head) -> Vec<Bytes> {
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
    body.no_tagged_fields();
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
        body.i32(-1);
    }
    body.bytes(records);
    body.no_tagged_fields();
}
