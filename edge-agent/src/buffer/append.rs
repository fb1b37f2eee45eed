//! Appending: a batch gets its stream and its sequences.

use bytes::Bytes;
use schemas::headers::{STREAM_START, StreamStart, StreamStartReason};
use schemas::limits::STREAM_RECORDS_MAX;
use schemas::{BatchHeader, ProducerId, Sequence, TopicName, patch_stream, stream_id};
use uuid::Uuid;

use super::amend::with_header;
use super::entry::{EntryError, batch_bytes_mut, encode_batch};
use super::environment::{Key, cost};
use super::marker::MarkerFile;
use super::state::{NUMBER_STEP, OpenStream};
use super::work::{Work, WorkError};

/// A batch that the batcher made: producer and sequence are still empty.
#[derive(Clone, Debug)]
pub(super) struct NewBatch {
    pub topic: TopicName,
    /// The boot whose clock its times are of; `None` where they are wall time.
    pub boot: Option<Uuid>,
    pub batch: Bytes,
}

impl Work<'_> {
    /// Appends a batch, making room as the policy says, and answers how many records were dropped for it.
    pub fn append(
        &mut self,
        new: &NewBatch,
        cap_bytes: u64,
        marker: &mut MarkerFile,
    ) -> Result<u64, WorkError> {
        let header = BatchHeader::parse(&new.batch).map_err(EntryError::from)?;
        let records = u32::try_from(header.record_count).map_err(|_| EntryError::BatchFields)?;
        if i64::from(records) != header.offset_span() {
            return Err(EntryError::BatchFields.into());
        }
        let dropped = self.make_room(cost(new.batch.len() + 32), cap_bytes)?;
        let lane = self.lane_of(&new.topic)?;
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
        let Some(state) = self.state.lane_mut(lane) else { return Err(WorkError::Full) };
        let key = Key { lane, number: state.next };
        state.next += NUMBER_STEP;
        state.open = Some(OpenStream { id: stream.id, next: stream.next.plus(records) });
        self.state.counters.appended += u64::from(records);
        self.insert(key, &value, records)?;
        Ok(dropped)
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
