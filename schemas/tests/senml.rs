//! SenML packs: what goes in comes out, and nothing else comes out.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use schemas::limits::{MEASUREMENT_NAME_BYTES_MAX, PACK_BYTES_MAX, PACK_MEASUREMENTS_MAX, UNIT_BYTES_MAX};
use schemas::{DecodePackError, EncodePackError, Measurement, Value, decode_pack, encode_pack};

fn measured(name: &str, value: impl Into<Value>) -> Measurement {
    Measurement { name: name.into(), unit: None, value: value.into() }
}

#[test]
fn a_pack_has_integer_labels_and_keeps_integers_apart_from_floats() {
    let pack = encode_pack(&[
        Measurement { name: "t out".into(), unit: Some("Cel".into()), value: Value::Float(21.5) },
        measured("count", 21),
        measured("ok", true),
    ])
    .unwrap();
    let expected = b"\x83\
        \xa3\x00\x67t_20out\x01\x63Cel\x02\xf9\x4d\x60\
        \xa2\x00\x65count\x02\x15\
        \xa2\x00\x62ok\x04\xf5";
    assert_eq!(pack, expected);
}

#[test]
fn integers_keep_every_bit_that_cbor_has() {
    for number in [0, 1 << 53, (1 << 53) + 1, i64::MAX.into(), i64::MIN.into(), (1 << 64) - 1, -(1 << 64)] {
        let pack = encode_pack(&[measured("n", 0).with(Value::Integer(number))]).unwrap();
        assert_eq!(decode_pack(&pack).unwrap()[0].value, Value::Integer(number));
    }
    for number in [1 << 64, -(1 << 64) - 1] {
        let refused = encode_pack(&[measured("n", 0).with(Value::Integer(number))]);
        assert_eq!(refused, Err(EncodePackError::IntegerRange { name: "n".into() }));
    }
}

trait With {
    fn with(self, value: Value) -> Self;
}

impl With for Measurement {
    fn with(self, value: Value) -> Self {
        Measurement { value, ..self }
    }
}

#[test]
fn an_encoder_refuses_what_may_not_stand_in_a_pack() {
    assert_eq!(encode_pack(&[]), Err(EncodePackError::Empty));
    assert_eq!(encode_pack(&[measured("", 1)]), Err(EncodePackError::NameMissing));
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let refused = encode_pack(&[measured("n", number)]);
        assert_eq!(refused, Err(EncodePackError::NotFinite { name: "n".into() }));
    }
    let long = "n".repeat(MEASUREMENT_NAME_BYTES_MAX + 1);
    assert_eq!(encode_pack(&[measured(&long, 1)]), Err(EncodePackError::NameTooLong { name: long.clone() }));
    let unit = Some("u".repeat(UNIT_BYTES_MAX + 1));
    let refused = encode_pack(&[Measurement { unit, ..measured("n", 1) }]);
    assert_eq!(refused, Err(EncodePackError::UnitTooLong { name: "n".into() }));
    let count = PACK_MEASUREMENTS_MAX + 1;
    assert_eq!(encode_pack(&vec![measured("n", 1); count]), Err(EncodePackError::TooMany { count }));
    let large = [measured("n", "x".repeat(PACK_BYTES_MAX))];
    assert!(matches!(encode_pack(&large), Err(EncodePackError::TooLarge { .. })));
}

#[test]
fn a_decoder_refuses_what_may_not_stand_in_a_pack() {
    use DecodePackError::*;
    let long_name = [b"\x81\xa2\x00\x79\x04\x01".to_vec(), vec![b'n'; 0x401], b"\x02\x01".to_vec()].concat();
    let long_unit = [b"\x81\xa3\x00\x61n\x02\x01\x01\x78\x41".to_vec(), vec![b'u'; 0x41]].concat();
    let cases: [(&[u8], DecodePackError); 18] = [
        (b"", Malformed),
        (b"\x80", Empty),
        (b"\xa2\x00\x61n\x02\x01", Malformed),
        (b"\x81\x01", Malformed),
        (b"\x81\xa2\x00\x61n\x02\x01\x00", Malformed),
        (b"\x81\xa2\x00\x62\xff\xff\x02\x01", Malformed),
        (b"\x81\xa1\x02\x01", NameMissing { index: 0 }),
        (b"\x81\xa2\x00\x60\x02\x01", NameMissing { index: 0 }),
        (&long_name, NameTooLong { index: 0 }),
        (&long_unit, UnitTooLong { index: 0 }),
        (b"\x82\xa2\x00\x61n\x02\x01\xa1\x00\x61n", ValueMissing { index: 1 }),
        (b"\x81\xa2\x00\x61n\x02\xf9\x7e\x00", NotFinite { index: 0 }),
        (b"\x81\xa2\x00\x61n\x02\x61x", Label { index: 0, label: 2 }),
        (b"\x81\xa3\x00\x61n\x02\x01\x02\x01", Label { index: 0, label: 2 }),
        (b"\x81\xa3\x00\x61n\x02\x01\x03\x61x", Label { index: 0, label: 3 }),
        (b"\x81\xa3\x00\x61n\x02\x01\x06\x01", Unresolved { index: 0, label: 6 }),
        (b"\x81\xa3\x00\x61n\x02\x01\x21\x61b", Unresolved { index: 0, label: -2 }),
        (b"\x81\xa3\x00\x61n\x02\x01\x62x_\x01", MustUnderstand { index: 0 }),
    ];
    for (pack, error) in cases {
        assert_eq!(decode_pack(pack), Err(error), "{pack:02x?}");
    }
    assert_eq!(decode_pack(&vec![0; PACK_BYTES_MAX + 1]), Err(TooLarge { bytes: PACK_BYTES_MAX + 1 }));
}

#[test]
fn unknown_labels_are_skipped_unless_they_nest_too_deep() {
    let known = vec![measured("n", 1)];
    assert_eq!(decode_pack(b"\x81\xa4\x00\x61n\x02\x01\x09\x81\xa1\x00\x00\x61x\xf6"), Ok(known.clone()));
    // Indefinite lengths are CBOR too.
    assert_eq!(decode_pack(b"\x9f\xbf\x00\x7f\x61n\xff\x02\x01\xff\xff"), Ok(known));
    let deep = [b"\x81\xa3\x00\x61n\x02\x01\x09".to_vec(), vec![0x81; 20], vec![0]].concat();
    assert_eq!(decode_pack(&deep), Err(DecodePackError::Malformed));
    assert_eq!(decode_pack(&vec![0x81; PACK_BYTES_MAX]), Err(DecodePackError::Malformed));
}

#[test]
fn too_many_measurements_are_refused_by_the_decoder_too() {
    let count = PACK_MEASUREMENTS_MAX + 1;
    let mut pack = vec![0x99];
    pack.extend_from_slice(&u16::try_from(count).unwrap().to_be_bytes());
    pack.extend_from_slice(&b"\xa2\x00\x61n\x02\x01".repeat(count));
    assert_eq!(decode_pack(&pack), Err(DecodePackError::Malformed));
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::Float),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::Text),
        any::<bool>().prop_map(Value::Bool),
        vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
    ]
}

fn any_pack() -> impl Strategy<Value = Vec<Measurement>> {
    let any_measurement = (".{1,20}", option::of(".{0,10}"), any_value())
        .prop_map(|(name, unit, value)| Measurement { name, unit, value });
    vec(any_measurement, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_pack_survives_and_none_of_its_cuts_does(measurements in any_pack()) {
        let pack = encode_pack(&measurements).unwrap();
        prop_assert_eq!(decode_pack(&pack).unwrap(), measurements);
        for cut in 0..pack.len() {
            prop_assert!(decode_pack(&pack[..cut]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_refused_or_decoded(pack in vec(any::<u8>(), 0..64)) {
        if let Ok(measurements) = decode_pack(&pack) {
            prop_assert!(!measurements.is_empty());
        }
    }
}
