//! A request of every round, with what came of it lately.

use super::plan::Request;

/// So often on end a device may fail to read what it reads in parts.
const WHOLE_MAX: u8 = 3;
/// A device that fails to read the parts too is asked for the whole alone for so many rounds.
const WHOLE_ROUNDS: u8 = 15;

#[derive(Debug)]
pub struct Standing {
    /// The row that its values are of.
    pub row: usize,
    pub request: Request,
    /// Rounds on end in which the device failed to read it, but not all of its parts.
    in_parts: u8,
    /// Rounds for which its parts are not asked for.
    whole_for: u8,
}

impl Standing {
    pub fn new(row: usize, request: Request) -> Self {
        Self { row, request, in_parts: 0, whole_for: 0 }
    }

    pub fn answered(&mut self) {
        (self.in_parts, self.whole_for) = (0, 0);
    }

    /// Whether its parts are to be asked for now that the device has failed to read it.
    pub fn tries_parts(&mut self) -> bool {
        let is_due = self.whole_for == 0;
        self.whole_for = self.whole_for.saturating_sub(1);
        is_due
    }

    /// Notes whether the device read any of its parts; true where it is of no use as a whole.
    pub fn tried_parts(&mut self, is_any_read: bool) -> bool {
        if is_any_read {
            self.in_parts += 1;
        } else {
            (self.in_parts, self.whole_for) = (0, WHOLE_ROUNDS);
        }
        self.in_parts >= WHOLE_MAX
    }
}
