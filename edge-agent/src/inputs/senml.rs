//! SenML packs into rows: records of one time make one row, in the order of their first.

use std::collections::{HashMap, HashSet};

use schemas::Measurement;
use schemas::senml::foreign::{Encoding, ForeignPackError, Resolved, Time, read_foreign_pack};

use super::row::Row;

/// The rows of a pack, which is taken as a whole or not at all.
///
/// A sum is a sensor of its own, `{name}.sum`, without a unit: it would be the value's times seconds. Where a name
/// is there twice at one time, the second begins another row of that time.
pub fn read_senml(pack: &[u8], encoding: Encoding) -> Result<Vec<Row>, ForeignPackError> {
    let mut rows = Rows::default();
    for Resolved { name, unit, value, sum, time } in read_foreign_pack(pack, encoding)? {
        if let Some(sum) = sum {
            rows.add(time, Measurement { name: format!("{name}.sum"), unit: None, value: sum });
        }
        if let Some(value) = value {
            rows.add(time, Measurement { name, unit, value });
        }
    }
    Ok(rows.rows)
}

/// What a content type says of a pack, whatever its parameters.
pub fn encoding_of(content_type: &str) -> Option<Encoding> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let known = [("application/senml+json", Encoding::Json), ("application/senml+cbor", Encoding::Cbor)];
    known.into_iter().find(|(name, _)| essence.eq_ignore_ascii_case(name)).map(|(_, encoding)| encoding)
}

#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
    /// The newest row of each time.
    newest: HashMap<Time, usize>,
    /// The sensors of each row.
    sensors: HashSet<(usize, String)>,
}

impl Rows {
    fn add(&mut self, time: Time, measured: Measurement) {
        if let Some(row) = self.newest.get(&time).copied()
            && self.sensors.insert((row, measured.name.clone()))
        {
            self.rows[row].measurements.push(measured);
            return;
        }
        self.newest.insert(time, self.rows.len());
        self.sensors.insert((self.rows.len(), measured.name.clone()));
        self.rows.push(row(time, measured));
    }
}

fn row(time: Time, measured: Measurement) -> Row {
    match time {
        Time::At(ms) => Row::read(0, Some(ms), vec![measured]),
        Time::FromNow(ms) => Row { age_ms: -ms, ..Row::now(vec![measured]) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pack: &str) -> Vec<(Option<i64>, i64, Vec<String>)> {
        let rows = read_senml(pack.as_bytes(), Encoding::Json).unwrap();
        let names = |row: &Row| row.measurements.iter().map(|measured| measured.name.clone()).collect();
        rows.iter().map(|row| (row.time_ms, row.age_ms, names(row))).collect()
    }

    #[test]
    fn records_of_one_time_make_one_row() {
        let pack = r#"[
          {"bn":"m/","bt":1700000000,"n":"a","v":1},
          {"n":"a","t":-1,"v":2},
          {"n":"b","v":3},
          {"n":"a","v":4},
          {"n":"b","t":-1,"v":5},
          {"n":"c","v":6,"s":7}
        ]"#;
        let row = |ms, names: &[&str]| (Some(ms), 0, names.iter().map(|name| format!("m/{name}")).collect());
        let expected = [
            row(1_700_000_000_000, &["a", "b"]),
            row(1_699_999_999_000, &["a", "b"]),
            row(1_700_000_000_000, &["a", "c.sum", "c"]),
        ];
        assert_eq!(names(pack), expected);
    }

    #[test]
    fn what_is_relative_to_now_has_an_age() {
        let pack = r#"[{"n":"a","v":1,"t":-2.5},{"n":"a","v":1},{"n":"b","v":1}]"#;
        let expected = [(None, 2500, vec!["a".to_owned()]), (None, 0, vec!["a".to_owned(), "b".to_owned()])];
        assert_eq!(names(pack), expected);
    }
}
