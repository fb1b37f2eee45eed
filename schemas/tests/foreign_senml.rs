//! Packs as RFC 8428 writes them, and what becomes of them.

#![allow(clippy::unwrap_used, reason = "a test may")]

use schemas::Value;
use schemas::senml::foreign::{Encoding, ForeignPackError, Resolved, Time, read_foreign_pack};

fn json(pack: &str) -> Result<Vec<Resolved>, ForeignPackError> {
    read_foreign_pack(pack.as_bytes(), Encoding::Json)
}

/// Name, unit, value and time of every record.
fn told(pack: &str) -> Vec<(String, String, Value, Time)> {
    let records = json(pack).unwrap_or_else(|error| panic!("{pack}: {error}"));
    records.into_iter().map(|r| (r.name, r.unit.unwrap_or_default(), r.value.unwrap(), r.time)).collect()
}

fn one(name: &str, unit: &str, value: impl Into<Value>, time: Time) -> (String, String, Value, Time) {
    (name.to_owned(), unit.to_owned(), value.into(), time)
}

const NOW: Time = Time::FromNow(0);
const WIRE: &str = "urn:dev:ow:10e2073a01080063";

/// §5.1.2 and §6: voltage and current over five seconds.
const CURRENTS: &str = r#"[
  {"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
  {"n":"current","t":-5,"v":1.2},
  {"n":"current","t":-4,"v":1.3},
  {"n":"current","t":-3,"v":1.4},
  {"n":"current","t":-2,"v":1.5},
  {"n":"current","t":-1,"v":1.6},
  {"n":"current","v":1.7}
]"#;
const CURRENTS_CBOR: &str = "87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b\
    00106223614120050067766f6c7461676501615602fb405e066666666666a3006763757272656e74062402fb3ff3333333333333\
    a3006763757272656e74062302fb3ff4cccccccccccda3006763757272656e74062202fb3ff6666666666666a3006763757272656e\
    74062102f93e00a3006763757272656e74062002fb3ff999999999999aa3006763757272656e74060002fb3ffb333333333333";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn a_single_data_point_is_of_now() {
    let pack = r#"[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#;
    assert_eq!(told(pack), [one(WIRE, "Cel", 23.1, NOW)]);
}

#[test]
fn several_data_points_share_a_base_name() {
    let pack = r#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},{"n":"current","u":"A","v":1.2}]"#;
    let expected =
        [one(&format!("{WIRE}:voltage"), "V", 120.1, NOW), one(&format!("{WIRE}:current"), "A", 1.2, NOW)];
    assert_eq!(told(pack), expected);
}

#[test]
fn times_are_added_to_a_base_time_in_json_and_in_cbor() {
    let at = |seconds: i64| Time::At(1_276_020_076_001 + 1000 * seconds);
    let current = |value: f64, seconds| one("urn:dev:ow:10e2073a0108006:current", "A", value, at(seconds));
    let expected = [
        one("urn:dev:ow:10e2073a0108006:voltage", "V", 120.1, at(0)),
        current(1.2, -5),
        current(1.3, -4),
        current(1.4, -3),
        current(1.5, -2),
        current(1.6, -1),
        current(1.7, 0),
    ];
    assert_eq!(told(CURRENTS), expected);
    let of_cbor = read_foreign_pack(&bytes(CURRENTS_CBOR), Encoding::Cbor).unwrap();
    assert_eq!(of_cbor, json(CURRENTS).unwrap());
}

/// §5.1.3, and §5.1.4, which is the same resolved.
#[test]
fn several_measurements_are_the_same_when_they_are_resolved() {
    let pack = r#"[
      {"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},
      {"u":"lon","v":24.30621},
      {"u":"lat","v":60.07965},
      {"t":60,"v":20.3},
      {"u":"lon","t":60,"v":24.30622},
      {"u":"%EL","t":150,"v":98}
    ]"#;
    let resolved = r#"[
      {"n":"urn:dev:ow:10e2073a01080063","u":"%RH","t":1.320067464e+09,"v":20},
      {"n":"urn:dev:ow:10e2073a01080063","u":"lon","t":1.320067464e+09,"v":24.30621},
      {"n":"urn:dev:ow:10e2073a01080063","u":"lat","t":1.320067464e+09,"v":60.07965},
      {"n":"urn:dev:ow:10e2073a01080063","u":"%RH","t":1.320067524e+09,"v":20.3},
      {"n":"urn:dev:ow:10e2073a01080063","u":"lon","t":1.320067524e+09,"v":24.30622},
      {"n":"urn:dev:ow:10e2073a01080063","u":"%EL","t":1.320067614e+09,"v":98}
    ]"#;
    assert_eq!(told(pack), told(resolved));
    assert_eq!(told(pack)[4], one(WIRE, "lon", 24.30622, Time::At(1_320_067_524_000)));
}

#[test]
fn every_type_of_value_is_taken() {
    let pack = r#"[
      {"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},
      {"n":"label","vs":"Machine Room"},
      {"n":"open","vb":false},
      {"n":"nfv-reader","vd":"aGkgCg"}
    ]"#;
    let values: Vec<Value> = told(pack).into_iter().map(|(_, _, value, _)| value).collect();
    let expected = [23.1.into(), "Machine Room".into(), false.into(), Value::Bytes(b"hi \n".to_vec())];
    assert_eq!(values, expected);
}

#[test]
fn a_base_field_is_good_until_the_next_of_its_kind() {
    let pack = r#"[
      {"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":25.2},
      {"n":"humidity","u":"%RH","v":30},
      {"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3},
      {"n":"humidity","u":"%RH","v":67}
    ]"#;
    let at = Time::At(1_320_078_429_000);
    let expected = [
        one("2001:db8::2/temperature", "Cel", 25.2, at),
        one("2001:db8::2/humidity", "%RH", 30.0, at),
        one("2001:db8::1/temperature", "Cel", 12.3, at),
        one("2001:db8::1/humidity", "%RH", 67.0, at),
    ];
    assert_eq!(told(pack), expected);
}

/// §5.1.7: a thermostat, whose first record has base fields alone, and two lights.
#[test]
fn what_sets_an_actuator_is_read_like_any_other_pack() {
    let thermostat = r#"[
      {"bn":"urn:dev:ow:10e2073a01080063:"},
      {"n":"temp","u":"Cel","v":23.1},
      {"n":"heat","u":"/","v":1},
      {"n":"fan","u":"/","v":0}
    ]"#;
    let names: Vec<String> = told(thermostat).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["temp", "heat", "fan"].map(|name| format!("{WIRE}:{name}")));
    let lights = r#"[
      {"bt":1.320078429e+09,"bu":"/","n":"2001:db8::3","v":0.5},
      {"n":"2001:db8::4","v":0.5},
      {"n":"2001:db8::3","t":0.1,"v":0},
      {"n":"2001:db8::4","t":0.1,"v":0}
    ]"#;
    assert_eq!(told(lights)[2], one("2001:db8::3", "/", 0.0, Time::At(1_320_078_429_100)));
}

#[test]
fn times_below_2_to_the_28_are_relative_to_now() {
    let time = |t: &str| json(&format!(r#"[{{"n":"a","v":1,"t":{t}}}]"#)).map(|records| records[0].time);
    assert_eq!(time("-2.5"), Ok(Time::FromNow(-2500)));
    assert_eq!(time("268435455"), Ok(Time::FromNow(268_435_455_000)));
    assert_eq!(time("268435456"), Ok(Time::At(268_435_456_000)));
    assert_eq!(time("1700000000.0004"), Ok(Time::At(1_700_000_000_000)));
    assert_eq!(time("1e300"), Err(ForeignPackError::TimeRange { record: 1 }));
    let both = r#"[{"bt":1700000000,"n":"a","t":-1700000000,"v":1}]"#;
    assert_eq!(json(both).unwrap()[0].time, NOW, "the rule is of the sum");
}

#[test]
fn values_and_sums_are_added_to_their_bases() {
    let pack = r#"[
      {"bn":"m/","bv":100,"n":"a","v":1.5},
      {"n":"b"},
      {"n":"c","vs":"text"},
      {"bs":1000,"n":"d","s":5,"v":0},
      {"n":"e"}
    ]"#;
    let records = json(pack).unwrap();
    let values: Vec<_> = records.iter().map(|record| record.value.clone()).collect();
    let number = |number: f64| Some(Value::Float(number));
    assert_eq!(values, [number(101.5), number(100.0), Some("text".into()), number(100.0), number(100.0)]);
    let sums: Vec<_> = records.into_iter().map(|record| record.sum).collect();
    assert_eq!(sums, [None, None, None, number(1005.0), number(1000.0)]);
    let sum_only = json(r#"[{"n":"energy","u":"W","s":3600000}]"#).unwrap();
    assert_eq!((&sum_only[0].value, &sum_only[0].sum), (&None, &number(3_600_000.0)));
}

#[test]
fn large_integers_stay_exact() {
    let pack = r#"[{"n":"a","v":9007199254740993},{"bv":1,"n":"b","v":18446744073709551614}]"#;
    let values: Vec<_> = json(pack).unwrap().into_iter().map(|record| record.value).collect();
    let integer = |number: i128| Some(Value::Integer(number));
    assert_eq!(values, [integer(9_007_199_254_740_993), integer(18_446_744_073_709_551_615)]);
    let beyond = r#"[{"bv":1,"n":"b","v":18446744073709551615}]"#;
    assert_eq!(json(beyond), Err(ForeignPackError::NumberRange { record: 1 }));
}

#[test]
fn what_need_not_be_understood_is_left_out() {
    let pack = r#"[{"n":"a","v":1,"ut":60,"color":{"r":[1,2]},"b_x":null}]"#;
    assert_eq!(told(pack), [one("a", "", 1.0, NOW)]);
    // {0: "a", 2: 1, "x": [1]}
    let cbor = [0x81, 0xa3, 0x00, 0x61, b'a', 0x02, 0x01, 0x61, b'x', 0x81, 0x01];
    assert_eq!(read_foreign_pack(&cbor, Encoding::Cbor), json(r#"[{"n":"a","v":1}]"#));
}

#[test]
fn a_pack_that_is_wrong_is_refused_and_the_record_named() {
    for (pack, what) in [
        ("[]", "nothing in the pack"),
        (r#"[{"bn":"a"}]"#, "nothing in the pack"),
        ("{}", "no SenML in JSON"),
        ("[1]", "no SenML in JSON"),
        (r#"[{"n":"a","v":1}"#, "EOF"),
        (r#"[{"v":1}]"#, "record 1 has no name"),
        (r#"[{"n":"a","v":1},{"n":"b"}]"#, "record 2 has no value"),
        (r#"[{"n":"a","u":"m"}]"#, "record 1 has no value"),
        (r#"[{"n":"a","v":1,"vs":"x"}]"#, "more than one value"),
        (r#"[{"n":"a","vb":true,"v":1}]"#, "more than one value"),
        (r#"[{"n":"a","v":1,"v":2}]"#, "v is of the wrong type, or there twice"),
        (r#"[{"n":"a","v":"1"}]"#, "v is to be a number"),
        (r#"[{"n":1,"v":1}]"#, "n is of the wrong type"),
        (r#"[{"n":"a","vb":1}]"#, "vb is of the wrong type"),
        (r#"[{"n":"a","vd":"a+/="}]"#, "vd is of the wrong type"),
        (r#"[{"n":"a","v":1},{"n":"a","v":1,"mtu_":1}]"#, "record 2: the field \"mtu_\" must be understood"),
        (r#"[{"bver":11,"n":"a","v":1}]"#, "version 11"),
        (r#"[{"n":"a","v":1e999}]"#, "no SenML in JSON"),
        (r#"[{"bv":1e308,"n":"a","v":1e308}]"#, "not finite"),
    ] {
        let said = json(pack).map(|records| format!("{records:?}")).unwrap_or_else(|error| error.to_string());
        assert!(said.contains(what), "{pack}: {said}");
    }
    // {0: "a", 2: NaN}
    let nan = [0x81, 0xa2, 0x00, 0x61, b'a', 0x02, 0xf9, 0x7e, 0x00];
    let said = read_foreign_pack(&nan, Encoding::Cbor);
    assert_eq!(said, Err(ForeignPackError::NumberRange { record: 1 }));
}

/// {0: "a", 2: …}
fn of_cbor(value: &[u8]) -> Result<Option<Value>, String> {
    let pack = [&[0x81, 0xa2, 0x00, 0x61, b'a', 0x02][..], value].concat();
    let records = read_foreign_pack(&pack, Encoding::Cbor).map_err(|error| error.to_string())?;
    Ok(records[0].value.clone())
}

#[test]
fn decimal_fractions_are_numbers_and_other_tags_change_nothing() {
    let number = |number: f64| Ok(Some(Value::Float(number)));
    // RFC 8949's own: 273.15 = 4([-2, 27315])
    assert_eq!(of_cbor(&[0xc4, 0x82, 0x21, 0x19, 0x6a, 0xb3]), number(273.15));
    assert_eq!(of_cbor(&[0xc4, 0x82, 0x02, 0x24]), number(-500.0));
    assert_eq!(of_cbor(&[0xc4, 0x82, 0x39, 0xff, 0xff, 0x01]), number(0.0));
    assert_eq!(
        of_cbor(&[0xc4, 0x82, 0x19, 0xff, 0xff, 0x01]).unwrap_err(),
        "record 1: a number is not finite, or too large"
    );
    // An epoch (tag 1) is its number.
    assert_eq!(of_cbor(&[0xc1, 0x05]), number(5.0));
    // A bigfloat, an array without a tag, a bignum as mantissa, and too many of them.
    for wrong in [
        &[0xc5, 0x82, 0x20, 0x0f][..],
        &[0x82, 0x20, 0x0f],
        &[0xc4, 0x82, 0x20, 0xc2, 0x41, 0x0f],
        &[0xc4, 0x83, 0x20, 0x0f, 0x00],
        &[0xc4, 0x00],
    ] {
        assert!(of_cbor(wrong).is_err(), "{wrong:02x?}");
    }
    // A pack that says of itself that it is CBOR (tag 55799), in a map and an array that say so too.
    let said = [0xd9, 0xd9, 0xf7, 0x81, 0xd9, 0xd9, 0xf7, 0xa2, 0x00, 0x61, b'a', 0x02, 0x01];
    assert_eq!(read_foreign_pack(&said, Encoding::Cbor), json(r#"[{"n":"a","v":1}]"#));
    assert_eq!(schemas::decode_pack(&said).unwrap()[0].value, Value::Integer(1));
    let fraction = [0x81, 0xa2, 0x00, 0x61, b'a', 0x02, 0xc4, 0x82, 0x20, 0x0f];
    assert!(schemas::decode_pack(&fraction).is_err(), "our own packs have none");
}

#[test]
fn what_a_pack_makes_is_bounded() {
    let name = "n".repeat(1000);
    let records = vec![r#"{"v":1}"#; 5000].join(",");
    let said = json(&format!(r#"[{{"bn":"{name}"}},{records}]"#));
    assert_eq!(said, Err(ForeignPackError::NamesTooLong));
    let many = format!("[{}]", vec![r#"{"n":"a","v":1}"#; 20_000].join(","));
    assert!(json(&many).unwrap_err().to_string().contains("more than"));
    assert!(matches!(json(&" ".repeat(5 << 20)), Err(ForeignPackError::TooLarge { .. })));
    assert!(json(&"[".repeat(100_000)).is_err());
    assert!(read_foreign_pack(&vec![0x81; 100_000], Encoding::Cbor).is_err());
}
