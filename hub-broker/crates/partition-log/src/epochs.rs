//! Which leader epoch wrote from which offset on (KIP-101, KIP-320).

use schemas::{LeaderEpoch, Offset};

/// Epochs and the offsets at which they begin, both increasing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpochHistory {
    entries: Vec<(LeaderEpoch, Offset)>,
}

impl EpochHistory {
    /// `None` unless epochs rise and offsets do not fall.
    pub fn from_entries(entries: Vec<(LeaderEpoch, Offset)>) -> Option<Self> {
        let rising = entries.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
        rising.then_some(Self { entries })
    }

    pub fn entries(&self) -> &[(LeaderEpoch, Offset)] {
        &self.entries
    }

    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// Notes that `epoch` writes from `start` on. An epoch that has written nothing gives way to it.
    pub(crate) fn begin(&mut self, epoch: LeaderEpoch, start: Offset) {
        if self.latest() == Some(epoch) {
            return;
        }
        if self.entries.last().is_some_and(|(_, began)| *began == start) {
            self.entries.pop();
        }
        self.entries.push((epoch, start));
    }

    /// Forgets epochs that end at or before `start`.
    pub(crate) fn trim(&mut self, start: Offset) {
        let ended = self.entries.partition_point(|(_, began)| *began <= start).saturating_sub(1);
        self.entries.drain(..ended);
    }

    /// The epoch that wrote the batch at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|(_, began)| *began <= offset);
        after.checked_sub(1).map(|at| self.entries[at].0)
    }

    /// The largest epoch not above `epoch`, and where it ends: what OffsetForLeaderEpoch answers.
    /// `log_end` is the end of the latest epoch. `None` for an epoch that is above or below all that are known.
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        if self.latest()? < epoch {
            return None;
        }
        let after = self.entries.partition_point(|(known, _)| *known <= epoch);
        let known = self.entries[after.checked_sub(1)?].0;
        let end = self.entries.get(after).map_or(log_end, |(_, began)| *began);
        Some((known, end))
    }
}
