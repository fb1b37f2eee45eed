//! What people and sinks see of a record.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use schemas::headers::{self, StreamStart, StreamStartReason, Untimed};
use schemas::{
    BatchBuilder, BuilderOptions, Content, DecodedRecord, Gap, GapCount, GapReason, Measurement, ProducerId,
    Sequence, Value, build_gap, decode_record, encode_pack, patch_log_append_time,
};
use serde_json::json;
use uuid::Uuid;

fn decode(batch: &[u8]) -> DecodedRecord {
    decode_record(parse(batch).header(), &records(batch)[0])
}

fn one(value: &[u8], headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    builder.push(START_MS + 5, Some(DEVICE.as_bytes()), Some(value), headers).unwrap();
    builder.finish().unwrap().to_vec()
}

fn pack() -> Vec<u8> {
    let measured = |name: &str, unit: Option<&str>, value: Value| Measurement {
        name: name.into(),
        unit: unit.map(str::to_owned),
        value,
    };
    encode_pack(&[
        measured("temp °", Some("Cel"), Value::Float(21.5)),
        measured("big", None, Value::Integer((1 << 53) + 1)),
        measured("state", None, "on".into()),
        measured("ok", None, true.into()),
        measured("raw", None, Value::Bytes(vec![1, 2, 255])),
    ])
    .unwrap()
}

#[test]
fn a_pack_is_shown_with_values_units_and_tags() {
    let decoded = decode(&one(&pack(), &[("tag.site", b"north"), ("other", b"x")]));
    assert!(matches!(&decoded.content, Content::Measurements(measurements) if measurements.len() == 5));
    let expected = json!({
        "device": "pump-7",
        "time": "2023-11-14T22:13:20.005Z",
        "values": {"temp °": 21.5, "big": 9_007_199_254_740_993i64, "state": "on", "ok": true, "raw": "AQL/"},
        "units": {"temp °": "Cel"},
        "tags": {"site": "north"},
    });
    assert_eq!(decoded.to_json(), expected);
}

#[test]
fn empty_members_are_left_out() {
    let value = encode_pack(&[Measurement { name: "n".into(), unit: None, value: 1.into() }]).unwrap();
    let expected = json!({"device": "pump-7", "time": "2023-11-14T22:13:20.005Z", "values": {"n": 1}});
    assert_eq!(decode(&one(&value, &[])).to_json(), expected);
}

#[test]
fn a_gap_is_shown_as_what_is_missing() {
    let gap = Gap {
        count: GapCount::Known(12),
        from_ms: Some(START_MS),
        to_ms: Some(START_MS + 60_000),
        reason: GapReason::Dropped,
    };
    let decoded = decode(&build_gap(&device(), STREAM, Sequence(0), 12, &gap));
    assert_eq!(decoded.content, Content::Gap(gap));
    let expected = json!({"device": "pump-7", "gap": {"count": 12, "from": "2023-11-14T22:13:20.000Z",
        "to": "2023-11-14T22:14:20.000Z", "reason": "dropped"}});
    assert_eq!(decoded.to_json(), expected);

    let unknown = Gap { count: GapCount::Unknown, from_ms: None, to_ms: None, reason: GapReason::Damaged };
    let decoded = decode(&build_gap(&device(), STREAM, Sequence(0), 1, &unknown));
    let expected = json!({"device": "pump-7", "gap": {"count": "unknown", "reason": "damaged"}});
    assert_eq!(decoded.to_json(), expected);
}

#[test]
fn a_plain_payload_is_shown_as_text_or_else_as_base64() {
    let octets: &[(&str, &[u8])] = &[(headers::CONTENT_TYPE, headers::OCTET_STREAM.as_bytes())];
    let text = decode(&one("Grüße\n".as_bytes(), octets));
    assert_eq!(text.to_json()["text"], json!("Grüße\n"));
    for bytes in [&b"\xff\x00"[..], b"a\x1b[2J"] {
        let binary = decode(&one(bytes, octets)).to_json();
        assert_eq!(binary["bytes"], json!(bytes.len()));
        assert!(binary.get("text").is_none() && binary["base64"].is_string());
    }
    assert_eq!(decode(&one(b"\xff\x00", octets)).to_json()["base64"], json!("/wA="));
}

#[test]
fn a_content_type_decides_even_where_the_bytes_would_be_a_pack() {
    let named = decode(&one(&pack(), &[(headers::CONTENT_TYPE, b"application/octet-stream")]));
    let expected = Content::Raw { bytes: pack().into(), content_type: Some(headers::OCTET_STREAM.into()) };
    assert_eq!(named.content, expected);
    let senml = decode(&one(&pack(), &[(headers::CONTENT_TYPE, headers::SENML_CBOR.as_bytes())]));
    assert!(matches!(senml.content, Content::Measurements(_)));
    let foreign = decode(&one(b"{\"a\": 1}", &[]));
    assert!(matches!(foreign.content, Content::Raw { content_type: None, .. }));
}

#[test]
fn an_untimed_record_says_so() {
    let untimed = Untimed { boot_id: Uuid::from_u128(7), boot_time_ms: 12 };
    let start = StreamStart { old_stream: ProducerId(1 << 62), reason: StreamStartReason::Fork };
    let decoded = decode(&one(
        &pack(),
        &[
            (headers::UNTIMED, untimed.to_header().as_bytes()),
            (headers::STREAM_START, start.to_header().as_bytes()),
        ],
    ));
    assert_eq!((decoded.untimed_since_boot, decoded.stream_start), (Some(untimed), Some(start)));
    assert_eq!(decoded.to_json()["untimed"], json!(true));
    // The mark stands even where its value is of a later version.
    let later = decode(&one(&pack(), &[(headers::UNTIMED, b"2 x")]));
    assert!(later.untimed && later.untimed_since_boot.is_none());
}

#[test]
fn the_time_is_the_append_time_where_the_topic_wants_it() {
    let mut batch = one(&pack(), &[]);
    patch_log_append_time(&mut batch, 1_500);
    assert_eq!(decode(&batch).timestamp_ms, 1_500);
    assert_eq!(decode(&batch).to_json()["time"], json!("1970-01-01T00:00:01.500Z"));
}

#[test]
fn a_time_beyond_the_calendar_is_a_number() {
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    builder.push(i64::MAX, None, Some(b"x"), &[]).unwrap();
    let decoded = decode(&builder.finish().unwrap());
    assert_eq!(decoded.to_json(), json!({"time": i64::MAX, "text": "x"}));
}

#[test]
fn a_time_before_the_year_0_is_a_number_and_every_other_one_rfc_3339() {
    for (ms, time) in [
        (-62_167_219_200_001, json!(-62_167_219_200_001_i64)),
        (-62_167_219_200_000, json!("0000-01-01T00:00:00.000Z")),
        (-1, json!("1969-12-31T23:59:59.999Z")),
    ] {
        let mut builder = BatchBuilder::new(BuilderOptions::default());
        builder.push(ms, None, Some(b"x"), &[]).unwrap();
        assert_eq!(decode(&builder.finish().unwrap()).to_json()["time"], time);
    }
}
