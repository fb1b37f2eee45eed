//! One function per decoder: it takes any bytes, must not panic, and asserts what holds of what it accepts.

use bytes::Bytes;
use schemas::headers::{StreamStart, Untimed};
use schemas::senml::foreign::{Encoding, Time, read_foreign_pack};
use schemas::{
    BATCH_HEADER_BYTES, Depth, DeviceId, GatewayGrant, OriginRules, RawBatch, Record, Rules, Sequence,
    TopicName, decode_pack, decode_record, encode_pack, patch_stream, read_gap, validate,
};
use schemas::{limits, mqtt, senml};

pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: [(&str, Target); 8] = [
    ("batch", batch),
    ("body", body),
    ("pack", pack),
    ("foreign_pack", foreign_pack),
    ("gap", gap),
    ("names", names),
    ("headers", headers),
    ("topics", topics),
];

/// Batches back to back, as they come; then each with its CRC made right, so that the body is reached.
pub fn batch(data: &[u8]) {
    let mut input = Bytes::copy_from_slice(data);
    while let Ok(Some(batch)) = RawBatch::split_first(&mut input) {
        check(&batch);
        let mut sealed = batch.bytes().to_vec();
        patch_stream(&mut sealed, schemas::stream_id(7), Sequence(0));
        check(&RawBatch::parse(sealed.into()).expect("patching changes no length"));
    }
}

/// The first byte is the compression, the second the record count, the rest a body.
pub fn body(data: &[u8]) {
    let [compression, count, body @ ..] = data else { return };
    let mut batch = vec![0; BATCH_HEADER_BYTES];
    batch.extend_from_slice(body);
    let length = i32::try_from(batch.len() - 12).expect("inputs are small");
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[12..16].copy_from_slice(&(-1i32).to_be_bytes());
    batch[16] = 2;
    batch[22] = compression % 8;
    batch[26] = count.saturating_sub(1);
    batch[60] = *count;
    patch_stream(&mut batch, schemas::stream_id(7), Sequence(0));
    check(&RawBatch::parse(batch.into()).expect("its header is right"));
}

fn check(batch: &RawBatch) {
    let device = DeviceId::try_from("pump-7").expect("a good id");
    let agent = OriginRules::Agent {
        device: &device,
        grant: &GatewayGrant::NONE,
        gap_records_max: limits::GAP_RECORDS_MAX,
    };
    let mut accepted = false;
    for origin in [OriginRules::Kafka { allow_transactional: true }, agent] {
        for depth in [Depth::Full, Depth::Header] {
            let rules =
                Rules { origin, max_batch_bytes: limits::MESSAGE_BYTES_MAX, depth, keys_required: false };
            accepted |= validate(batch, &rules).is_ok() && depth == Depth::Full;
        }
    }
    let Ok(records) = batch.records() else {
        assert!(!accepted, "an accepted batch can be read");
        return;
    };
    let mut read = 0;
    for record in records {
        let Ok(record) = record else {
            assert!(!accepted, "every record of an accepted batch can be read");
            return;
        };
        // Any JSON will do; the point is that it is made.
        assert!(decode_record(batch.header(), &record).to_json().is_object());
        read += 1;
    }
    assert!(!accepted || read == batch.header().record_count, "all records of an accepted batch are read");
}

pub fn pack(data: &[u8]) {
    let Ok(measurements) = decode_pack(data) else { return };
    assert!(!measurements.is_empty());
    // A foreign name may become too long when it is coded; what can be coded comes back as it was.
    if let Ok(again) = encode_pack(&measurements) {
        assert_eq!(decode_pack(&again).as_ref(), Ok(&measurements));
    }
}

/// The first byte chooses between JSON and CBOR.
pub fn foreign_pack(data: &[u8]) {
    let [choice, pack @ ..] = data else { return };
    let encoding = if choice % 2 == 0 { Encoding::Json } else { Encoding::Cbor };
    let Ok(records) = read_foreign_pack(pack, encoding) else { return };
    assert!(!records.is_empty());
    for record in records {
        assert!(!record.name.is_empty() && (record.value.is_some() || record.sum.is_some()));
        let (Time::At(ms) | Time::FromNow(ms)) = record.time;
        assert!(ms.unsigned_abs() <= 100_000_000_000_000);
    }
}

pub fn gap(data: &[u8]) {
    let record = Record {
        offset_delta: 0,
        timestamp_delta: 0,
        key: None,
        value: Some(Bytes::copy_from_slice(data)),
        headers: vec![(Bytes::from_static(schemas::headers::GAP.as_bytes()), None)],
    };
    if let Ok(gap) = read_gap(&record) {
        assert!(gap.is_some(), "the header says that it is one");
    }
}

pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    assert_eq!(senml::decode_name(&senml::encode_name(&text)), text);
    let decoded = senml::decode_name(&text);
    assert_eq!(senml::decode_name(&senml::encode_name(&decoded)), decoded);
    if let Ok(device) = DeviceId::try_from(text.as_ref()) {
        assert!(schemas::device_partition(&device, 7).0 < 7);
    }
}

pub fn headers(data: &[u8]) {
    if let Ok(untimed) = Untimed::from_header(data) {
        assert_eq!(Untimed::from_header(untimed.to_header().as_bytes()), Ok(untimed));
    }
    if let Ok(start) = StreamStart::from_header(data) {
        assert_eq!(StreamStart::from_header(start.to_header().as_bytes()), Ok(start));
    }
}

pub fn topics(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(Ok(topic)) = mqtt::parse_agent_topic(&text) {
        assert_eq!(mqtt::agent_topic(&topic.device, &topic.topic, topic.partition), text);
    }
    if let Some((topic, count)) = mqtt::parse_log_topic_answer(&text) {
        assert!(TopicName::try_from(topic.as_str()).is_ok() && count > 0);
    }
}
