//! The formats of Headwater: records, batches, streams, gaps, names and the agent's MQTT contract.
//!
//! What a device measured at one instant is a [`Record`](batch::Record): key = device, timestamp = when,
//! value = a SenML pack. Records travel, lie on disk and are served in Kafka's RecordBatch v2 (`batch`),
//! whose bytes are made once and then only patched. This crate does no I/O and knows no clock.

pub mod batch;
mod cbor;
pub mod decoded;
pub mod gap;
pub mod headers;
pub mod ids;
pub mod limits;
pub mod mqtt;
pub mod names;
pub mod partitioner;
pub mod senml;
pub mod stream;

pub use batch::{
    Attributes, BATCH_HEADER_BYTES, BatchBuilder, BatchError, BatchHeader, BuilderOptions, Compression,
    Depth, FinishError, OriginRules, PLACEMENT_BYTES, PushError, RawBatch, Record, RecordHeader, Records,
    Rules, TimestampType, build_gap, patch_log_append_time, patch_stream, patch_times, placement, read_gap,
    validate,
};
pub use decoded::{Content, DecodedRecord, decode_record, decode_record_at};
pub use gap::{Gap, GapCount, GapError, GapReason};
pub use ids::{
    LeaderEpoch, NodeId, Offset, PartitionId, PartitionIndex, ProducerEpoch, ProducerId, ShardId, Term,
    TopicId,
};
pub use names::{DeviceId, DeviceIdError, GatewayGrant, TopicName, TopicNameError};
pub use partitioner::{device_partition, key_partition, murmur2};
pub use senml::{DecodePackError, EncodePackError, Measurement, Value, decode_pack, encode_pack};
pub use stream::{Sequence, is_stream_id, stream_id};
