//! Producer ids, taken from the metadata in blocks. What is left of a block when the hub stops is never used.

use std::collections::VecDeque;
use std::ops::Range;

use parking_lot::Mutex;
use schemas::ProducerId;

/// The blocks that this hub was given.
#[derive(Default)]
pub(crate) struct ProducerIds {
    blocks: Mutex<VecDeque<Range<i64>>>,
}

impl ProducerIds {
    pub(crate) fn take(&self) -> Option<ProducerId> {
        let mut blocks = self.blocks.lock();
        while let Some(block) = blocks.front_mut() {
            if let Some(id) = block.next() {
                return Some(ProducerId(id));
            }
            blocks.pop_front();
        }
        None
    }

    pub(crate) fn add(&self, block: Range<i64>) {
        self.blocks.lock().push_back(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_from_one_block_after_the_other_and_never_twice() {
        let ids = ProducerIds::default();
        assert_eq!(ids.take(), None);
        ids.add(5..7);
        ids.add(20..21);
        assert_eq!(
            [ids.take(), ids.take(), ids.take(), ids.take()].map(|id| id.map(|id| id.0)),
            [Some(5), Some(6), Some(20), None]
        );
    }
}
