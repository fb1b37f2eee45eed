//! Repair: what cannot be read, or is missing, becomes a gap of the sequences that it used up.

use bytes::Bytes;
use schemas::limits::GAP_RECORDS_MAX;
use schemas::{Gap, GapCount, GapReason, ProducerId, Sequence};

use super::entry::{GapEntry, Head, verify};
use super::environment::{EnvironmentError, Key};
use super::marker::MarkerFile;
use super::state::{NUMBER_STEP, OpenStream};
use super::walk::{begin_of, follows};
use super::work::{Work, WorkError};

impl Work<'_> {
    /// Makes sound what is at `key`: an unreadable entry is replaced, missing sequences before it are filled.
    pub fn repair(&mut self, key: Key) -> Result<(), WorkError> {
        let Some(value) = self.environment.get(&self.txn, key)? else { return Ok(()) };
        let bytes = Bytes::copy_from_slice(value);
        match verify(&bytes) {
            Ok(head) => self.fill_before(key, &head),
            Err(_) => match Head::parse(&bytes) {
                Ok(claim) => self.replace_unreadable(key, &claim),
                // LMDB would believe what is left of the page.
                Err(_) => Err(EnvironmentError::Page(key).into()),
            },
        }
    }

    fn fill_before(&mut self, key: Key, head: &Head) -> Result<(), WorkError> {
        let previous = self.readable_before(key)?;
        if follows(&self.state, key, previous.as_ref(), head) {
            return Ok(());
        }
        let from = begin_of(&self.state, key.lane, previous.as_ref(), head.stream);
        let Ok(missing) = u32::try_from(head.base.distance(from)) else { return Ok(()) };
        let at = Key { lane: key.lane, number: key.number - 1 };
        if missing > 0 && self.environment.get(&self.txn, at)?.is_none() {
            self.lose(at, head.stream, from, missing)?;
            if let Some(lane) = self.state.lane_mut(key.lane) {
                lane.first = lane.first.min(at.number);
            }
        }
        Ok(())
    }

    /// `claim` is what the entry says of itself, believed only where its neighbours agree.
    fn replace_unreadable(&mut self, key: Key, claim: &Head) -> Result<(), WorkError> {
        let previous = self.readable_before(key)?;
        let next = self.readable_after(key)?;
        let open = self.state.lane(key.lane).and_then(|lane| lane.open).map(|open| (open.id, open.next));
        let upper = next.as_ref().map(|(_, head)| (head.stream, head.base)).or(open);
        self.remove(key, 0)?;
        // The gap that stands for the unreadable one before it stands for this one too.
        let is_told = |previous: &Head| upper == Some((previous.stream, previous.end()));
        if previous.as_ref().is_some_and(is_told) {
            return Ok(());
        }
        let begin = |stream| begin_of(&self.state, key.lane, previous.as_ref(), stream);
        let missing =
            upper.map(|(stream, end)| (stream, begin(stream), end)).filter(|(_, from, end)| from != end);
        let claimed = (begin(claim.stream) == claim.base).then(|| (claim.stream, claim.base, claim.end()));
        // The last of its stream; what is missing of the next one is told where that lay.
        let goes_on = previous.as_ref().is_some_and(|previous| previous.stream == claim.stream)
            || next.as_ref().is_some_and(|(has_skipped, _)| *has_skipped);
        let is_last = goes_on && missing.is_some_and(|(stream, ..)| stream != claim.stream);
        let range = claimed.filter(|_| is_last).or(missing).or(claimed);
        let known = range.and_then(|(stream, from, end)| {
            let count = u32::try_from(end.distance(from))
                .ok()
                .filter(|count| (1..=GAP_RECORDS_MAX).contains(count))?;
            Some((stream, from, count))
        });
        if let Some((stream, from, count)) = known {
            return self.lose(key, stream, from, count);
        }
        // How many records it held cannot be told: the gap says so, at the end of the stream before it.
        match previous {
            Some(previous) => self.lose_unknown(key, previous.stream, previous.end()),
            None => Ok(()),
        }
    }

    /// A gap for records that were in the buffer's account.
    fn lose(&mut self, key: Key, stream: ProducerId, base: Sequence, count: u32) -> Result<(), WorkError> {
        let gap =
            Gap { count: GapCount::Known(count), from_ms: None, to_ms: None, reason: GapReason::Damaged };
        let entry = GapEntry { stream, base, sequences: count, gap };
        self.insert(key, &entry.encode(self.now_ms), 0)?;
        let lost = u64::from(count);
        if let Some(lane) = self.state.lane_mut(key.lane) {
            lane.records = lane.records.saturating_sub(lost);
        }
        self.state.counters.dropped += lost;
        let file = self.environment.path();
        tracing::error!(file = %file.display(), lane = key.lane, entry = key.number, records = lost, "the buffer is damaged: records are lost, a gap says so");
        Ok(())
    }

    fn lose_unknown(&mut self, key: Key, stream: ProducerId, base: Sequence) -> Result<(), WorkError> {
        let gap = Gap { count: GapCount::Unknown, from_ms: None, to_ms: None, reason: GapReason::Damaged };
        let entry = GapEntry { stream, base, sequences: 1, gap };
        let file = self.environment.path();
        tracing::error!(file = %file.display(), lane = key.lane, entry = key.number, "the buffer is damaged: an unknown number of records is lost, a gap says so");
        self.insert(key, &entry.encode(self.now_ms), 0)
    }

    /// A gap of unknown size at the end of a lane, in a stream of its own start.
    pub fn append_unknown_gap(&mut self, lane: u8, marker: &mut MarkerFile) -> Result<(), WorkError> {
        let stream = schemas::stream_id(rand::random());
        marker.add_stream(lane, stream, &self.state)?;
        let Some(state) = self.state.lane_mut(lane) else { return Ok(()) };
        let key = Key { lane, number: state.next };
        state.next += NUMBER_STEP;
        state.open = Some(OpenStream { id: stream, next: Sequence(1) });
        self.lose_unknown(key, stream, Sequence::ZERO)
    }

    fn readable_before(&self, key: Key) -> Result<Option<Head>, WorkError> {
        let before = self.environment.before(&self.txn, key.lane, key.number)?;
        Ok(before.and_then(|(_, value)| Head::parse(value).ok()))
    }

    /// With whether there are others before it.
    fn readable_after(&self, key: Key) -> Result<Option<(bool, Head)>, WorkError> {
        let mut has_skipped = false;
        for entry in self.environment.range(&self.txn, key.lane, key.number + 1..=u64::MAX)? {
            let (_, value) = entry?;
            if let Ok(head) = verify(&Bytes::copy_from_slice(value)) {
                return Ok(Some((has_skipped, head)));
            }
            has_skipped = true;
        }
        Ok(None)
    }
}
