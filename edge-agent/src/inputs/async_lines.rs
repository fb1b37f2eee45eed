//! Lines that come over time, each bounded.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

use super::lines::Line;
use crate::limits::LINE_BYTES_MAX;

pub struct AsyncLines<R> {
    source: BufReader<R>,
    text: Vec<u8>,
    /// Of the line that was read last, from 1.
    pub number: u64,
}

impl<R: AsyncRead + Unpin> AsyncLines<R> {
    pub fn new(source: R) -> Self {
        Self { source: BufReader::new(source), text: Vec::new(), number: 0 }
    }

    /// The next line; `None` at the end.
    pub async fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        if !self.read(LINE_BYTES_MAX + 1).await? {
            return Ok(None);
        }
        self.number += 1;
        if self.text.len() <= LINE_BYTES_MAX {
            return Ok(Some(Line::Text(&self.text)));
        }
        while !self.text.ends_with(b"\n") && self.read(64 << 10).await? {}
        Ok(Some(Line::TooLong))
    }

    async fn read(&mut self, bytes_max: usize) -> io::Result<bool> {
        self.text.clear();
        let bounded = &mut (&mut self.source).take(bytes_max as u64);
        Ok(bounded.read_until(b'\n', &mut self.text).await? > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_beyond_the_bound_is_skipped_whole() {
        let text = format!("a\n{}\nb", "x".repeat(LINE_BYTES_MAX));
        let mut lines = AsyncLines::new(text.as_bytes());
        let mut found = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            found.push(if let Line::Text(text) = line { Some(text.to_vec()) } else { None });
        }
        assert_eq!(found, [Some(b"a\n".to_vec()), None, Some(b"b".to_vec())]);
        assert_eq!(lines.number, 3);
    }
}
