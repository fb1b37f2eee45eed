//! Lines of a source, each bounded.

use std::io::{self, BufRead, Read};

use crate::limits::LINE_BYTES_MAX;

/// What is wrong with a line beyond the bound.
pub fn too_long() -> String {
    format!("longer than {LINE_BYTES_MAX} bytes")
}

pub struct Lines<R> {
    source: R,
    text: Vec<u8>,
    /// Of the line that was read last, from 1.
    pub number: u64,
    /// Bytes up to that line's end.
    pub position: u64,
}

pub enum Line<'a> {
    /// Its end is still there, where it has one.
    Text(&'a [u8]),
    TooLong,
}

impl<R: BufRead> Lines<R> {
    pub fn new(source: R) -> Self {
        Self { source, text: Vec::new(), number: 0, position: 0 }
    }

    /// The next line; `None` at the end.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        if !self.read(LINE_BYTES_MAX + 1)? {
            return Ok(None);
        }
        self.number += 1;
        if self.text.len() <= LINE_BYTES_MAX {
            return Ok(Some(Line::Text(&self.text)));
        }
        while !self.text.ends_with(b"\n") && self.read(64 << 10)? {}
        Ok(Some(Line::TooLong))
    }

    fn read(&mut self, bytes_max: usize) -> io::Result<bool> {
        self.text.clear();
        let read = self.source.by_ref().take(bytes_max as u64).read_until(b'\n', &mut self.text)?;
        self.position += read as u64;
        Ok(read > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_beyond_the_bound_is_skipped_whole() {
        let text = format!("a\n{}\nb", "x".repeat(LINE_BYTES_MAX));
        let mut lines = Lines::new(text.as_bytes());
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            found.push(if let Line::Text(text) = line { Some(text.to_vec()) } else { None });
        }
        assert_eq!(found, [Some(b"a\n".to_vec()), None, Some(b"b".to_vec())]);
        assert_eq!((lines.number, lines.position), (3, text.len() as u64));
    }
}
