//! Whether the agent still does its work, for the watchdog: the buffer's writer is a thread of its own, and one that hangs
//! (on a disk that answers no more) stops nobody else.

use std::sync::Arc;

use tokio::sync::watch;

use crate::buffer::{Buffer, Snapshot};

pub(super) struct Pulse {
    buffer: Buffer,
    commits: watch::Receiver<Arc<Snapshot>>,
    stillness: Stillness,
}

impl Pulse {
    pub fn new(buffer: Buffer) -> Self {
        let commits = buffer.subscribe();
        Self { buffer, commits, stillness: Stillness::default() }
    }

    /// To be asked each time that the watchdog is due.
    pub fn beats(&mut self) -> bool {
        // A buffer that has failed ends the agent on its own.
        let has_committed = self.commits.has_changed().unwrap_or(true);
        self.commits.mark_unchanged();
        self.stillness.note(self.buffer.is_writer_behind() && !has_committed)
    }
}

/// For how many looks in a row something was left lying.
#[derive(Debug, Default)]
struct Stillness {
    looks: u32,
}

impl Stillness {
    /// What lay there at one look may have come just before it; at the next it has lain for all the time between.
    fn note(&mut self, is_still: bool) -> bool {
        self.looks = if is_still { self.looks.saturating_add(1) } else { 0 };
        if self.looks == 2 {
            tracing::error!(
                "the buffer's writer hangs: the watchdog is not told any more that the agent lives"
            );
        }
        self.looks < 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_from_one_look_to_the_next_is_a_hang() {
        let mut stillness = Stillness::default();
        let looks = [true, false, true, true, true, false, true];
        let beats: Vec<bool> = looks.into_iter().map(|is_still| stillness.note(is_still)).collect();
        assert_eq!(beats, [true, true, true, false, false, true, true]);
    }
}
