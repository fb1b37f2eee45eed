//! Every limit of the formats, with the relations between them asserted at compile time.

/// One record of an agent as it stands in a batch, length prefix included. The others' are bounded by their batch.
pub const RECORD_BYTES_MAX: usize = 768 * 1024;

/// One batch on the agent's path. 4 KiB below 1 MiB leave room for the MQTT packet around it.
pub const AGENT_BATCH_BYTES_MAX: usize = 1024 * 1024 - 4 * 1024;

/// Where an agent closes a batch.
pub const AGENT_BATCH_BYTES_TARGET: usize = 64 * 1024;

/// The upper bound of `max.message.bytes`: one batch from any sender.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What one batch may decompress to. A bound and not a ratio: honest constant payloads reach 10,000.
pub const DECOMPRESSED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// log2 of the largest zstd window that is accepted: zstd's own default, which level 22 of a Kafka
/// producer uses. The window's pages are touched only as far as data is decompressed into them.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Records of one batch. Kafka's count is an i32; the smallest record has 7 bytes.
pub const BATCH_RECORDS_MAX: usize = DECOMPRESSED_BYTES_MAX / 7;

/// Sequences and offsets that one gap batch may use up (default of `gap_records_max`).
pub const GAP_RECORDS_MAX: u32 = 16 * 1024 * 1024;

/// The value of a gap record: a CBOR map of five members takes 44, the rest is for later ones.
pub const GAP_VALUE_BYTES_MAX: usize = 256;

/// A stream ends before its 2³⁰th record, so half of the sequence space tells before from after.
pub const STREAM_RECORDS_MAX: u32 = 1 << 30;

/// Stream ids of agents are in [2⁶², 2⁶³); producer ids of hubs are below.
pub const STREAM_ID_MIN: i64 = 1 << 62;

/// Characters of a device id.
pub const DEVICE_ID_BYTES_MAX: usize = 128;

/// Characters of a topic name (Kafka's limit: the name is a directory on its disks).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// A SenML pack is the value of one record.
pub const PACK_BYTES_MAX: usize = RECORD_BYTES_MAX;

/// Measurements of one pack.
pub const PACK_MEASUREMENTS_MAX: usize = 16 * 1024;

/// A pack is an array (1) of maps (2) of scalars; a label that we do not know may hold a little more.
pub const PACK_DEPTH_MAX: usize = 6;

/// A measurement's name as it stands in the pack, percent-coded.
pub const MEASUREMENT_NAME_BYTES_MAX: usize = 1024;

/// A pack from others, before it is resolved; and its names together, when it is.
pub const FOREIGN_PACK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An array of maps of scalars, and a little more within fields that we do not know.
pub const FOREIGN_PACK_DEPTH_MAX: usize = 8;

/// A measurement's unit.
pub const UNIT_BYTES_MAX: usize = 64;

const _: () = {
    assert!(RECORD_BYTES_MAX < AGENT_BATCH_BYTES_MAX);
    assert!(AGENT_BATCH_BYTES_TARGET < AGENT_BATCH_BYTES_MAX);
    assert!(AGENT_BATCH_BYTES_MAX < MESSAGE_BYTES_MAX);
    assert!(MESSAGE_BYTES_MAX < DECOMPRESSED_BYTES_MAX);
    assert!(MESSAGE_BYTES_MAX < i32::MAX as usize);
    assert!(BATCH_RECORDS_MAX < i32::MAX as usize);
    assert!(GAP_RECORDS_MAX < STREAM_RECORDS_MAX);
    assert!(GAP_VALUE_BYTES_MAX < RECORD_BYTES_MAX);
    // Serial arithmetic over 2³¹ sequences needs every live distance below half of them.
    assert!(STREAM_RECORDS_MAX as u64 * 2 <= 1 << 31);
    assert!(MEASUREMENT_NAME_BYTES_MAX + UNIT_BYTES_MAX < PACK_BYTES_MAX);
    assert!(1 << ZSTD_WINDOW_LOG_MAX >= DECOMPRESSED_BYTES_MAX);
};
