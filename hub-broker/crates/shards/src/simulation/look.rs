//! What a simulated hub's groups have come to, for comparison with other hubs'.

use super::hub::Hub;
use crate::group::{Group, Machine};

impl Hub {
    /// The last entry that the group's replica here has applied.
    pub fn applied(&self, group: u32) -> Option<u64> {
        self.group(group).map(|group| group.applied.0)
    }

    /// The stamp of the last entry that the group's replica here has applied or proposed.
    pub fn last_stamp_ms(&self, group: u32) -> Option<i64> {
        self.group(group).map(|group| group.last_stamp_ms).filter(|stamp_ms| *stamp_ms != i64::MIN)
    }

    /// The hub's wall clock is not believed.
    pub fn is_clock_held(&self) -> bool {
        self.clock.is_held()
    }

    /// CRC-32C over the group's whole state; `None` while an entry is half applied.
    pub fn fingerprint(&self, group: u32) -> Option<u32> {
        let group = self.group(group).filter(|group| group.is_between_entries())?;
        match &group.machine {
            Machine::Metadata(machine) => Some(crc32c::crc32c(&machine.snapshot())),
            Machine::Partitions(partitions) => {
                let mut states: Vec<_> = partitions.iter().map(|partition| partition.log.state()).collect();
                states.sort_by_key(|state| state.id);
                Some(states.iter().fold(0, |sum, state| crc32c::crc32c_append(sum, &state.encode())))
            }
        }
    }

    fn group(&self, group: u32) -> Option<&Group> {
        self.core.groups().find(|known| known.id.0 == group)
    }
}
