//! What all row formats do before their first row.

use std::io::{self, BufRead, BufReader, Cursor, Read};

/// UTF-8's byte order mark: some programs write it at a file's beginning, and it is no part of what follows.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const BUFFER_BYTES: usize = 64 << 10;

/// Buffers a source and leaves its byte order mark out.
pub fn open(mut source: impl Read + Send) -> io::Result<impl BufRead + Send> {
    let mut head = Vec::with_capacity(BYTE_ORDER_MARK.len());
    source.by_ref().take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut head)?;
    if head == BYTE_ORDER_MARK {
        head.clear();
    }
    Ok(BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(source)))
}

/// What JSON begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    Object,
    Array,
    Other,
}

/// Told from the first bytes that are no white space, as far as they have come. A bracket alone is no array yet:
/// a CSV column may be named `[m/s]`.
pub fn opening(source: &mut impl BufRead) -> io::Result<Opening> {
    let mut bytes = source.fill_buf()?.iter().filter(|byte| !byte.is_ascii_whitespace());
    Ok(match (bytes.next(), bytes.next()) {
        (Some(b'{'), _) => Opening::Object,
        (Some(b'['), None | Some(b'{' | b'[' | b']' | b'"' | b'-' | b'0'..=b'9')) => Opening::Array,
        _ => Opening::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_left_out_and_nothing_else() {
        for (text, rest) in [
            ("\u{feff}{}", "{}"),
            ("{}", "{}"),
            ("", ""),
            ("a", "a"),
            ("\u{feff}", ""),
            ("\u{fefe}x", "\u{fefe}x"),
        ] {
            let mut read = String::new();
            open(text.as_bytes()).unwrap().read_to_string(&mut read).unwrap();
            assert_eq!(read, rest, "{text:?}");
        }
    }

    #[test]
    fn an_array_is_known_by_what_is_in_it() {
        for (text, opening_of) in [
            (" {\"a\"", Opening::Object),
            ("[", Opening::Array),
            ("\n[\n {", Opening::Array),
            ("[]", Opening::Array),
            ("[12", Opening::Array),
            ("[package]", Opening::Other),
            ("date,a", Opening::Other),
            ("", Opening::Other),
        ] {
            assert_eq!(opening(&mut text.as_bytes()).unwrap(), opening_of, "{text:?}");
        }
    }
}
