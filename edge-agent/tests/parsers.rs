//! The parsers over well-formed documents, over what becomes of them when they are mutated, and over what was
//! written from values that are known.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "common/random.rs"]
mod random;

use edge_agent::config::{
    ColumnKey, ColumnSettings, ColumnType, FormatConfig, Precision, RowFormat, TimeFormat, UnixUnit,
};
use edge_agent::inputs::line_protocol;
use edge_agent::inputs::senml::read_senml;
use edge_agent::inputs::{Bad, LineParser, Mark, Row, open_rows};
use proptest::prelude::*;
use random::Random;
use schemas::Value;
use schemas::senml::foreign::Encoding;

const ROUNDS: usize = 400;
const SEED: u64 = 0x6865_6164_7761_7465;

const CSV: &[&str] = &[
    "date,T1,\"door open\",mode\r\n2016-01-11 17:30:00, 19.89,true,\"eco, \"\"night\"\"\"\n2016-01-11 17:40:00,,false,x\n",
    ";ts;a\n0;1452533400;1,5\n1;1452533410;2\n",
    "\u{feff}time\tvalue\n1452533400000\tNaN\n1452533400001\t-1e-7\n",
];
const JSON: &[&str] = &[
    "{\"ts\":1452533400,\"pump\":{\"on\":true,\"speed\":[1,2.5,null]},\"mode\":\"eco\"}\n{\"a\":9007199254740993}\n",
    "{\"time\":\"2016-01-11T17:30:00+01:00\",\"\\u00e9\":-0.0}\n\n{}\n[1]\n",
];
const LINES: &[&str] = &[
    "weather,location=us-midwest temperature=82 1465839830100400200\n# comment\n",
    "my\\ Measurement,tag\\,Key\\==tag\\ Value fieldKey=\"string \\\"value\\\" \\\\\",b=t,c=-12i,d=18446744073709551615u\n",
    "cpu,cpu=cpu0,host=raynor usage_idle=98.30508474576271,usage_system=0 1504888270000000000\n",
];

/// One small mutation, as a fuzzer makes them; bytes that mean something come more often.
fn mutate(input: &mut Vec<u8>, random: &mut Random) {
    const TELLING: &[u8] = b"\n\r\"\\,;=: {}[]#\t.-+eiutf09\0\xff\xc3";
    let at = random.below(input.len());
    let telling = TELLING[random.below(TELLING.len())];
    match (random.below(7), input.get_mut(at)) {
        (_, None) => input.push(telling),
        (0, Some(byte)) => *byte ^= 1 << random.below(8),
        (1, Some(byte)) => *byte = telling,
        (2, _) => input.truncate(at),
        (3, _) => input.insert(at, telling),
        (4, _) => drop(input.remove(at)),
        (5, _) => input.insert(at, random.below(256) as u8),
        (_, _) => {
            let piece = input[at..(at + 8).min(input.len())].to_vec();
            input.extend_from_slice(&piece);
        }
    }
}

/// Plain, and with everything said that can be.
fn formats(format: RowFormat) -> Vec<FormatConfig> {
    let plain = FormatConfig::plain(format);
    let mut told = plain.clone();
    match format {
        RowFormat::Csv => {
            let column = |number, kind| ColumnSettings {
                column: ColumnKey::Number(number),
                name: Some(format!("c{number}")),
                unit: Some("Cel".into()),
                kind: Some(kind),
            };
            told.csv.header = false;
            told.csv.columns = vec![column(2, ColumnType::Number), column(3, ColumnType::Boolean)];
            told.time.column = Some("1".into());
            told.time.format = TimeFormat::Pattern("%Y-%m-%d %H:%M:%S".into());
        }
        RowFormat::JsonLines => told.time.format = TimeFormat::Unix(UnixUnit::Nanosecond),
        RowFormat::LineProtocol => told.precision = Precision::Hour,
    }
    vec![plain, told]
}

/// What holds of every row that is taken, whatever it was read from.
fn check(said: &[Result<Row, Bad>]) {
    for row in said.iter().flatten() {
        assert!(!row.measurements.is_empty());
        for measured in &row.measurements {
            assert!(!measured.name.is_empty(), "{row:?}");
            assert!(!matches!(measured.value, Value::Float(number) if !number.is_finite()), "{row:?}");
        }
        let mut names: Vec<_> = row.measurements.iter().map(|measured| &measured.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), row.measurements.len(), "{row:?}");
        assert!(row.time_ms.is_none_or(|ms| ms.unsigned_abs() < 1 << 60), "{row:?}");
    }
}

/// A document as a whole; it ends, and what was read of it never goes back or beyond it.
fn as_document(text: &[u8], format: &FormatConfig) -> Vec<Result<Row, Bad>> {
    let Ok(mut rows) = open_rows(std::io::Cursor::new(text.to_vec()), format) else { return Vec::new() };
    let (mut said, mut before) = (Vec::new(), 0);
    while let Some(Ok(one)) = rows.next() {
        said.push(one);
        let read = rows.bytes_read();
        assert!(before <= read && read <= text.len() as u64, "{before} {read}");
        before = read;
        assert!(said.len() <= 2 * text.len() + 2, "it does not end");
    }
    said
}

/// The same line by line.
fn as_lines(text: &[u8], format: &FormatConfig) -> Vec<Result<Row, Bad>> {
    let mut parser = LineParser::new(format);
    let mut said = Vec::new();
    for (number, line) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        if parser.line(number, line, &mut said).is_err() {
            break;
        }
    }
    said
}

fn survive(format: RowFormat, seeds: &[&str]) {
    let mut random = Random(SEED);
    for config in formats(format) {
        for seed in seeds {
            let mut input = seed.as_bytes().to_vec();
            for round in 0..ROUNDS {
                let run = std::panic::catch_unwind(|| {
                    check(&as_document(&input, &config));
                    check(&as_lines(&input, &config));
                });
                assert!(run.is_ok(), "{format:?}, round {round}: {:?}", String::from_utf8_lossy(&input));
                // Mutations add up for a while, then the seed is taken afresh.
                if round % 8 == 0 {
                    input = seed.as_bytes().to_vec();
                }
                mutate(&mut input, &mut random);
            }
        }
    }
}

#[test]
fn csv_survives_whatever_becomes_of_it() {
    survive(RowFormat::Csv, CSV);
}

#[test]
fn json_lines_survive_whatever_becomes_of_them() {
    survive(RowFormat::JsonLines, JSON);
}

#[test]
fn line_protocol_survives_whatever_becomes_of_it() {
    survive(RowFormat::LineProtocol, LINES);
}

const SENML_JSON: &[&str] = &[
    r#"[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
        {"n":"current","t":-5,"v":1.2},{"n":"current","v":1.7,"s":5}]"#,
    r#"[{"bn":"m/","bv":1,"bs":-2e9},{"n":"a","vs":"Machine Room"},{"n":"b","vb":false,"t":-1},{"n":"c","vd":"aGkgCg","ut":6}]"#,
];
/// The first of these in CBOR, and every type of value.
const SENML_CBOR: &[&[u8]] = &[
    b"\x83\xa7\x21\x62m/\x22\xfb\x41\xd3\x03\xa1\x5b\x00\x10\x62\x23\x61A\x20\x05\x00\x67voltage\x01\x61V\x02\xfb\x40\x5e\x06\x66\x66\x66\x66\x66\xa3\x00\x67current\x06\x24\x02\xf9\x3e\x00\xa3\x00\x61b\x05\x01\x02\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x9f\xa2\x00\x61a\x03\x62hi\xa2\x00\x61b\x04\xf5\xa3\x00\x61c\x08\x42\x01\x02\x61x\x81\x01\xff",
];

#[test]
fn senml_survives_whatever_becomes_of_it() {
    let mut random = Random(SEED);
    let json = SENML_JSON.iter().map(|seed| (Encoding::Json, seed.as_bytes()));
    let (mut taken, mut refused) = (0, 0);
    for (encoding, seed) in json.chain(SENML_CBOR.iter().map(|seed| (Encoding::Cbor, *seed))) {
        assert!(read_senml(seed, encoding).is_ok(), "{encoding:?} {seed:?}");
        let mut input = seed.to_vec();
        for round in 0..10 * ROUNDS {
            let run = std::panic::catch_unwind(|| {
                read_senml(&input, encoding).map(|rows| {
                    let measured: usize = rows.iter().map(|row| row.measurements.len()).sum();
                    assert!(measured <= 2 * input.len());
                    check(&rows.into_iter().map(Ok).collect::<Vec<_>>());
                })
            });
            match run.unwrap_or_else(|_| panic!("{encoding:?}, round {round}: {input:02x?}")) {
                Ok(()) => taken += 1,
                Err(_) => refused += 1,
            }
            if round % 8 == 0 {
                input = seed.to_vec();
            }
            mutate(&mut input, &mut random);
        }
    }
    assert!(taken > 200 && refused > 1000, "mutations are neither all good nor all bad: {taken} {refused}");
}

/// Packs whose resolved records are known, written with base fields and without.
#[test]
fn a_pack_means_the_same_with_base_fields_and_without() {
    let mut random = Random(SEED);
    for _ in 0..500 {
        let base_time = 1_700_000_000 + random.below(1000);
        let (mut with, mut without) =
            (vec![format!(r#"{{"bn":"m/","bt":{base_time},"bu":"Cel"}}"#)], Vec::new());
        for _ in 0..=random.below(20) {
            let (name, value, offset) = (random.below(5), random.below(1000), random.below(3));
            with.push(format!(r#"{{"n":"s{name}","v":{value},"t":-{offset}}}"#));
            let at = base_time - offset;
            without.push(format!(r#"{{"n":"m/s{name}","u":"Cel","v":{value},"t":{at}}}"#));
        }
        let read = |pack: Vec<String>| read_senml(format!("[{}]", pack.join(",")).as_bytes(), Encoding::Json);
        let rows = read(with).unwrap();
        check(&rows.iter().cloned().map(Ok).collect::<Vec<_>>());
        assert_eq!(Ok(rows), read(without));
    }
}

#[test]
fn marks_survive_whatever_becomes_of_them() {
    let mut random = Random(SEED);
    let seed = "1 64770 1234567 98765432101 256 deadbeef";
    let mut input = seed.as_bytes().to_vec();
    for round in 0..10_000 {
        if let Ok(mark) = String::from_utf8_lossy(&input).parse::<Mark>() {
            assert_eq!(mark.to_string().parse(), Ok(mark));
        }
        if round % 8 == 0 {
            input = seed.as_bytes().to_vec();
        }
        mutate(&mut input, &mut random);
    }
}

/// As Telegraf writes it: a backslash before what is special.
fn escaped(text: &str, special: &str) -> String {
    let escape = |c: char| if special.contains(c) { format!("\\{c}") } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// Any text that line protocol can carry: no ends of lines, and no backslash where it would begin an escape.
fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9 ,=.äß🚀_-]{1,12}".prop_map(|name| name.trim_start_matches('#').trim().to_owned() + "x")
}

fn value() -> impl Strategy<Value = (Value, String)> {
    prop_oneof![
        (-1e300..1e300f64).prop_map(|number| (Value::Float(number), format!("{number:e}"))),
        any::<bool>().prop_map(|truth| (Value::Bool(truth), truth.to_string())),
        (1i64 << 54..i64::MAX).prop_map(|number| (Value::Integer(number.into()), format!("{number}i"))),
        (1u64 << 63..u64::MAX).prop_map(|number| (Value::Integer(number.into()), format!("{number}u"))),
        "[a-z \"\\\\,=🚀]{0,16}"
            .prop_map(|text| (Value::Text(text.clone()), format!("\"{}\"", escaped(&text, "\"\\")))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_written_as_line_protocol_is_read_as_it_was(
        measurement in name(),
        tags in prop::collection::btree_map(name(), name(), 0..4),
        fields in prop::collection::btree_map(name(), value(), 1..5),
        time in prop::option::of(-99_999_999_999_999i64..99_999_999_999_999),
    ) {
        let mut line = escaped(&measurement, ", ");
        for (name, value) in &tags {
            line += &format!(",{}={}", escaped(name, ",= "), escaped(value, ",= "));
        }
        let written = fields.iter().map(|(name, (_, text))| format!("{}={text}", escaped(name, ",= ")));
        line += &format!(" {}", written.collect::<Vec<_>>().join(","));
        line += &time.map_or(String::new(), |ms| format!(" {ms}"));
        let row = line_protocol::parse_line(&line, Precision::Millisecond).unwrap_or_else(|what| panic!("{line}: {what}"));
        prop_assert_eq!(row.time_ms, time);
        prop_assert_eq!(row.tags, tags.into_iter().collect::<Vec<_>>());
        let read: Vec<_> = row.measurements.into_iter().map(|m| (m.name, m.value)).collect();
        let meant: Vec<_> =
            fields.into_iter().map(|(name, (value, _))| (format!("{measurement}.{name}"), value)).collect();
        prop_assert_eq!(read, meant);
    }

    #[test]
    fn what_is_written_as_csv_is_read_as_it_was(rows in prop::collection::vec(("[ -~\n]{0,12}", -1e9..1e9f64), 1..9)) {
        let mut text = "ts,text,number\n".to_owned();
        for (index, (cell, number)) in rows.iter().enumerate() {
            text += &format!("{},\"{}\",{number}\n", 1000 + index, cell.replace('"', "\"\""));
        }
        let mut config = FormatConfig::plain(RowFormat::Csv);
        let text_column = ColumnSettings {
            column: ColumnKey::Name("text".into()), name: None, unit: None, kind: Some(ColumnType::Text),
        };
        let number_column = ColumnSettings { column: ColumnKey::Number(3), kind: None, ..text_column.clone() };
        config.csv.columns = vec![text_column, number_column];
        let said = as_document(text.as_bytes(), &config);
        prop_assert_eq!(said.len(), rows.len());
        for ((said, (cell, number)), index) in said.into_iter().zip(rows).zip(0i64..) {
            let row = said.unwrap();
            prop_assert_eq!(row.time_ms, Some(1000 * (1000 + index)));
            let text = (!cell.trim().is_empty()).then(|| Value::Text(cell.trim().to_owned()));
            let values: Vec<_> = row.measurements.into_iter().map(|m| m.value).collect();
            let meant: Vec<_> = text.into_iter().chain([Value::Float(number)]).collect();
            prop_assert_eq!(values, meant);
        }
    }
}
