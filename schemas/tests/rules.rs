//! What a batch from outside must pass: one test a rule.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use schemas::limits::{AGENT_BATCH_BYTES_MAX, DECOMPRESSED_BYTES_MAX, RECORD_BYTES_MAX, STREAM_RECORDS_MAX};
use schemas::{
    BatchBuilder, BatchError, BuilderOptions, Compression, Depth, DeviceId, Gap, GapCount, GapError,
    GapReason, GatewayGrant, OriginRules, ProducerEpoch, ProducerId, Rules, Sequence, build_gap, headers,
    limits, patch_stream, validate,
};

fn plain() -> Vec<u8> {
    agent_batch(Compression::None).to_vec()
}

fn kafka() -> Vec<u8> {
    kafka_batch(Compression::None).to_vec()
}

/// An uncompressed batch of `count` with these bytes as its records.
fn with_records(count: i32, body: &[u8]) -> Vec<u8> {
    let batch = with_body(&kafka(), 0, body);
    let batch = with_field(&batch, at::LAST_OFFSET_DELTA, (count - 1).to_be_bytes());
    with_field(&batch, at::RECORD_COUNT, count.to_be_bytes())
}

/// length 7: attributes, timestamp delta 0, offset delta 0, null key, null value, no headers.
const SMALLEST: [u8; 7] = [12, 0, 0, 0, 1, 1, 0];

fn example_gap() -> Gap {
    Gap { count: GapCount::Known(100), from_ms: Some(START_MS), to_ms: None, reason: GapReason::Dropped }
}

fn gap_batch(records: u32) -> Vec<u8> {
    build_gap(&device(), STREAM, Sequence(5), records, &example_gap()).to_vec()
}

#[test]
fn a_good_batch_passes_on_its_path() {
    assert_eq!(validate_as_agent(&plain()), Ok(()));
    assert_eq!(validate_as_kafka(&kafka()), Ok(()));
    assert_eq!(validate_as_kafka(&with_records(1, &SMALLEST)), Ok(()));
}

#[test]
fn a_cut_batch_is_refused() {
    let batch = plain();
    let cut = &batch[..batch.len() - 1];
    let expected = BatchError::Truncated { needed: batch.len(), available: batch.len() - 1 };
    assert_eq!(validate_as_agent(cut), Err(expected));
    assert_eq!(validate_as_agent(&[]), Err(BatchError::Truncated { needed: 61, available: 0 }));
}

#[test]
fn a_length_below_a_header_is_refused() {
    for batch_length in [48, 0, -1, i32::MIN] {
        let batch = with_field(&plain(), at::BATCH_LENGTH, batch_length.to_be_bytes());
        assert_eq!(validate_as_agent(&batch), Err(BatchError::LengthField { batch_length }));
    }
}

#[test]
fn a_batch_above_the_path_s_limit_is_refused() {
    let rules = Rules { max_batch_bytes: plain().len() - 1, ..kafka_rules() };
    let expected = BatchError::TooLarge { bytes: plain().len(), max: plain().len() - 1 };
    assert_eq!(validate(&parse(&plain()), &rules), Err(expected));
}

#[test]
fn bytes_after_a_batch_are_refused() {
    let two = [plain(), vec![0]].concat();
    assert_eq!(validate_as_agent(&two), Err(BatchError::TrailingBytes { bytes: 1 }));
}

#[test]
fn another_magic_is_refused() {
    for magic in [0i8, 1, 3, -1] {
        let batch = with_field(&plain(), at::MAGIC, magic.to_be_bytes());
        assert_eq!(validate_as_agent(&batch), Err(BatchError::Magic { magic }));
    }
}

#[test]
fn a_wrong_crc_is_refused() {
    let mut batch = plain();
    batch[at::CRC] ^= 1;
    assert!(matches!(validate_as_agent(&batch), Err(BatchError::Crc { .. })));
    let rules = Rules { depth: Depth::Header, ..kafka_rules() };
    assert!(matches!(validate(&parse(&batch), &rules), Err(BatchError::Crc { .. })));
}

#[test]
fn an_unknown_compression_is_refused() {
    for code in 5..8 {
        let batch = with_attributes(&kafka(), code);
        assert_eq!(validate_as_kafka(&batch), Err(BatchError::UnknownCompression { code }));
    }
}

#[test]
fn a_batch_without_records_is_refused() {
    for count in [0, -1, i32::MIN] {
        let batch = with_field(&kafka(), at::RECORD_COUNT, count.to_be_bytes());
        assert_eq!(validate_as_kafka(&batch), Err(BatchError::RecordCount { count }));
    }
    let negative = with_field(&kafka(), at::RECORD_COUNT, (-1i32).to_be_bytes());
    assert!(parse(&negative).records().is_err());
}

#[test]
fn a_count_that_does_not_fit_the_last_offset_is_refused() {
    for last_offset_delta in [18, 20, -1, i32::MAX, i32::MIN] {
        let expected = Err(BatchError::CountMismatch { record_count: 20, last_offset_delta });
        let kafka = with_field(&kafka(), at::LAST_OFFSET_DELTA, last_offset_delta.to_be_bytes());
        assert_eq!(validate_as_kafka(&kafka), expected);
        let agent = with_field(&plain(), at::LAST_OFFSET_DELTA, last_offset_delta.to_be_bytes());
        assert_eq!(validate_as_agent(&agent), expected);
    }
}

#[test]
fn only_a_gap_uses_up_more_offsets_than_it_has_records_and_only_from_an_agent() {
    assert_eq!(validate_as_agent(&gap_batch(100)), Ok(()));
    let mismatch = BatchError::CountMismatch { record_count: 1, last_offset_delta: 99 };
    assert_eq!(validate_as_kafka(&gap_batch(100)), Err(mismatch));
    let mut builder = BatchBuilder::new(agent_options(Compression::None));
    builder.push(START_MS, Some(DEVICE.as_bytes()), None, &[]).unwrap();
    let one = builder.finish().unwrap();
    assert_eq!(validate_as_agent(&one), Ok(()));
    let wide = with_field(&one, at::LAST_OFFSET_DELTA, 1i32.to_be_bytes());
    let mismatch = BatchError::CountMismatch { record_count: 1, last_offset_delta: 1 };
    assert_eq!(validate_as_agent(&wide), Err(mismatch));
}

#[test]
fn a_control_batch_is_refused() {
    assert_eq!(validate_as_kafka(&with_attributes(&kafka(), 1 << 5)), Err(BatchError::Control));
    assert_eq!(validate_as_agent(&with_attributes(&plain(), 1 << 5)), Err(BatchError::Control));
}

#[test]
fn a_transactional_batch_passes_where_it_is_allowed_only() {
    let mut batch = with_attributes(&kafka(), 1 << 4);
    patch_stream(&mut batch, ProducerId(9), Sequence(0));
    assert_eq!(validate_as_kafka(&batch), Err(BatchError::Transactional));
    assert_eq!(validate_as_agent(&with_attributes(&plain(), 1 << 4)), Err(BatchError::Transactional));
    let allowed = Rules { origin: OriginRules::Kafka { allow_transactional: true }, ..kafka_rules() };
    assert_eq!(validate(&parse(&batch), &allowed), Ok(()));
}

#[test]
fn a_delete_horizon_is_refused() {
    assert_eq!(validate_as_kafka(&with_attributes(&kafka(), 1 << 6)), Err(BatchError::DeleteHorizon));
}

#[test]
fn log_append_time_is_refused_from_outside() {
    assert_eq!(validate_as_kafka(&with_attributes(&kafka(), 1 << 3)), Err(BatchError::LogAppendTime));
}

#[test]
fn producer_fields_go_together_or_are_refused() {
    let fields = |id: i64, epoch: i16, sequence: i32| {
        let batch = with_field(&kafka(), at::PRODUCER_ID, id.to_be_bytes());
        let batch = with_field(&batch, at::PRODUCER_EPOCH, epoch.to_be_bytes());
        with_field(&batch, at::BASE_SEQUENCE, sequence.to_be_bytes())
    };
    for (id, epoch, sequence) in [(9, -1, 0), (9, 0, -1), (-2, -1, -1), (i64::MIN, 0, 0)] {
        let expected = BatchError::ProducerFields { id, epoch, sequence };
        assert_eq!(validate_as_kafka(&fields(id, epoch, sequence)), Err(expected));
    }
    assert_eq!(validate_as_kafka(&fields(9, 3, i32::MAX)), Ok(()));
    assert_eq!(validate_as_kafka(&fields(-1, 0, 0)), Ok(()));
}

#[test]
fn damaged_compressed_data_is_refused() {
    for (name, batch) in every_compression().into_iter().skip(1) {
        let compression = parse(&batch).header().attributes.compression().unwrap();
        let code = batch[at::ATTRIBUTES + 1].into();
        for body in [&b""[..], b"\x00", b"nonsense", &[0xff; 64]] {
            let damaged = with_body(&batch, code, body);
            // Empty gzip, snappy-java or zstd input is no bytes, which is not twenty records either.
            let refused = validate_as_agent(&damaged);
            let no_records = Err(BatchError::MissingRecords { stated: 20, found: 0 });
            let damage = Err(BatchError::Decompress { compression });
            assert!(refused == damage || refused == no_records, "{name}: {refused:?}");
        }
    }
}

#[test]
fn more_than_64_mib_of_records_are_refused() {
    let zeros = vec![0; DECOMPRESSED_BYTES_MAX + 1];
    let lz4 = {
        use std::io::Write;
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(&zeros).unwrap();
        encoder.finish().unwrap()
    };
    let snappy = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
    let framed_half =
        snap::raw::Encoder::new().compress_vec(&zeros[..DECOMPRESSED_BYTES_MAX / 2 + 1]).unwrap();
    let mut framed = snappy_java(b"");
    for _ in 0..2 {
        framed.extend_from_slice(&u32::try_from(framed_half.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(&framed_half);
    }
    let zstd = zstd::bulk::compress(&zeros, 1).unwrap();
    let bombs = [(1, gzip(&zeros)), (2, snappy), (2, framed), (3, lz4), (4, zstd)];
    for (code, body) in bombs {
        let batch = with_body(&kafka(), code, &body);
        let expected = BatchError::DecompressedTooLarge { max: DECOMPRESSED_BYTES_MAX };
        assert_eq!(validate_as_kafka(&batch), Err(expected), "compression {code}");
    }
}

#[test]
fn honest_constant_payloads_pass_whatever_their_ratio() {
    let mut builder =
        BatchBuilder::new(BuilderOptions { compression: Compression::Zstd, ..BuilderOptions::default() });
    let value = vec![b'x'; 700_000];
    for n in 0..80 {
        builder.push(n, Some(b"key"), Some(&value), &[]).unwrap();
    }
    let uncompressed = builder.len_bytes();
    let batch = builder.finish().unwrap();
    assert!(uncompressed / batch.len() > 5_000, "{}", uncompressed / batch.len());
    assert_eq!(validate_as_kafka(&batch), Ok(()));
}

/// A length that states gigabytes costs no memory: the error comes from the bytes that are not there.
#[test]
fn a_stated_size_is_not_believed() {
    let snappy_of_4_gib = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let zstd_of_2_pow_60 = [0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x10, 1, 0, 0];
    for (code, compression, body) in
        [(2, Compression::Snappy, &snappy_of_4_gib[..]), (4, Compression::Zstd, &zstd_of_2_pow_60[..])]
    {
        let batch = with_body(&kafka(), code, body);
        assert_eq!(validate_as_kafka(&batch), Err(BatchError::Decompress { compression }));
    }
}

#[test]
fn a_record_longer_than_the_batch_is_refused() {
    for length in [-1i64, 7, 1 << 40] {
        let mut body = Vec::new();
        write_varint(&mut body, length);
        body.extend_from_slice(&SMALLEST[1..]);
        let expected = BatchError::RecordLength { record: 0, length, available: 6 };
        assert_eq!(validate_as_kafka(&with_records(1, &body)), Err(expected));
    }
}

#[test]
fn fields_that_do_not_fill_their_record_are_refused() {
    let bodies: [&[u8]; 8] = [
        &[0],                       // no attributes
        &[2, 0],                    // no timestamp
        &[10, 0, 0, 0, 1, 1],       // no header count
        &[14, 0, 0, 0, 1, 1, 0, 0], // one byte too many
        &[12, 0, 0, 0, 3, 1, 0],    // a key of −2 bytes
        &[12, 0, 0, 0, 20, 1, 0],   // a key of 10 bytes
        &[12, 0, 0, 0, 1, 1, 1],    // −1 headers
        &[12, 0, 0, 0, 1, 1, 0x7e], // 63 headers
    ];
    for body in bodies {
        let refused = validate_as_kafka(&with_records(1, body));
        assert_eq!(refused, Err(BatchError::RecordFields { record: 0 }), "{body:?}");
    }
}

#[test]
fn a_header_without_a_name_is_refused() {
    let body = [16, 0, 0, 0, 1, 1, 2, 1, 1];
    assert_eq!(validate_as_kafka(&with_records(1, &body)), Err(BatchError::HeaderName { record: 0 }));
}

#[test]
fn offset_deltas_must_count_up_from_zero() {
    let mut second = SMALLEST;
    second[3] = 4;
    let body = [SMALLEST, second].concat();
    let expected = BatchError::OffsetDelta { record: 1, expected: 1, found: 2 };
    assert_eq!(validate_as_kafka(&with_records(2, &body)), Err(expected));
}

#[test]
fn a_gap_stands_at_its_last_offset() {
    let batch = with_field(&gap_batch(100), at::LAST_OFFSET_DELTA, 98i32.to_be_bytes());
    let expected = BatchError::OffsetDelta { record: 0, expected: 98, found: 99 };
    assert_eq!(validate_as_agent(&batch), Err(expected));
}

#[test]
fn a_timestamp_out_of_range_is_refused() {
    let batch = with_field(&kafka(), at::BASE_TIMESTAMP, i64::MAX.to_be_bytes());
    assert_eq!(validate_as_kafka(&batch), Err(BatchError::Timestamp { record: 1 }));
}

#[test]
fn fewer_records_than_announced_are_refused() {
    let expected = BatchError::MissingRecords { stated: 2, found: 1 };
    assert_eq!(validate_as_kafka(&with_records(2, &SMALLEST)), Err(expected));
    let huge = BatchError::MissingRecords { stated: i32::MAX as usize, found: 1 };
    assert_eq!(validate_as_kafka(&with_records(i32::MAX, &SMALLEST)), Err(huge));
}

#[test]
fn more_bytes_than_records_are_refused() {
    let body = [&SMALLEST[..], &SMALLEST[..]].concat();
    assert_eq!(validate_as_kafka(&with_records(1, &body)), Err(BatchError::SurplusBytes { bytes: 7 }));
}

#[test]
fn a_compacted_topic_needs_keys() {
    let rules = Rules { keys_required: true, ..kafka_rules() };
    let refused = validate(&parse(&with_records(1, &SMALLEST)), &rules);
    assert_eq!(refused, Err(BatchError::KeyMissing { record: 0 }));
    assert_eq!(validate(&parse(&kafka()), &rules), Ok(()));
}

#[test]
fn a_kafka_producer_cannot_use_a_stream_id() {
    assert_eq!(validate_as_kafka(&plain()), Err(BatchError::StreamIdFromKafka { id: STREAM.0 }));
}

#[test]
fn on_the_agent_s_path_the_placement_is_empty() {
    let moved = with_field(&plain(), 0, 1i64.to_be_bytes());
    assert_eq!(validate_as_agent(&moved), Err(BatchError::Placement { base_offset: 1, epoch: -1 }));
    let epoch = with_field(&plain(), at::LEADER_EPOCH, 0i32.to_be_bytes());
    assert_eq!(validate_as_agent(&epoch), Err(BatchError::Placement { base_offset: 0, epoch: 0 }));
    // librdkafka sends epoch 0 and Kafka does not look.
    let kafka = with_field(&kafka(), at::LEADER_EPOCH, 0i32.to_be_bytes());
    assert_eq!(validate_as_kafka(&kafka), Ok(()));
}

#[test]
fn an_agent_needs_a_stream_id() {
    for id in [-1, 9, limits::STREAM_ID_MIN - 1, i64::MIN] {
        let batch = with_field(&plain(), at::PRODUCER_ID, id.to_be_bytes());
        assert_eq!(validate_as_agent(&batch), Err(BatchError::NotAStream { id }));
    }
}

#[test]
fn a_stream_has_epoch_zero() {
    for epoch in [-1i16, 1] {
        let batch = with_field(&plain(), at::PRODUCER_EPOCH, epoch.to_be_bytes());
        assert_eq!(validate_as_agent(&batch), Err(BatchError::StreamEpoch { epoch }));
    }
}

#[test]
fn a_stream_ends_before_its_last_sequence() {
    let last = i32::try_from(STREAM_RECORDS_MAX).unwrap() - 20;
    let batch = with_field(&plain(), at::BASE_SEQUENCE, last.to_be_bytes());
    assert_eq!(validate_as_agent(&batch), Ok(()));
    for base_sequence in [last + 1, -1, i32::MAX] {
        let batch = with_field(&plain(), at::BASE_SEQUENCE, base_sequence.to_be_bytes());
        assert_eq!(validate_as_agent(&batch), Err(BatchError::StreamRange { base_sequence, records: 20 }));
    }
}

#[test]
fn a_record_above_its_limit_is_refused_from_an_agent() {
    let value = vec![b'x'; RECORD_BYTES_MAX];
    let mut body = Vec::new();
    let mut fields = vec![0, 0, 0, 12];
    fields.extend_from_slice(DEVICE.as_bytes());
    write_varint(&mut fields, value.len() as i64);
    fields.extend_from_slice(&value);
    fields.push(0);
    write_varint(&mut body, fields.len() as i64);
    body.extend_from_slice(&fields);
    let batch = with_records(1, &body);
    assert!(batch.len() < AGENT_BATCH_BYTES_MAX);
    assert_eq!(validate_as_kafka(&batch), Ok(()));
    let mut agents = batch;
    patch_stream(&mut agents, STREAM, Sequence(0));
    let expected = BatchError::RecordTooLarge { record: 0, bytes: body.len(), max: RECORD_BYTES_MAX };
    assert_eq!(validate_as_agent(&agents), Err(expected));
}

#[test]
fn every_key_is_the_device_or_a_child_that_is_granted_to_it() {
    let mut builder = BatchBuilder::new(agent_options(Compression::Zstd));
    builder.push(START_MS, Some(DEVICE.as_bytes()), None, &[]).unwrap();
    builder.push(START_MS, Some(b"meter-1"), None, &[]).unwrap();
    let batch = builder.finish().unwrap();
    assert_eq!(validate_as_agent(&batch), Err(BatchError::KeyNotAllowed { record: 1 }));
    let device = device();
    let grant = GatewayGrant::new([DeviceId::try_from("meter-1").unwrap()]);
    let origin = OriginRules::Agent { device: &device, grant: &grant, gap_records_max: 1 };
    assert_eq!(validate(&parse(&batch), &Rules { origin, ..kafka_rules() }), Ok(()));

    let mut builder = BatchBuilder::new(agent_options(Compression::None));
    builder.push(START_MS, None, None, &[]).unwrap();
    let keyless = builder.finish().unwrap();
    assert_eq!(validate_as_agent(&keyless), Err(BatchError::KeyNotAllowed { record: 0 }));
}

#[test]
fn on_the_agent_s_path_the_max_timestamp_is_the_latest_record_s() {
    let latest = START_MS + 19_000;
    let batch = with_field(&plain(), at::MAX_TIMESTAMP, (latest + 1).to_be_bytes());
    assert_eq!(
        validate_as_agent(&batch),
        Err(BatchError::MaxTimestamp { stated: latest + 1, found: latest })
    );
}

#[test]
fn a_gap_has_a_longest_length() {
    assert_eq!(validate_as_agent(&gap_batch(1_000)), Ok(()));
    let expected = BatchError::GapTooLong { records: 1_001, max: 1_000 };
    assert_eq!(validate_as_agent(&gap_batch(1_001)), Err(expected));
}

#[test]
fn a_gap_is_alone_in_its_batch() {
    let mut builder = BatchBuilder::new(agent_options(Compression::None));
    builder.push(START_MS, Some(DEVICE.as_bytes()), None, &[]).unwrap();
    builder.push(START_MS, Some(DEVICE.as_bytes()), None, &[(headers::GAP, b"1")]).unwrap();
    assert_eq!(validate_as_agent(&builder.finish().unwrap()), Err(BatchError::GapNotAlone { record: 1 }));
}

#[test]
fn a_gap_says_what_is_missing() {
    for value in [None, Some(&b"\xa0"[..])] {
        let mut builder = BatchBuilder::new(agent_options(Compression::None));
        builder.push(START_MS, Some(DEVICE.as_bytes()), value, &[(headers::GAP, b"1")]).unwrap();
        let refused = validate_as_agent(&builder.finish().unwrap());
        assert_eq!(refused, Err(BatchError::Gap(GapError::Malformed)));
    }
}

#[test]
fn header_depth_looks_at_the_header_and_the_crc_only() {
    let rules = Rules { depth: Depth::Header, ..kafka_rules() };
    assert_eq!(validate(&parse(&with_body(&kafka(), 4, b"nonsense")), &rules), Ok(()));
    let control = with_attributes(&kafka(), 1 << 5);
    assert_eq!(validate(&parse(&control), &rules), Err(BatchError::Control));
}

#[test]
fn a_gap_of_unknown_size_is_one_record_and_reads_back() {
    let gap = Gap { count: GapCount::Unknown, from_ms: None, to_ms: None, reason: GapReason::Quarantined };
    let batch = build_gap(&device(), STREAM, Sequence::ZERO, 1, &gap);
    assert_eq!(validate_as_agent(&batch), Ok(()));
    let header = parse(&batch).header().clone();
    assert_eq!((header.record_count, header.offset_span(), header.base_sequence), (1, 1, 0));
    assert_eq!((header.base_timestamp, header.max_timestamp), (-1, -1));
    assert_eq!(schemas::read_gap(&records(&batch)[0]), Ok(Some(gap)));
    assert_eq!(schemas::read_gap(&records(&plain())[0]), Ok(None));
    assert_eq!(ProducerEpoch(header.producer_epoch), ProducerEpoch(0));
}

fn write_varint(output: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        output.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    output.push(rest as u8);
}
