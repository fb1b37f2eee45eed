//! Of which groups messages wait in a queue.

use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Groups(BTreeMap<u32, usize>);

impl Groups {
    pub fn has(&self, group: u32) -> bool {
        self.0.contains_key(&group)
    }

    pub fn add(&mut self, group: u32) {
        *self.0.entry(group).or_default() += 1;
    }

    pub fn remove(&mut self, group: u32) {
        if let Some(count) = self.0.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&group);
            }
        }
    }
}
