//! What a cell or a JSON number measures.

use schemas::Value;

/// Integers up to this are exact as doubles.
const EXACT_MAX: i64 = 1 << 53;

/// A cell of a table: a number (padded or not), true or false, else text; `None` where there is nothing in it.
/// NaN and infinities are refused as text is taken: they are no measurement.
pub fn cell_value(cell: &str) -> Result<Option<Value>, &'static str> {
    let cell = cell.trim();
    if cell.is_empty() {
        return Ok(None);
    }
    let first = cell.as_bytes()[0];
    if first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.') {
        if let Ok(integer) = cell.parse::<i64>() {
            return Ok(Some(integer_value(integer)));
        }
        if let Ok(number) = cell.parse::<f64>() {
            return float_value(number).map(Some);
        }
    }
    Ok(Some(match cell {
        _ if cell.eq_ignore_ascii_case("true") => Value::Bool(true),
        _ if cell.eq_ignore_ascii_case("false") => Value::Bool(false),
        _ if is_not_finite(cell) => return Err("NaN and infinities are no measurement"),
        _ => Value::Text(cell.to_owned()),
    }))
}

/// A double where that is exact, so that a sensor does not change its type between 19 and 19.5.
pub fn integer_value(integer: i64) -> Value {
    if integer.unsigned_abs() <= EXACT_MAX.unsigned_abs() {
        Value::Float(integer as f64)
    } else {
        Value::Integer(integer.into())
    }
}

pub fn float_value(number: f64) -> Result<Value, &'static str> {
    if number.is_finite() { Ok(Value::Float(number)) } else { Err("a number is too large for a double") }
}

fn is_not_finite(cell: &str) -> bool {
    let bare = cell.trim_start_matches(['+', '-']);
    ["nan", "inf", "infinity"].iter().any(|name| bare.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_and_padded_numbers_are_numbers() {
        for (cell, number) in [
            ("  50", 50.0),
            (" 6.2500000000000000e+00", 6.25),
            ("19.890000000000001", 19.89),
            ("-3", -3.0),
            ("+.5", 0.5),
            ("0", 0.0),
        ] {
            assert_eq!(cell_value(cell), Ok(Some(Value::Float(number))), "{cell}");
        }
        assert_eq!(cell_value("9007199254740993"), Ok(Some(Value::Integer(9_007_199_254_740_993))));
    }

    #[test]
    fn the_rest_is_nothing_a_boolean_or_text() {
        assert_eq!(cell_value("  "), Ok(None));
        assert_eq!(cell_value("TRUE"), Ok(Some(Value::Bool(true))));
        assert_eq!(cell_value("false"), Ok(Some(Value::Bool(false))));
        assert_eq!(cell_value(" Monday "), Ok(Some(Value::Text("Monday".into()))));
        assert_eq!(cell_value("10:30"), Ok(Some(Value::Text("10:30".into()))));
        assert!(cell_value("NaN").is_err() && cell_value("-inf").is_err() && cell_value("1e999").is_err());
    }
}
