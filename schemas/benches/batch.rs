//! How many 100-byte records one core builds, validates and decodes a second.
//! `cargo bench -p schemas`
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use schemas::{
    BatchBuilder, BuilderOptions, Compression, Depth, DeviceId, GatewayGrant, Measurement, OriginRules,
    ProducerEpoch, RawBatch, Rules, Sequence, decode_pack, encode_pack, limits, stream_id, validate,
};

const FOR: Duration = Duration::from_millis(500);
const RECORDS: usize = 500;
const DEVICE: &str = "device-0017";

fn main() {
    let values: Vec<String> = (0..RECORDS).map(|n| format!("{:<80}", n * 7919)).collect();
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let batch = build(compression, &values);
        let device = DeviceId::try_from(DEVICE).unwrap();
        let rules = Rules {
            origin: OriginRules::Agent { device: &device, grant: &GatewayGrant::NONE, gap_records_max: 1 },
            max_batch_bytes: limits::AGENT_BATCH_BYTES_MAX,
            depth: Depth::Full,
            keys_required: false,
        };
        println!("{compression:?}: {} bytes for {RECORDS} records", batch.len());
        rate("  build", || drop(black_box(build(compression, &values))));
        rate("  validate", || {
            let batch = RawBatch::parse(black_box(batch.clone())).unwrap();
            validate(&batch, &rules).unwrap();
        });
        rate("  read as records", || {
            let batch = RawBatch::parse(black_box(batch.clone())).unwrap();
            batch.records().unwrap().for_each(|record| drop(black_box(record.unwrap())));
        });
    }
    let pack: Vec<Measurement> = (0..4)
        .map(|n| Measurement { name: format!("sensor_{n}"), unit: None, value: (f64::from(n) * 0.1).into() })
        .collect();
    let encoded = encode_pack(&pack).unwrap();
    println!("packs of 4 values");
    rate("  encode", || (0..RECORDS).for_each(|_| drop(black_box(encode_pack(black_box(&pack)).unwrap()))));
    rate("  decode", || {
        (0..RECORDS).for_each(|_| drop(black_box(decode_pack(black_box(&encoded)).unwrap())));
    });
}

fn build(compression: Compression, values: &[String]) -> Bytes {
    let mut builder = BatchBuilder::new(BuilderOptions {
        compression,
        producer: Some((stream_id(1), ProducerEpoch(0), Sequence::ZERO)),
        base_timestamp: None,
    });
    for (n, value) in values.iter().enumerate() {
        let at = 1_700_000_000_000 + n as i64 * 100;
        builder.push(at, Some(DEVICE.as_bytes()), Some(value.as_bytes()), &[]).unwrap();
    }
    builder.finish().unwrap()
}

fn rate(name: &str, mut round: impl FnMut()) {
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < FOR {
        round();
        rounds += 1;
    }
    let per_second = (rounds * RECORDS) as f64 / start.elapsed().as_secs_f64();
    println!("{name:<18} {:8.2} million records/s", per_second / 1e6);
}
