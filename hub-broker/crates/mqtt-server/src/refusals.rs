//! What becomes known of refused publishes. A device that tries again for ever must not fill the disk with lines.

use std::borrow::Cow;
use std::time::Instant;

use ingest::Reason;
use metadata::Metadata;
use parking_lot::Mutex;

use crate::limits::{REFUSAL_LINES_MAX, REFUSAL_LINES_PER};
use crate::reason::Refusal;

/// Lines in the log, so many in a while, of all connections together.
pub struct Refusals {
    metadata: Metadata,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    began: Option<Instant>,
    written: u32,
    held_back: u64,
}

impl Refusals {
    pub fn new(metadata: Metadata) -> Self {
        Self { metadata, lines: Mutex::default() }
    }

    /// What is said of a refusal: its reason, and which hubs are missing where that is the cause.
    pub fn said(&self, refusal: &Refusal) -> Cow<'static, str> {
        let group = refusal.group.filter(|_| refusal.kind == Reason::Unavailable);
        match group.and_then(|group| self.metadata.no_majority(group)) {
            Some(cause) => format!("{}: {cause}", refusal.reason).into(),
            None => refusal.reason.into(),
        }
    }

    /// `publishes` of a client were refused together; `topic` is the first one's.
    pub fn tell(&self, client: &str, topic: &str, refusal: &Refusal, publishes: usize) {
        let Some(held_back) = self.lines.lock().admit(Instant::now()) else { return };
        let reason = &*self.said(refusal);
        tracing::warn!(client, topic, reason, publishes, held_back, "an MQTT publish was refused");
    }
}

impl Lines {
    /// How many lines were held back before the one that may be written now.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.began.is_none_or(|began| now >= began + REFUSAL_LINES_PER) {
            self.began = Some(now);
            self.written = 0;
        }
        if self.written == REFUSAL_LINES_MAX {
            self.held_back += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_in_time_and_those_held_back_are_counted() {
        let (mut lines, start) = (Lines::default(), Instant::now());
        for _ in 0..REFUSAL_LINES_MAX {
            assert_eq!(lines.admit(start), Some(0));
        }
        assert_eq!(lines.admit(start), None);
        assert_eq!(lines.admit(start), None);
        assert_eq!(lines.admit(start + REFUSAL_LINES_PER), Some(2));
        assert_eq!(lines.admit(start + REFUSAL_LINES_PER), Some(0));
    }
}
