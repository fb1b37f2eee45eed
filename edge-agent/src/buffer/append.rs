//! Appending: a batch gets its stream and its sequences; one for which there is no room leaves a gap of them.

use bytes::Bytes;
use schemas::headers::{STREAM_START, StreamStart, StreamStartReason};
use schemas::limits::{GAP_RECORDS_MAX, STREAM_RECORDS_MAX};
use schemas::{BatchHeader, Gap, GapCount, GapReason, ProducerId, Sequence, patch_stream, stream_id};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::amend::with_header;
use super::entry::{EntryError, GapEntry, batch_bytes_mut, encode_batch};
use super::environment::{Key, cost};
use super::marker::MarkerFile;
use super::policy::{Policy, Retention};
use super::state::{NUMBER_STEP, OpenStream};
use super::work::{Work, WorkError};
use crate::destination::Destination;
use crate::limits::OWED_GAPS_MAX;

/// A batch that the batcher made: producer and sequence are still empty.
#[derive(Clone, Debug)]
pub(super) struct NewBatch {
    pub destination: Destination,
    /// The boot whose clock its times are of; `None` where they are wall time.
    pub boot: Option<Uuid>,
    pub batch: Bytes,
    pub marks: Marks,
}

/// How far inputs read with a batch; known of again exactly where the batch is.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// By the inputs' names.
    pub of_inputs: Vec<(String, String)>,
    /// What was read is put away when the batch is durable: no power cut may take it back then.
    pub is_put_away: bool,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is in the buffer; so many records were dropped for it.
    Stored { dropped: u64 },
    /// There was no room: a gap stands for its records, and for so many others that were dropped in vain.
    Refused { dropped: u64 },
    /// It is to be tried again when there is room.
    Waits,
}

/// Records that were measured and are lost before they got sequences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lost {
    pub destination: Destination,
    pub records: u32,
    /// The earliest and the latest, in ms since 1970, where known.
    pub times: Option<(i64, i64)>,
    /// How far inputs read with them: what a gap stands for is not read again.
    pub marks: Vec<(String, String)>,
}

impl Lost {
    /// Adds records of the same destination; false where these are of another or too many for one gap.
    pub fn join(&mut self, other: &Lost) -> bool {
        let records = self.records.saturating_add(other.records);
        if self.destination != other.destination || records > GAP_RECORDS_MAX {
            return false;
        }
        self.records = records;
        self.times = self.times.zip(other.times).map(|(one, other)| (one.0.min(other.0), one.1.max(other.1)));
        for (input, mark) in &other.marks {
            self.marks.retain(|(known, _)| known != input);
            self.marks.push((input.clone(), mark.clone()));
        }
        true
    }

    /// Adds it to what is owed, or answers it where that is too much already. An entry before the last of its
    /// destination is not added to: its marks would be paid before older ones, which would move them back.
    pub fn owe(self, owed: &mut Vec<Lost>) -> Result<(), Lost> {
        let last = owed.iter_mut().rfind(|known| known.destination == self.destination);
        if last.is_some_and(|known| known.join(&self)) {
            return Ok(());
        }
        if owed.len() >= OWED_GAPS_MAX {
            return Err(self);
        }
        owed.push(self);
        Ok(())
    }
}

impl NewBatch {
    /// Its records, were they lost.
    pub fn lost(&self) -> Result<Lost, EntryError> {
        let header = BatchHeader::parse(&self.batch)?;
        let (base, max) = (header.base_timestamp, header.max_timestamp);
        Ok(Lost {
            destination: self.destination.clone(),
            records: u32::try_from(header.record_count).map_err(|_| EntryError::BatchFields)?,
            times: self.boot.is_none().then_some((base.min(max), max)),
            marks: self.marks.of_inputs.clone(),
        })
    }
}

impl Work<'_> {
    /// Appends a batch, making room as the policy says.
    pub fn append(
        &mut self,
        new: &NewBatch,
        retention: &Retention,
        marker: &mut MarkerFile,
    ) -> Result<Taken, WorkError> {
        let header = BatchHeader::parse(&new.batch).map_err(EntryError::from)?;
        let records = u32::try_from(header.record_count).map_err(|_| EntryError::BatchFields)?;
        if i64::from(records) != header.offset_span() {
            return Err(EntryError::BatchFields.into());
        }
        let needed = cost(new.batch.len() + 32);
        let room = self.make_room_for(new.destination.priority, needed, retention)?;
        if !room.is_made {
            if retention.policy == Policy::Block && retention.could_hold(new.destination.priority, needed) {
                return Ok(Taken::Waits);
            }
            self.append_lost(&new.lost()?, marker)?;
            return Ok(Taken::Refused { dropped: room.dropped });
        }
        self.store(new, records, marker)?;
        self.state.note_marks(&new.marks.of_inputs);
        Ok(Taken::Stored { dropped: room.dropped })
    }

    fn store(&mut self, new: &NewBatch, records: u32, marker: &mut MarkerFile) -> Result<(), WorkError> {
        let lane = self.lane_of(&new.destination, marker)?;
        let (stream, full) = self.open_stream(lane, records, marker)?;
        let batch = match full {
            Some(old_stream) => {
                let start = StreamStart { old_stream, reason: StreamStartReason::Full };
                with_header(&new.batch, STREAM_START, &start.to_header())?
            }
            None => new.batch.clone(),
        };
        let mut value = encode_batch(self.now_ms, new.boot, &batch);
        patch_stream(batch_bytes_mut(&mut value)?, stream.id, stream.next);
        self.use_up(lane, stream, records);
        let key = self.take_number(lane);
        if let Some(lane) = self.state.lane_mut(lane).filter(|_| !new.marks.of_inputs.is_empty()) {
            lane.unsynced_marks_from.get_or_insert(key.number);
        }
        self.insert(key, &value, records)
    }

    /// A gap of the sequences that the records would have had; joined with one before it that was never sent.
    pub fn append_lost(&mut self, lost: &Lost, marker: &mut MarkerFile) -> Result<(), WorkError> {
        let lane = self.lane_of(&lost.destination, marker)?;
        let (stream, _) = self.open_stream(lane, lost.records, marker)?;
        let gap = Gap {
            count: GapCount::Known(lost.records),
            from_ms: lost.times.map(|(from, _)| from),
            to_ms: lost.times.map(|(_, to)| to),
            reason: GapReason::Dropped,
        };
        let entry = GapEntry { stream: stream.id, base: stream.next, sequences: lost.records, gap };
        self.use_up(lane, stream, lost.records);
        let end = Key { lane, number: u64::MAX };
        match self.joined_before(end, &entry)? {
            Some((number, joined)) => self.replace(Key { lane, number }, 0, &joined, 0)?,
            None => {
                let key = self.take_number(lane);
                self.insert(key, &entry.encode(self.now_ms), 0)?;
            }
        }
        self.state.counters.dropped += u64::from(lost.records);
        self.state.note_marks(&lost.marks);
        Ok(())
    }

    /// Takes the sequences of so many records.
    fn use_up(&mut self, lane: u8, stream: OpenStream, records: u32) {
        self.state.counters.appended += u64::from(records);
        if let Some(lane) = self.state.lane_mut(lane) {
            lane.open = Some(OpenStream { id: stream.id, next: stream.next.plus(records) });
        }
    }

    /// Takes the next entry's number.
    fn take_number(&mut self, id: u8) -> Key {
        let mut key = Key { lane: id, number: 0 };
        if let Some(lane) = self.state.lane_mut(id) {
            key.number = lane.next;
            lane.next += NUMBER_STEP;
        }
        key
    }

    /// The stream to append `records` to, begun where there is none or where it would end; then with the id of
    /// the one that is full. It is in the marker before its first batch is in the buffer.
    fn open_stream(
        &mut self,
        lane: u8,
        records: u32,
        marker: &mut MarkerFile,
    ) -> Result<(OpenStream, Option<ProducerId>), WorkError> {
        let open = self.state.lane(lane).and_then(|lane| lane.open);
        if let Some(open) = open
            && u32::try_from(open.next.0).is_ok_and(|used| used + records < STREAM_RECORDS_MAX)
        {
            return Ok((open, None));
        }
        let begun = OpenStream { id: stream_id(rand::random()), next: Sequence::ZERO };
        marker.add_stream(lane, begun.id, &self.state)?;
        Ok((begun, open.map(|full| full.id)))
    }
}

#[cfg(test)]
mod tests {
    use schemas::TopicName;

    use super::*;

    fn lost(topic: &str, records: u32, mark: &str) -> Lost {
        let marks = vec![("in".to_owned(), mark.to_owned())];
        Lost {
            destination: Destination::from(topic.parse::<TopicName>().unwrap()),
            records,
            times: None,
            marks,
        }
    }

    #[test]
    fn what_is_owed_is_paid_in_the_order_in_which_it_was_lost() {
        let mut owed = Vec::new();
        for (records, mark) in [(GAP_RECORDS_MAX - 1, "1"), (2, "2"), (1, "3")] {
            lost("a", records, mark).owe(&mut owed).unwrap();
        }
        assert_eq!(owed, [lost("a", GAP_RECORDS_MAX - 1, "1"), lost("a", 3, "3")]);
    }

    #[test]
    fn what_is_owed_is_bounded() {
        let mut owed = Vec::new();
        for topic in 0..OWED_GAPS_MAX {
            lost(&format!("t{topic}"), 1, "1").owe(&mut owed).unwrap();
        }
        assert_eq!(lost("one-more", 7, "1").owe(&mut owed), Err(lost("one-more", 7, "1")));
        lost("t0", 1, "2").owe(&mut owed).unwrap();
        assert_eq!((owed.len(), &owed[0]), (OWED_GAPS_MAX, &lost("t0", 2, "2")));
    }
}
