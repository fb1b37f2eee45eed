//! Trimming: what a hub has acknowledged leaves the buffer.

use super::entry::Head;
use super::environment::{EnvironmentError, Key};
use super::work::{GapAnswer, Work, WorkError};

/// Entries of one lane that were acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Trim {
    pub lane: u8,
    /// The number of the last of them.
    pub through: u64,
    /// Which of them travelled as gaps.
    pub gaps: Vec<GapAnswer>,
}

impl Work<'_> {
    /// Removes the entries and accounts for their records: a gap that the hub took stays counted as dropped,
    /// one whose records it has after all, or whose batch was on its way before it was dropped, does not.
    pub fn trim(&mut self, trim: &Trim) -> Result<(), WorkError> {
        let Some(lane) = self.state.lane(trim.lane) else { return Ok(()) };
        let first = lane.first;
        let mut acknowledged: Vec<(Key, Option<Head>)> = Vec::new();
        for entry in self.environment.range(&self.txn, trim.lane, first..=trim.through)? {
            let (number, value) = entry?;
            acknowledged.push((Key { lane: trim.lane, number }, Head::parse(value).ok()));
        }
        for (key, head) in acknowledged {
            // LMDB would believe what is left of the page.
            let head = head.ok_or(EnvironmentError::Page(key))?;
            let records = u64::from(head.records);
            let counters = &mut self.state.counters;
            if head.is_gap() {
                let answer = trim.gaps.iter().find(|answer| answer.number == key.number);
                if answer.is_none_or(|answer| answer.is_duplicate) {
                    counters.dropped = counters.dropped.saturating_sub(records);
                    counters.acknowledged += records;
                }
                self.remove(key, 0)?;
            } else {
                counters.acknowledged += records;
                self.remove(key, head.records)?;
            }
            self.advance_shipping(trim.lane, &head);
        }
        self.advance_first(trim.lane)
    }

    fn advance_shipping(&mut self, lane: u8, trimmed: &Head) {
        let shipping = self.state.lane_mut(lane).and_then(|lane| lane.shipping.as_mut());
        if let Some(shipping) = shipping.filter(|shipping| shipping.stream == trimmed.stream) {
            shipping.acked = trimmed.end();
            let acked = shipping.acked;
            shipping.wires.retain(|wire| wire.until.is_none_or(|until| acked.is_before(until)));
        }
    }

    fn advance_first(&mut self, id: u8) -> Result<(), WorkError> {
        let Some(lane) = self.state.lane(id) else { return Ok(()) };
        let first = self.find_first(lane)?;
        let mut missing = 0;
        if let Some(lane) = self.state.lane_mut(id) {
            lane.first = first;
            lane.drop_from = lane.drop_from.max(first);
            if lane.is_empty() {
                (missing, lane.records, lane.cost) = (lane.records, 0, 0);
            }
        }
        // Of entries that damage took away nothing else tells how many records were theirs.
        self.state.counters.dropped += missing;
        // A backlog of which nothing is left has nothing to come.
        self.state.lanes.retain(|lane| lane.id != id || !lane.is_backlog || !lane.is_empty());
        Ok(())
    }
}
