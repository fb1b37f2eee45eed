//! The state of one partition's accumulator: what is open, what is closed, what is on its way. No I/O, no clock.
//!
//! Sequences are given when a batch is proposed, so a batch that was closed under a producer id that has since
//! been given up is moved to the new one.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use schemas::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchHeader, BuilderOptions, Compression, Offset, ProducerEpoch,
    ProducerId, Sequence, patch_log_append_time, patch_stream,
};
use shards::{AppendError, Appended};

use super::message::{PlainMessage, PlainStored};
use crate::limits::{
    PLAIN_ATTEMPTS_MAX, PLAIN_BATCH_BYTES_TARGET, PLAIN_PENDING_BYTES_MAX, PLAIN_RETRIES_MAX,
};
use crate::{PlainDone, PlainError};

/// What is to be done now.
pub(super) enum Action {
    Wait,
    GetProducer,
    Append(Bytes),
}

#[derive(Default)]
pub(super) struct Queue {
    producer: Producer,
    open: Option<Open>,
    closed: VecDeque<Closed>,
    in_flight: Option<Flight>,
    pending_bytes: usize,
}

#[derive(Default, Clone, Copy)]
enum Producer {
    #[default]
    Missing,
    Asked,
    Ready {
        id: ProducerId,
        next: Sequence,
    },
}

struct Open {
    builder: BatchBuilder,
    calls: Vec<Call>,
    bytes_max: usize,
    stamp_ms: Option<i64>,
}

/// Whom to tell, and where their messages begin in the batch.
struct Call {
    first: i64,
    done: PlainDone,
}

struct Closed {
    batch: Bytes,
    calls: Vec<Call>,
    bytes_max: usize,
    attempts: u32,
}

struct Flight {
    closed: Closed,
    base: Sequence,
    /// How often nobody has said what became of it. If ever, it may be stored.
    doubts: u32,
}

/// What is to be done when a batch on its way has been answered.
pub(super) enum After {
    /// Look for what is next.
    Next,
    /// These first, or rather after it.
    Tell(Answered),
    /// Call `again` after a rest.
    TryAgain,
}

/// Callbacks that are due, to be run without the queue's lock.
pub(super) struct Answered {
    calls: Vec<Call>,
    outcome: Result<Offset, PlainError>,
}

impl Answered {
    pub fn tell(self) {
        for call in self.calls {
            let stored = |base: Offset| PlainStored { base_offset: Offset(base.0 + call.first) };
            (call.done)(self.outcome.map(stored));
        }
    }
}

impl Queue {
    /// Takes the messages in, or gives the callback back with the reason.
    pub fn add(
        &mut self,
        messages: &[PlainMessage<'_>],
        batch_bytes_max: usize,
        stamp_ms: Option<i64>,
        done: PlainDone,
    ) -> Option<(PlainDone, PlainError)> {
        let bytes_max: usize = messages.iter().map(PlainMessage::bytes_max).sum();
        if bytes_max + BATCH_HEADER_BYTES > batch_bytes_max {
            return Some((done, PlainError::TooLarge));
        }
        if self.pending_bytes + bytes_max > PLAIN_PENDING_BYTES_MAX {
            return Some((done, PlainError::Overloaded));
        }
        let target = PLAIN_BATCH_BYTES_TARGET.min(batch_bytes_max);
        if self.open.as_ref().is_some_and(|open| open.builder.len_bytes() + bytes_max > target) {
            self.close();
        }
        let open = self.open.get_or_insert_with(|| Open::new(stamp_ms));
        let first = open.builder.record_count() as i64;
        for message in messages {
            let (key, value) = (Some(message.key), Some(message.value));
            if open.builder.push(message.timestamp_ms, key, value, message.headers).is_err() {
                return Some((done, PlainError::TooLarge));
            }
        }
        open.bytes_max += bytes_max;
        open.calls.push(Call { first, done });
        self.pending_bytes += bytes_max;
        None
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let Open { builder, calls, bytes_max, stamp_ms } = open;
        let batch = builder.finish().expect("a batch with records and below its limits is finished");
        let batch = match stamp_ms {
            None => batch,
            Some(stamp_ms) => patched(batch, |bytes| patch_log_append_time(bytes, stamp_ms)),
        };
        self.closed.push_back(Closed { batch, calls, bytes_max, attempts: 0 });
    }

    /// What is to be done now. An `Append` MUST be answered once; `GetProducer` by `set_producer` or `give_up`.
    pub fn next(&mut self) -> Action {
        if self.in_flight.is_some() || (self.closed.is_empty() && self.open.is_none()) {
            return Action::Wait;
        }
        match self.producer {
            Producer::Asked => Action::Wait,
            Producer::Missing => {
                self.producer = Producer::Asked;
                Action::GetProducer
            }
            Producer::Ready { id, next } => self.propose(id, next),
        }
    }

    fn propose(&mut self, id: ProducerId, base: Sequence) -> Action {
        if self.closed.is_empty() {
            self.close();
        }
        let Some(mut closed) = self.closed.pop_front() else { return Action::Wait };
        closed.attempts += 1;
        closed.batch = patched(closed.batch, |bytes| patch_stream(bytes, id, base));
        self.producer = Producer::Ready { id, next: base.plus(records(&closed.batch)) };
        let batch = closed.batch.clone();
        self.in_flight = Some(Flight { closed, base, doubts: 0 });
        Action::Append(batch)
    }

    pub fn set_producer(&mut self, id: ProducerId) {
        self.producer = Producer::Ready { id, next: Sequence::ZERO };
    }

    /// No producer id can be had: everything that waits for it is answered.
    pub fn give_up(&mut self, error: PlainError) -> Vec<Answered> {
        self.producer = Producer::Missing;
        self.close();
        let waiting = std::mem::take(&mut self.closed);
        waiting.into_iter().map(|closed| self.answer(closed, Err(error))).collect()
    }

    /// The batch on its way once more, under the same sequences: stored already, it is a duplicate.
    pub fn again(&self) -> Action {
        self.in_flight.as_ref().map_or(Action::Wait, |flight| Action::Append(flight.closed.batch.clone()))
    }

    /// The batch on its way has been answered.
    pub fn answered(&mut self, outcome: Result<Appended, AppendError>) -> After {
        let Some(mut flight) = self.in_flight.take() else { return After::Next };
        let error = match outcome {
            Ok(appended) => return After::Tell(self.answer(flight.closed, Ok(appended.base_offset))),
            Err(error) => error,
        };
        if flight.should_try_again(&error) {
            flight.doubts += 1;
            self.in_flight = Some(flight);
            return After::TryAgain;
        }
        let Flight { closed, base, doubts } = flight;
        match (&error, self.producer) {
            // Never proposed: its sequences are free for the next batch.
            (AppendError::Overloaded, Producer::Ready { id, .. }) if doubts == 0 => {
                self.producer = Producer::Ready { id, next: base };
            }
            // The shard has forgotten the id. Refused for certain, after a doubt too: had an earlier try been stored,
            // this one would be a duplicate. So the batch may be sent under another.
            (AppendError::Sequence(_), _) if closed.attempts < PLAIN_ATTEMPTS_MAX => {
                self.producer = Producer::Missing;
                self.closed.push_front(closed);
                return After::Next;
            }
            // Given up, and perhaps stored nevertheless: its sequences are not used again.
            _ => self.producer = Producer::Missing,
        }
        After::Tell(self.answer(closed, Err(PlainError::from(&error))))
    }

    fn answer(&mut self, closed: Closed, outcome: Result<Offset, PlainError>) -> Answered {
        self.pending_bytes -= closed.bytes_max;
        Answered { calls: closed.calls, outcome }
    }
}

impl Flight {
    /// Nobody leads the shard, or the lead has moved; or the next one to lead it cannot take the batch just now, and
    /// does not know whether the last one has.
    fn should_try_again(&self, error: &AppendError) -> bool {
        let may_pass = match error {
            AppendError::NotLeader { .. } => true,
            AppendError::Overloaded => self.doubts > 0,
            _ => false,
        };
        may_pass && self.doubts < PLAIN_RETRIES_MAX
    }
}

impl Open {
    fn new(stamp_ms: Option<i64>) -> Self {
        let options = BuilderOptions {
            compression: Compression::None,
            producer: Some((ProducerId(0), ProducerEpoch(0), Sequence::ZERO)),
            ..BuilderOptions::default()
        };
        let builder = BatchBuilder::new(options).with_large_records();
        Self { builder, calls: Vec::new(), bytes_max: 0, stamp_ms }
    }
}

/// In place where nobody else holds the batch.
fn patched(batch: Bytes, patch: impl FnOnce(&mut [u8])) -> Bytes {
    let mut bytes = batch.try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
    patch(&mut bytes);
    bytes.freeze()
}

fn records(batch: &Bytes) -> u32 {
    let header = BatchHeader::parse(batch).expect("the builder's batches parse");
    u32::try_from(header.record_count).expect("a batch that was built holds at least one record")
}

#[cfg(test)]
mod tests;
