//! What is built is read back, whatever was cut off or flipped is found, and patches change what they say.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use bytes::Bytes;
use common::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use schemas::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchError, BuilderOptions, Compression, FinishError, LeaderEpoch,
    Offset, PLACEMENT_BYTES, ProducerEpoch, ProducerId, PushError, RawBatch, Sequence, TimestampType, limits,
    patch_log_append_time, patch_stream, patch_times, placement,
};

const YEAR_MS: i64 = 365 * 24 * 3_600_000;

#[test]
fn a_batch_is_read_as_it_was_built_in_every_compression() {
    let expected = records(&agent_batch(Compression::None));
    assert_eq!(expected.len(), 20);
    for (name, batch) in every_compression() {
        assert_eq!(records(&batch), expected, "{name}");
        assert_eq!(validate_as_agent(&batch), Ok(()), "{name}");
    }
    assert!(agent_batch(Compression::Zstd).len() < agent_batch(Compression::None).len() / 2);
    assert!(agent_batch(Compression::Lz4).len() < agent_batch(Compression::None).len());
}

#[test]
fn the_header_says_what_was_built() {
    let batch = parse(&agent_batch(Compression::Zstd));
    let header = batch.header();
    assert_eq!((header.base_offset, header.partition_leader_epoch, header.magic), (0, -1, 2));
    assert_eq!(header.attributes.compression(), Ok(Compression::Zstd));
    assert_eq!(header.attributes.timestamp_type(), TimestampType::Create);
    assert_eq!((header.record_count, header.last_offset_delta, header.offset_span()), (20, 19, 20));
    assert_eq!((header.base_timestamp, header.max_timestamp), (START_MS, START_MS + 19_000));
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (STREAM.0, 0, 40));
    assert_eq!(header.total_bytes(), batch.bytes().len());
}

#[test]
fn what_does_not_become_smaller_stays_uncompressed() {
    for compression in [Compression::Zstd, Compression::Lz4] {
        let mut builder = BatchBuilder::new(BuilderOptions { compression, ..BuilderOptions::default() });
        builder.push(5, None, None, &[]).unwrap();
        let batch = parse(&builder.finish().unwrap());
        assert_eq!(batch.header().attributes.compression(), Ok(Compression::None));
    }
}

#[test]
fn a_builder_refuses_what_could_not_be_sent() {
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    let too_large = vec![0; limits::RECORD_BYTES_MAX];
    assert!(matches!(builder.push(0, None, Some(&too_large), &[]), Err(PushError::RecordTooLarge { .. })));
    assert!(builder.is_empty() && builder.len_bytes() == BATCH_HEADER_BYTES);
    builder.push(i64::MIN, None, None, &[]).unwrap();
    assert_eq!(builder.push(i64::MAX, None, None, &[]), Err(PushError::TimestampSpan));
    assert_eq!(builder.record_count(), 1);

    assert_eq!(BatchBuilder::new(BuilderOptions::default()).finish(), Err(FinishError::Empty));
    for compression in [Compression::Gzip, Compression::Snappy] {
        let mut builder = BatchBuilder::new(BuilderOptions { compression, ..BuilderOptions::default() });
        builder.push(0, None, None, &[]).unwrap();
        assert_eq!(builder.finish(), Err(FinishError::CompressionNotBuilt(compression)));
    }
}

#[test]
fn a_builder_that_is_full_says_so_and_what_it_made_is_too_large() {
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    let value = vec![0; limits::RECORD_BYTES_MAX - 64];
    while builder.push(0, None, Some(&value), &[]).is_ok() {}
    assert_eq!(builder.push(0, None, Some(&value), &[]), Err(PushError::BatchFull));
    assert!(matches!(builder.finish(), Err(FinishError::TooLarge { .. })));
}

#[test]
fn batches_back_to_back_are_split_one_by_one() {
    let (first, second) = (agent_batch(Compression::Lz4), agent_batch(Compression::None));
    let mut both = Bytes::from([&first[..], &second[..]].concat());
    assert_eq!(RawBatch::split_first(&mut both).unwrap().unwrap().bytes(), &first);
    assert_eq!(RawBatch::split_first(&mut both).unwrap().unwrap().bytes(), &second);
    assert!(RawBatch::split_first(&mut both).unwrap().is_none());
}

#[test]
fn a_batch_cut_anywhere_is_truncated_and_its_input_untouched() {
    for (name, batch) in every_compression() {
        for cut in 1..batch.len() {
            let mut input = Bytes::copy_from_slice(&batch[..cut]);
            let error = RawBatch::split_first(&mut input).unwrap_err();
            assert!(
                matches!(error, BatchError::Truncated { available, .. } if available == cut),
                "{name} {cut}"
            );
            assert_eq!(input.len(), cut);
        }
    }
}

/// The length field made to fit the cut: now the body itself must show it.
#[test]
fn a_body_cut_anywhere_is_an_error() {
    for (name, batch) in every_compression() {
        let attributes = i16::from_be_bytes([batch[at::ATTRIBUTES], batch[at::ATTRIBUTES + 1]]);
        for cut in BATCH_HEADER_BYTES..batch.len() {
            let cut_batch = with_body(&batch, attributes, &batch[BATCH_HEADER_BYTES..cut]);
            assert!(validate_as_agent(&cut_batch).is_err(), "{name} cut at {cut}");
            let read = parse(&cut_batch).records().and_then(|records| records.collect::<Result<Vec<_>, _>>());
            assert!(read.is_err(), "{name} cut at {cut}");
        }
    }
}

#[test]
fn every_single_flipped_bit_inside_the_crc_is_found() {
    for (name, batch) in every_compression() {
        for bit in at::CRC * 8..batch.len() * 8 {
            let mut flipped = batch.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = validate_as_agent(&flipped).unwrap_err();
            assert!(matches!(error, BatchError::Crc { .. }), "{name} bit {bit}: {error}");
        }
    }
}

/// Damage that was sealed under a good CRC: anything but a panic, and what passes can be read.
#[test]
fn every_single_flipped_bit_under_a_right_crc_is_refused_or_read() {
    for (name, batch) in every_compression() {
        for bit in PLACEMENT_BYTES * 8..batch.len() * 8 {
            let mut flipped = batch.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            seal(&mut flipped);
            if validate_as_agent(&flipped).is_ok() || validate_as_kafka(&flipped).is_ok() {
                let count = records(&flipped).len();
                assert_eq!(count as i32, parse(&flipped).header().record_count, "{name} bit {bit}");
            }
        }
    }
}

#[test]
fn placement_changes_offset_and_epoch_and_leaves_the_crc_right() {
    let batch = agent_batch(Compression::Zstd);
    let placed = placement(&batch, Offset(1 << 40), LeaderEpoch(7));
    let stored = [&placed[..], &batch[PLACEMENT_BYTES..]].concat();
    let stored = parse(&stored);
    assert_eq!((stored.header().base_offset, stored.header().partition_leader_epoch), (1 << 40, 7));
    assert_eq!(stored.header().last_offset(), (1 << 40) + 19);
    assert_eq!(stored.verify_crc(), Ok(()));
    assert_eq!(stored.header().crc, parse(&batch).header().crc);
}

#[test]
fn a_patched_batch_differs_in_what_was_patched_only() {
    let batch = agent_batch(Compression::Zstd).to_vec();
    let differs = |patched: &[u8], allowed: &[std::ops::Range<usize>]| {
        parse(patched).verify_crc().unwrap();
        assert_ne!(patched, batch);
        for at in (0..batch.len()).filter(|at| patched[*at] != batch[*at]) {
            assert!(allowed.iter().any(|range| range.contains(&at)), "byte {at} was not to change");
        }
    };

    let mut stamped = batch.clone();
    patch_times(&mut stamped, 9, 19_009);
    assert_eq!(
        (parse(&stamped).header().base_timestamp, parse(&stamped).header().max_timestamp),
        (9, 19_009)
    );
    assert_eq!(validate_as_agent(&stamped), Ok(()));
    differs(&stamped, &[17..21, 27..43]);

    let mut moved = batch.clone();
    let stream = ProducerId(STREAM.0 + 1);
    patch_stream(&mut moved, stream, Sequence(0));
    assert_eq!((parse(&moved).header().producer_id, parse(&moved).header().base_sequence), (stream.0, 0));
    assert_eq!(validate_as_agent(&moved), Ok(()));
    differs(&moved, &[17..21, 43..57]);

    let mut appended = batch.clone();
    patch_log_append_time(&mut appended, 77);
    let header = parse(&appended).header().clone();
    assert_eq!((header.attributes.timestamp_type(), header.max_timestamp), (TimestampType::LogAppend, 77));
    assert_eq!(header.attributes.compression(), Ok(Compression::Zstd));
    differs(&appended, &[17..23, 35..43]);
}

#[derive(Clone, Debug)]
struct AnyRecord {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
}

fn any_record(span_ms: i64) -> impl Strategy<Value = AnyRecord> {
    (
        -span_ms..span_ms,
        option::of(vec(any::<u8>(), 0..20)),
        option::of(vec(any::<u8>(), 0..200)),
        vec((".{0,8}", vec(any::<u8>(), 0..20)), 0..4),
    )
        .prop_map(|(offset, key, value, headers)| AnyRecord {
            timestamp: START_MS + offset,
            key,
            value,
            headers,
        })
}

fn any_compression() -> impl Strategy<Value = Compression> {
    prop_oneof![Just(Compression::None), Just(Compression::Lz4), Just(Compression::Zstd)]
}

fn push(builder: &mut BatchBuilder, record: &AnyRecord) {
    let headers: Vec<(&str, &[u8])> =
        record.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    builder.push(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Years between the records: timestamp deltas beyond 32 bits.
    #[test]
    fn any_records_survive_whatever_time_they_span(
        pushed in vec(any_record(30 * YEAR_MS), 1..40),
        compression in any_compression(),
        base_timestamp in option::of(0..2 * START_MS),
    ) {
        let mut builder = BatchBuilder::new(BuilderOptions {
            compression,
            producer: Some((ProducerId(7), ProducerEpoch(1), Sequence(3))),
            base_timestamp,
        });
        pushed.iter().for_each(|record| push(&mut builder, record));
        prop_assert_eq!(builder.record_count(), pushed.len());
        let uncompressed_bytes = builder.len_bytes();
        let batch = builder.finish().unwrap();
        prop_assert!(batch.len() <= uncompressed_bytes);
        prop_assert_eq!(validate_as_kafka(&batch), Ok(()));

        let raw = parse(&batch);
        let base = raw.header().base_timestamp;
        prop_assert_eq!(base, base_timestamp.unwrap_or(pushed[0].timestamp));
        prop_assert_eq!(Some(raw.header().max_timestamp), pushed.iter().map(|record| record.timestamp).max());
        let read = records(&batch);
        prop_assert_eq!(read.len(), pushed.len());
        for (delta, (read, pushed)) in read.iter().zip(&pushed).enumerate() {
            prop_assert_eq!(read.offset_delta as usize, delta);
            prop_assert_eq!(base + read.timestamp_delta, pushed.timestamp);
            prop_assert_eq!(read.key.as_deref(), pushed.key.as_deref());
            prop_assert_eq!(read.value.as_deref(), pushed.value.as_deref());
            prop_assert_eq!(read.headers.len(), pushed.headers.len());
            for ((name, value), (pushed_name, pushed_value)) in read.headers.iter().zip(&pushed.headers) {
                prop_assert_eq!(&name[..], pushed_name.as_bytes());
                prop_assert_eq!(value.as_deref(), Some(pushed_value.as_slice()));
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read_and_never_panic(
        mut bytes in vec(any::<u8>(), 61..300),
        compression in 0i16..8,
        count in 0i32..5,
    ) {
        bytes[at::MAGIC] = 2;
        bytes[at::RECORD_COUNT..at::RECORD_COUNT + 4].copy_from_slice(&count.to_be_bytes());
        bytes[at::LAST_OFFSET_DELTA..at::LAST_OFFSET_DELTA + 4].copy_from_slice(&(count - 1).to_be_bytes());
        let batch = with_body(&bytes, compression, &bytes[BATCH_HEADER_BYTES..]);
        let _ = validate_as_kafka(&batch);
        let _ = validate_as_agent(&batch);
        if let Ok(records) = parse(&batch).records() {
            prop_assert!(records.count() <= count as usize);
        }
    }
}
