//! A checkpoint's worth of the group.

use checkpoint::Position;

use super::{Group, Machine};
use crate::capture::{Captured, States, capture_partitions};
use crate::group_state::GroupState;

impl Group {
    /// `None` if there is no news and none was asked for, or if an entry is half applied.
    pub(crate) fn capture(&mut self, force: bool) -> Option<Captured> {
        if !self.is_between_entries() || !(self.changed || force) {
            return None;
        }
        let mut captured = Captured {
            position: Position { applied: self.applied.0, term: self.applied.1, commit: self.commit() },
            group: GroupState {
                origin: self.origin,
                membership: self.membership.clone(),
                last_stamp_ms: self.last_stamp_ms,
                is_installed: false,
            },
            states: None,
            dirty: Vec::new(),
            obsolete: Vec::new(),
            closed: Vec::new(),
            damaged: self.beyond_help(),
        };
        captured.states = match &mut self.machine {
            Machine::Metadata(machine) => Some(States::Metadata(machine.snapshot())),
            Machine::Partitions(partitions) => capture_partitions(partitions, &mut captured),
        };
        self.changed = captured.states.is_none();
        Some(captured)
    }
}
