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

/// The first byte that is no white space, as far as what has come tells.
pub fn first_byte(source: &mut impl BufRead) -> io::Result<Option<u8>> {
    Ok(source.fill_buf()?.iter().find(|byte| !byte.is_ascii_whitespace()).copied())
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
}
