//! Against an encoder and a decoder that are not ours.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use bytes::{Bytes, BytesMut};
use common::*;
use kafka_protocol::records as theirs;
use schemas::{
    BatchBuilder, Compression, Gap, GapCount, GapReason, Record, RecordHeader, Sequence, build_gap,
};

const DAY_MS: i64 = 24 * 3_600_000;

fn their_records(batch: &[u8]) -> anyhow::Result<Vec<theirs::Record>> {
    Ok(theirs::RecordBatchDecoder::decode(&mut Bytes::copy_from_slice(batch))?.records)
}

fn same(theirs: &[theirs::Record], ours: &[Record], base_timestamp: i64) {
    assert_eq!(theirs.len(), ours.len());
    for (theirs, ours) in theirs.iter().zip(ours) {
        assert_eq!(theirs.offset, i64::from(ours.offset_delta));
        assert_eq!(theirs.timestamp, base_timestamp + ours.timestamp_delta);
        assert_eq!((&theirs.key, &theirs.value), (&ours.key, &ours.value));
        let headers: Vec<RecordHeader> = theirs
            .headers
            .iter()
            .map(|(name, value)| (Bytes::copy_from_slice(name.as_bytes()), value.clone()))
            .collect();
        assert_eq!(headers, ours.headers);
    }
}

fn spanning(span_ms: i64) -> Bytes {
    let mut builder = BatchBuilder::new(agent_options(Compression::None));
    for n in 0..3 {
        builder
            .push(START_MS + n * span_ms / 2, Some(DEVICE.as_bytes()), Some(b"value"), &[("h", b"1")])
            .unwrap();
    }
    builder.finish().unwrap()
}

#[test]
fn their_decoder_reads_what_we_build() {
    let ours = agent_batch(Compression::None);
    let read = their_records(&ours).unwrap();
    same(&read, &records(&ours), START_MS);
    for (n, record) in read.iter().enumerate() {
        assert_eq!((record.producer_id, record.producer_epoch), (STREAM.0, 0));
        assert_eq!(record.sequence, 40 + i32::try_from(n).unwrap());
        assert_eq!(record.partition_leader_epoch, -1);
    }
}

#[test]
fn we_read_what_their_encoder_builds_to_the_byte_we_would_build() {
    let ours = agent_batch(Compression::None);
    let mut theirs = BytesMut::new();
    let options = theirs::RecordEncodeOptions { version: 2, compression: theirs::Compression::None };
    theirs::RecordBatchEncoder::encode(&mut theirs, &their_records(&ours).unwrap(), &options).unwrap();
    assert_eq!(theirs, ours);
    assert_eq!(validate_as_agent(&theirs), Ok(()));
}

#[test]
fn their_decoder_takes_a_gap_for_one_record_at_its_last_offset() {
    let gap = Gap { count: GapCount::Known(50), from_ms: Some(1), to_ms: Some(2), reason: GapReason::TooOld };
    let read = their_records(&build_gap(&device(), STREAM, Sequence(7), 50, &gap)).unwrap();
    assert_eq!((read.len(), read[0].offset, read[0].timestamp), (1, 49, 2));
}

/// Version 0.17 broke where 2³¹ ms = 24.8 days lie between two records of a batch. 0.18 does not: should
/// this fail after an update, the tests that read with it must keep to short spans again.
#[test]
fn their_decoder_reads_batches_that_span_months_and_years() {
    for days in [24, 25, 120, 365 * 30] {
        let ours = spanning(days * DAY_MS);
        assert_eq!(validate_as_agent(&ours), Ok(()), "{days} days");
        same(&their_records(&ours).unwrap(), &records(&ours), START_MS);
    }
}
