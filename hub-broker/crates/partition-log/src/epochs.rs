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
    /// `log_end` is the end of the latest epoch. `None` for one that is above all that are known. One below them wrote
    /// data that is gone, and ended at the latest where the first known one begins: nothing was taken back.
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        if epoch <= LeaderEpoch::NONE || self.latest()? < epoch {
            return None;
        }
        let after = self.entries.partition_point(|(known, _)| *known <= epoch);
        let known = after.checked_sub(1).map_or(epoch, |at| self.entries[at].0);
        let end = self.entries.get(after).map_or(log_end, |(_, began)| *began);
        Some((known, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(entries: &[(i32, i64)]) -> EpochHistory {
        let entries = entries.iter().map(|(epoch, start)| (LeaderEpoch(*epoch), Offset(*start)));
        EpochHistory::from_entries(entries.collect()).expect("rising")
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins_and_the_latest_at_the_logs_end() {
        let history = history(&[(2, 0), (5, 10), (6, 25)]);
        let end_of = |epoch| history.end_of(LeaderEpoch(epoch), Offset(30)).map(|(e, o)| (e.0, o.0));
        assert_eq!(end_of(1), Some((1, 0)), "one whose data is gone ended where the first known one begins");
        assert_eq!(end_of(-1), None, "no epoch at all");
        assert_eq!(end_of(2), Some((2, 10)));
        assert_eq!(end_of(4), Some((2, 10)), "an epoch that wrote nothing is answered by the one before");
        assert_eq!(end_of(5), Some((5, 25)));
        assert_eq!(end_of(6), Some((6, 30)));
        assert_eq!(end_of(7), None);
    }

    #[test]
    fn an_epoch_that_wrote_nothing_gives_way() {
        let mut history = history(&[(2, 0)]);
        history.begin(LeaderEpoch(3), Offset(10));
        history.begin(LeaderEpoch(4), Offset(10));
        history.begin(LeaderEpoch(4), Offset(20));
        assert_eq!(history.entries(), [(LeaderEpoch(2), Offset(0)), (LeaderEpoch(4), Offset(10))]);
    }

    #[test]
    fn trimming_keeps_the_epoch_of_the_first_offset() {
        let mut trimmed = history(&[(2, 0), (5, 10), (6, 25)]);
        trimmed.trim(Offset(24));
        assert_eq!(trimmed, history(&[(5, 10), (6, 25)]));
        assert_eq!(trimmed.epoch_at(Offset(24)), Some(LeaderEpoch(5)));
        assert_eq!(trimmed.epoch_at(Offset(25)), Some(LeaderEpoch(6)));
        trimmed.trim(Offset(25));
        assert_eq!(trimmed, history(&[(6, 25)]));
    }

    #[test]
    fn epochs_that_do_not_rise_are_no_history() {
        assert_eq!(
            EpochHistory::from_entries(vec![(LeaderEpoch(3), Offset(0)), (LeaderEpoch(3), Offset(4))]),
            None
        );
        assert_eq!(
            EpochHistory::from_entries(vec![(LeaderEpoch(3), Offset(5)), (LeaderEpoch(4), Offset(4))]),
            None
        );
    }
}
