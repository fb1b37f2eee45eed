//! What happened, to be compared with another run from the same seed, and to be read where one failed.

use std::collections::VecDeque;
use std::fmt;

/// Lines kept to be shown.
const LINES_MAX: usize = 400;

/// The history of a run.
#[derive(Debug, Default)]
pub struct History {
    lines: VecDeque<String>,
    count: u64,
    hash: u32,
    /// Every line is printed as it comes.
    is_told: bool,
}

impl History {
    pub fn new(is_told: bool) -> Self {
        Self { is_told, ..Self::default() }
    }

    /// Something that whoever looks into a failure wants to see.
    pub fn note(&mut self, at_ms: u64, what: &impl fmt::Display) {
        let line = format!("{at_ms:>7} {what}");
        self.count(line.as_bytes());
        if self.is_told {
            println!("{line}");
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Something too frequent to be shown, which must be the same in the other run all the same.
    pub fn count(&mut self, what: &[u8]) {
        self.hash = crc32c::crc32c_append(self.hash, what);
        self.count += 1;
    }

    /// CRC-32C over everything that happened, and how much it was: equal for equal histories.
    pub fn fingerprint(&self) -> (u32, u64) {
        (self.hash, self.count)
    }

    /// The last lines.
    pub fn tail(&self, lines: usize) -> String {
        let skip = self.lines.len().saturating_sub(lines);
        self.lines.iter().skip(skip).map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}
