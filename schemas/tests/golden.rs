//! The formats as they were written once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::PathBuf;

use common::*;
use schemas::headers::{self, StreamStart, StreamStartReason, Untimed};
use schemas::{
    BatchBuilder, Compression, Gap, GapCount, GapReason, Measurement, Sequence, Value, build_gap,
    decode_pack, encode_pack, read_gap,
};
use uuid::Uuid;

/// The golden file's bytes; written from `built` where it is missing and that is wished.
fn golden(name: &str, built: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if !path.exists() && std::env::var_os("HEADWATER_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, built).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn holds(name: &str, built: &[u8]) {
    assert_eq!(golden(name, built), built, "{name}");
}

#[test]
fn an_uncompressed_batch_is_still_built_to_the_byte() {
    holds("batch-none.bin", &agent_batch(Compression::None));
}

/// A compressor may find other bytes in its next release; what it wrote must always be read.
#[test]
fn compressed_batches_are_still_read() {
    for (name, compression) in [("batch-lz4.bin", Compression::Lz4), ("batch-zstd.bin", Compression::Zstd)] {
        let stored = golden(name, &agent_batch(compression));
        assert_eq!(parse(&stored).header().attributes.compression(), Ok(compression));
        assert_eq!(validate_as_agent(&stored), Ok(()), "{name}");
        assert_eq!(records(&stored), records(&agent_batch(Compression::None)), "{name}");
    }
}

#[test]
fn gaps_are_still_built_to_the_byte() {
    let known = Gap {
        count: GapCount::Known(480),
        from_ms: Some(START_MS),
        to_ms: Some(START_MS + 480_000),
        reason: GapReason::Dropped,
    };
    let unknown = Gap { count: GapCount::Unknown, from_ms: None, to_ms: None, reason: GapReason::Damaged };
    for (name, gap, sequences) in [("gap-known.bin", known, 480), ("gap-unknown.bin", unknown, 1)] {
        let built = build_gap(&device(), STREAM, Sequence(60), sequences, &gap);
        holds(name, &built);
        assert_eq!(read_gap(&records(&built)[0]), Ok(Some(gap)), "{name}");
    }
}

#[test]
fn the_marks_in_headers_are_still_built_to_the_byte() {
    let untimed = Untimed { boot_id: Uuid::from_u128(0x1234_5678_9abc_def0), boot_time_ms: 61_500 };
    let start = StreamStart { old_stream: STREAM, reason: StreamStartReason::Forgotten };
    let (untimed_value, start_value) = (untimed.to_header(), start.to_header());
    let mut builder = BatchBuilder::new(agent_options(Compression::None));
    let marks: [(&str, &[u8]); 3] = [
        (headers::UNTIMED, untimed_value.as_bytes()),
        (headers::STREAM_START, start_value.as_bytes()),
        ("tag.site", b"north"),
    ];
    builder.push(START_MS, Some(DEVICE.as_bytes()), Some(&pack(&sample())), &marks).unwrap();
    let built = builder.finish().unwrap();
    holds("marks.bin", &built);
    let decoded = schemas::decode_record(parse(&built).header(), &records(&built)[0]);
    assert_eq!((decoded.untimed_since_boot, decoded.stream_start), (Some(untimed), Some(start)));
}

fn sample() -> Vec<Measurement> {
    let measured = |name: &str, unit: Option<&str>, value: Value| Measurement {
        name: name.into(),
        unit: unit.map(str::to_owned),
        value,
    };
    vec![
        measured("T_out", Some("Cel"), Value::Float(-3.25)),
        measured("meter-1/energy", Some("J"), Value::Integer(1 << 60)),
        measured("min", None, Value::Integer(-(1 << 64))),
        measured("tenth", None, Value::Float(0.1)),
        measured("Größe _5F", None, Value::Text("groß".into())),
        measured("0_", None, Value::Bool(false)),
        measured("-raw", None, Value::Bytes(vec![0, 255])),
    ]
}

fn pack(measurements: &[Measurement]) -> Vec<u8> {
    encode_pack(measurements).unwrap()
}

#[test]
fn packs_are_still_encoded_to_the_byte() {
    let row: Vec<_> = (1..=28)
        .map(|n| Measurement {
            name: format!("column_{n}"),
            unit: None,
            value: Value::Float(f64::from(n) * 0.1),
        })
        .collect();
    for (name, measurements) in [("pack-values.cbor", sample()), ("pack-row.cbor", row)] {
        let built = pack(&measurements);
        holds(name, &built);
        assert_eq!(decode_pack(&built).unwrap(), measurements, "{name}");
    }
}

#[test]
fn batches_of_the_java_client_are_read_in_every_compression() {
    let expected = records(&golden("kafka-none.bin", &[]));
    assert_eq!(expected.len(), 200);
    assert_eq!(expected[199].timestamp_delta, 199 * 86_400_000);
    assert_eq!(expected[4].headers.len(), 2);
    assert_eq!(expected[4].header("none"), Some(None));
    assert_eq!((&expected[77].key, &expected[77].value), (&None, &None));
    let kinds = [
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
        ("zstd22", Compression::Zstd),
    ];
    for (name, compression) in kinds {
        let batch = golden(&format!("kafka-{name}.bin"), &[]);
        assert_eq!(parse(&batch).header().attributes.compression(), Ok(compression), "{name}");
        assert_eq!(validate_as_kafka(&batch), Ok(()), "{name}");
        assert_eq!(records(&batch), expected, "{name}");
    }
}
