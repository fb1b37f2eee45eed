//! Batches for the tests, and ways to spoil them.
#![allow(dead_code, reason = "each test file uses its part")]

use bytes::Bytes;
use schemas::{
    BATCH_HEADER_BYTES, BatchBuilder, BuilderOptions, Compression, DeviceId, GatewayGrant, OriginRules,
    PLACEMENT_BYTES, ProducerEpoch, ProducerId, RawBatch, Record, Rules, Sequence, limits, validate,
};

pub const DEVICE: &str = "pump-7";
pub const STREAM: ProducerId = ProducerId(limits::STREAM_ID_MIN + 0x0123_4567_89ab);
static NO_CHILDREN: GatewayGrant = GatewayGrant::NONE;
pub const START_MS: i64 = 1_700_000_000_000;

pub fn device() -> DeviceId {
    DEVICE.try_into().unwrap()
}

/// Offsets of header fields, written down again from KIP-98.
pub mod at {
    pub const BATCH_LENGTH: usize = 8;
    pub const LEADER_EPOCH: usize = 12;
    pub const MAGIC: usize = 16;
    pub const CRC: usize = 17;
    pub const ATTRIBUTES: usize = 21;
    pub const LAST_OFFSET_DELTA: usize = 23;
    pub const BASE_TIMESTAMP: usize = 27;
    pub const MAX_TIMESTAMP: usize = 35;
    pub const PRODUCER_ID: usize = 43;
    pub const PRODUCER_EPOCH: usize = 51;
    pub const BASE_SEQUENCE: usize = 53;
    pub const RECORD_COUNT: usize = 57;
}

pub fn agent_options(compression: Compression) -> BuilderOptions {
    BuilderOptions {
        compression,
        producer: Some((STREAM, ProducerEpoch(0), Sequence(40))),
        ..BuilderOptions::default()
    }
}

/// Twenty records of one device, some with headers, compressible.
pub fn agent_batch(compression: Compression) -> Bytes {
    fill(BatchBuilder::new(agent_options(compression)))
}

pub fn kafka_batch(compression: Compression) -> Bytes {
    fill(BatchBuilder::new(BuilderOptions { compression, ..BuilderOptions::default() }))
}

fn fill(mut builder: BatchBuilder) -> Bytes {
    for n in 0..20 {
        let value = format!("{{\"temperature\": 21.{n}, \"humidity\": 40.{n}}}");
        let headers: &[(&str, &[u8])] =
            if n % 4 == 0 { &[("ct", b"application/json"), ("tag.site", b"north")] } else { &[] };
        let at = START_MS + n * 1_000;
        builder.push(at, Some(DEVICE.as_bytes()), Some(value.as_bytes()), headers).unwrap();
    }
    builder.finish().unwrap()
}

pub fn parse(batch: &[u8]) -> RawBatch {
    RawBatch::parse(Bytes::copy_from_slice(batch)).unwrap()
}

pub fn records(batch: &[u8]) -> Vec<Record> {
    parse(batch).records().unwrap().collect::<Result<_, _>>().unwrap()
}

pub fn kafka_rules() -> Rules<'static> {
    Rules {
        origin: OriginRules::Kafka { allow_transactional: false },
        max_batch_bytes: limits::MESSAGE_BYTES_MAX,
        depth: schemas::Depth::Full,
        keys_required: false,
    }
}

pub fn agent_rules(device: &DeviceId) -> Rules<'_> {
    Rules {
        origin: OriginRules::Agent { device, grant: &NO_CHILDREN, gap_records_max: 1_000 },
        max_batch_bytes: limits::AGENT_BATCH_BYTES_MAX,
        depth: schemas::Depth::Full,
        keys_required: false,
    }
}

pub fn validate_as_agent(batch: &[u8]) -> Result<(), schemas::BatchError> {
    validate(&RawBatch::parse(Bytes::copy_from_slice(batch))?, &agent_rules(&device()))
}

pub fn validate_as_kafka(batch: &[u8]) -> Result<(), schemas::BatchError> {
    validate(&RawBatch::parse(Bytes::copy_from_slice(batch))?, &kafka_rules())
}

/// The batch with one field set and the CRC made right again.
pub fn with_field<const N: usize>(batch: &[u8], at: usize, field: [u8; N]) -> Vec<u8> {
    let mut changed = batch.to_vec();
    changed[at..at + N].copy_from_slice(&field);
    seal(&mut changed);
    changed
}

pub fn with_attributes(batch: &[u8], bits: i16) -> Vec<u8> {
    let attributes = i16::from_be_bytes([batch[at::ATTRIBUTES], batch[at::ATTRIBUTES + 1]]);
    with_field(batch, at::ATTRIBUTES, (attributes | bits).to_be_bytes())
}

/// The batch with another body: length and CRC made right.
pub fn with_body(batch: &[u8], compression: i16, body: &[u8]) -> Vec<u8> {
    let mut changed = batch[..BATCH_HEADER_BYTES].to_vec();
    changed.extend_from_slice(body);
    let length = i32::try_from(changed.len() - 12).unwrap();
    changed[at::BATCH_LENGTH..at::BATCH_LENGTH + 4].copy_from_slice(&length.to_be_bytes());
    changed[at::ATTRIBUTES..at::ATTRIBUTES + 2].copy_from_slice(&compression.to_be_bytes());
    seal(&mut changed);
    changed
}

pub fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[PLACEMENT_BYTES..]);
    batch[at::CRC..at::CRC + 4].copy_from_slice(&crc.to_be_bytes());
}

/// The framing that snappy-java writes, with blocks of 100 bytes.
pub fn snappy_java(data: &[u8]) -> Vec<u8> {
    let mut framed = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01".to_vec();
    for block in data.chunks(100) {
        let compressed = snap::raw::Encoder::new().compress_vec(block).unwrap();
        framed.extend_from_slice(&u32::try_from(compressed.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(&compressed);
    }
    framed
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// The same records in every compression that can be read: (name, batch).
pub fn every_compression() -> Vec<(&'static str, Vec<u8>)> {
    let plain = agent_batch(Compression::None);
    let body = &plain[BATCH_HEADER_BYTES..];
    let snappy = snap::raw::Encoder::new().compress_vec(body).unwrap();
    vec![
        ("none", plain.to_vec()),
        ("gzip", with_body(&plain, 1, &gzip(body))),
        ("snappy", with_body(&plain, 2, &snappy)),
        ("snappy-java", with_body(&plain, 2, &snappy_java(body))),
        ("lz4", agent_batch(Compression::Lz4).to_vec()),
        ("zstd", agent_batch(Compression::Zstd).to_vec()),
    ]
}
