//! Payloads into rows.

use std::borrow::Cow;

use schemas::Measurement;
use schemas::senml::foreign::Encoding;

use super::mapping::Place;
use crate::config::{Payload, TimeConfig};
use crate::inputs::json_lines;
use crate::inputs::row::Row;
use crate::inputs::senml::{encoding_of, read_senml};
use crate::inputs::value::cell_value;

/// The rows of a message. An empty payload, which clears what a broker retains, has none.
pub fn rows(
    place: &Place,
    payload: &[u8],
    kind: Payload,
    content_type: Option<&str>,
) -> Result<Vec<Row>, Cow<'static, str>> {
    if payload.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows = match told(payload, kind, content_type) {
        Payload::Json => vec![json_lines::parse_line(payload, &TimeConfig::default())?],
        Payload::SenmlJson => senml(payload, Encoding::Json)?,
        Payload::SenmlCbor => senml(payload, Encoding::Cbor)?,
        Payload::Value | Payload::Auto => return value(place, payload),
    };
    for measured in rows.iter_mut().flat_map(|row| &mut row.measurements) {
        measured.name = place.sensor(&measured.name);
    }
    Ok(rows)
}

fn told(payload: &[u8], kind: Payload, content_type: Option<&str>) -> Payload {
    if kind != Payload::Auto {
        return kind;
    }
    match content_type.and_then(encoding_of) {
        Some(Encoding::Json) => Payload::SenmlJson,
        Some(Encoding::Cbor) => Payload::SenmlCbor,
        None if payload.trim_ascii_start().starts_with(b"{") => Payload::Json,
        None => Payload::Value,
    }
}

fn senml(payload: &[u8], encoding: Encoding) -> Result<Vec<Row>, String> {
    read_senml(payload, encoding).map_err(|error| error.to_string())
}

fn value(place: &Place, payload: &[u8]) -> Result<Vec<Row>, Cow<'static, str>> {
    let text = std::str::from_utf8(payload).map_err(|_| "the payload is no UTF-8 text")?;
    let Some(value) = cell_value(text)? else { return Ok(Vec::new()) };
    let name = place.alone().ok_or("the topic leaves no name for a single value")?;
    Ok(vec![Row::now(vec![Measurement { name, unit: None, value }])])
}

#[cfg(test)]
mod tests {
    use schemas::Value;

    use super::super::mapping::{Client, Mapping};
    use super::*;
    use crate::config::ChildSettings;

    fn of(
        topic: &str,
        payload: &[u8],
        kind: Payload,
        content_type: Option<&str>,
    ) -> Result<Vec<Row>, String> {
        let mapping = Mapping { prefix: String::new(), child: ChildSettings::Level(1) };
        let place = mapping.place(&Client { id: "x".into(), username: None }, topic).unwrap();
        rows(&place, payload, kind, content_type).map_err(Cow::into_owned)
    }

    fn auto(topic: &str, payload: &str) -> Result<Vec<(String, Value)>, String> {
        let rows = of(topic, payload.as_bytes(), Payload::Auto, None)?;
        Ok(rows.into_iter().flat_map(|row| row.measurements).map(|m| (m.name, m.value)).collect())
    }

    #[test]
    fn a_plain_payload_is_a_number_a_boolean_or_text() {
        let one = |value: Value| Ok(vec![("n/t".to_owned(), value)]);
        assert_eq!(auto("n/t", " 21.5\n"), one(21.5.into()));
        assert_eq!(auto("n/t", "TRUE"), one(true.into()));
        assert_eq!(auto("n/t", "ON"), one("ON".into()));
        assert_eq!(auto("n/t", ""), Ok(Vec::new()));
        assert!(auto("n/t", "NaN").unwrap_err().contains("no measurement"));
        assert!(auto("n", "21.5").unwrap_err().contains("leaves no name"));
        assert!(of("n/t", b"\xff", Payload::Auto, None).unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn an_object_is_a_row_of_its_fields() {
        // As Tasmota sends it.
        let payload = r#"{"Time":"2024-03-01T12:00:00Z","AM2301":{"Temperature":21.5,"Humidity":40}}"#;
        let rows = of("plug/SENSOR", payload.as_bytes(), Payload::Auto, None).unwrap();
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(row.time_ms, Some(1_709_294_400_000));
        let names: Vec<_> = row.measurements.iter().map(|measured| measured.name.as_str()).collect();
        assert_eq!(names, ["plug/SENSOR/AM2301/Humidity", "plug/SENSOR/AM2301/Temperature"]);
        assert!(auto("n", "{\"a\":").unwrap_err().contains("EOF"));
        assert_eq!(of("n/t", b"{\"a\":1}", Payload::Value, None).unwrap().len(), 1, "as text");
    }

    #[test]
    fn a_pack_is_known_by_its_content_type_or_by_the_settings() {
        let pack = br#"[{"bn":"m/","n":"a","v":1},{"n":"b","v":2}]"#;
        let names = |rows: Vec<Row>| -> Vec<String> {
            rows.into_iter().flat_map(|row| row.measurements).map(|measured| measured.name).collect()
        };
        let expected = ["n/env/m/a", "n/env/m/b"];
        let by_type = of("n/env", pack, Payload::Auto, Some("application/senml+json; x=y")).unwrap();
        assert_eq!(names(by_type), expected);
        assert_eq!(names(of("n/env", pack, Payload::SenmlJson, None).unwrap()), expected);
        // [{0: "a", 2: 1}]
        let cbor = [0x81, 0xa2, 0x00, 0x61, b'a', 0x02, 0x01];
        assert_eq!(names(of("n", &cbor, Payload::SenmlCbor, None).unwrap()), ["n/a"]);
        assert!(of("n", &cbor[1..], Payload::SenmlCbor, None).is_err());
    }
}
