//! Names as RFC 8428 §4.5.1 allows them: `A-Z a-z 0-9 - : . / _`, beginning with a letter or a digit.
//!
//! Other characters are percent-coded with `_`: each byte of their UTF-8 as `_` and two hex digits, upper
//! case. `_` stands for itself where nothing could mistake it for a code. A name that would begin wrongly
//! gets `0__` in front, which no other name begins with: a `_` after a first `0` is coded.
//!
//! ```text
//! T_out → T_out    T out → T_20out    T_5F → T_5F5F    °C → 0___C2_B0C    -5V → 0__-5V
//! ```

use std::borrow::Cow;

const MARK: &str = "0__";
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The name as it stands in a pack.
pub fn encode_name(name: &str) -> Cow<'_, str> {
    let bytes = name.as_bytes();
    let begins_well = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
    if begins_well && (0..bytes.len()).all(|at| stands_for_itself(bytes, at)) {
        return Cow::Borrowed(name);
    }
    let mut encoded = String::with_capacity(name.len() + 8);
    if !begins_well {
        encoded.push_str(MARK);
    }
    for (at, byte) in bytes.iter().enumerate() {
        if stands_for_itself(bytes, at) {
            encoded.push(char::from(*byte));
        } else {
            encoded.push('_');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 0xf)]));
        }
    }
    Cow::Owned(encoded)
}

fn stands_for_itself(name: &[u8], at: usize) -> bool {
    match name[at] {
        b'_' => !(is_code(&name[at..]) || at == 1 && name[0] == b'0'),
        byte => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b'.' | b'/'),
    }
}

fn is_code(rest: &[u8]) -> bool {
    matches!(rest, [b'_', high, low, ..] if hex_digit(*high).is_some() && hex_digit(*low).is_some())
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The name that was encoded. A foreign name that is not in this code is taken as it stands.
pub fn decode_name(encoded: &str) -> Cow<'_, str> {
    let name = encoded.strip_prefix(MARK).unwrap_or(encoded);
    let mut rest = name.as_bytes();
    if !(0..rest.len()).any(|at| is_code(&rest[at..])) {
        return Cow::Borrowed(name);
    }
    let mut decoded = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        if let [b'_', high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
        {
            decoded.push(high << 4 | low);
            rest = after;
        } else {
            decoded.push(*first);
            rest = after;
        }
    }
    String::from_utf8(decoded).map_or(Cow::Borrowed(encoded), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_coded_as_documented() {
        let cases = [
            ("T_out", "T_out"),
            ("T out", "T_20out"),
            ("T_5F", "T_5F5F"),
            ("°C", "0___C2_B0C"),
            ("-5V", "0__-5V"),
            ("0__x", "0_5F_x"),
            ("0_%", "0_5F_25"),
            ("_id", "0___id"),
            ("child-1/temp", "child-1/temp"),
            ("", "0__"),
            ("a_bc", "a_bc"),
            ("a_BC", "a_5FBC"),
        ];
        for (name, encoded) in cases {
            assert_eq!(encode_name(name), encoded);
            assert_eq!(decode_name(encoded), name);
        }
    }

    #[test]
    fn a_foreign_name_is_taken_as_it_stands() {
        for name in ["urn:dev:ow:10e2073a01080063_temp", "x_FFy", "°C"] {
            assert_eq!(decode_name(name), name);
        }
    }

    proptest! {
        #[test]
        fn any_name_survives_and_is_allowed(name in "\\PC*|[0_A-F%]{0,8}|[_0]{0,6}.*") {
            let encoded = encode_name(&name);
            prop_assert_eq!(decode_name(&encoded), name.as_str());
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-:./_".contains(c);
            prop_assert!(encoded.chars().all(allowed), "{}", encoded);
            prop_assert!(encoded.starts_with(|c: char| c.is_ascii_alphanumeric()), "{}", encoded);
        }
    }
}
