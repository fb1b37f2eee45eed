//! One write transaction: the operations of the buffer on keys, entries and the counter record.
//!
//! The counter record is a copy that is changed along; where the transaction is given up, so is the copy.

use bytes::Bytes;
use heed::RwTxn;
use schemas::headers::StreamStartReason;
use schemas::{PartitionIndex, ProducerId, Sequence};
use thiserror::Error;
use uuid::Uuid;

use super::entry::{EntryError, Head};
use super::environment::{Environment, EnvironmentError, Key, cost};
use super::marker::MarkerFile;
use super::state::{BootOffset, Lane, State};
use crate::destination::Destination;

#[derive(Debug, Error)]
pub enum WorkError {
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error("the batch cannot be read: {0}")]
    Entry(#[from] EntryError),
    #[error("{0} topics and priorities are as many as one buffer holds")]
    TooManyLanes(usize),
    #[error("the disk has no room for the buffer")]
    NoRoom,
    #[error("marker: {0}")]
    Marker(#[from] crate::data_dir::DataDirError),
    #[error("there is no entry {0:?}")]
    NoEntry(Key),
}

impl WorkError {
    /// The disk failed, which may pass.
    pub fn is_of_disk(&self) -> bool {
        matches!(self, Self::Environment(EnvironmentError::Io(_)) if !self.is_full())
    }

    /// The map or the disk is full: room can be made, or comes.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Environment(error) => error.is_full(),
            Self::Marker(error) => error.is_full(),
            _ => false,
        }
    }
}

/// A change to what is buffered that the uplink asks for; durable when it is answered.
#[derive(Clone, Debug)]
pub enum Amendment {
    /// The stream's first batch is about to be shipped, to this partition for good. `stream` is the one that
    /// travels.
    Begin { lane: u8, stored: ProducerId, stream: ProducerId, partition: PartitionIndex },
    /// From this entry on (`whole`), or this entry alone, the lane's stream travels as a new one.
    Move { lane: u8, number: u64, whole: bool, reason: StreamStartReason },
    /// A hub refused the entry for what is in it: a gap takes its place.
    Quarantine { lane: u8, number: u64 },
    /// The hub has the sequences of this gap up to `at`.
    CutGap { lane: u8, number: u64, at: Sequence },
    /// The entry, whose times are of this boot, can not be stamped: its records get this time and a header that says so.
    /// Nothing happens where the boot's clock is known for good by now.
    MarkUntimed { lane: u8, number: u64, boot: Uuid, arrival_ms: i64 },
    /// The entry cannot be read, or sequences before it are missing: gaps take their place.
    Repair { lane: u8, number: u64 },
    /// The lane takes nothing more and becomes a backlog; what comes goes to a new lane of the same destination.
    /// Nothing happens to a lane that is empty or a backlog already, nor where a destination has as many backlogs
    /// as it may.
    Split { lane: u8 },
    /// What a boot's clock was.
    StampBoot(BootOffset),
}

/// What the hub said to an entry that was shipped as a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapAnswer {
    pub number: u64,
    /// The hub has the records after all.
    pub is_duplicate: bool,
}

/// A write transaction in progress.
pub(super) struct Work<'e> {
    pub environment: &'e Environment,
    pub txn: RwTxn<'e>,
    pub state: State,
    pub now_ms: i64,
    /// Up to which number a lane's entries are in flight and not to be dropped.
    pub spare: Box<dyn Fn(u8) -> u64 + Send>,
}

impl<'e> Work<'e> {
    pub fn begin(environment: &'e Environment, state: State, now_ms: i64) -> Result<Self, EnvironmentError> {
        Ok(Self { environment, txn: environment.write()?, state, now_ms, spare: Box::new(|_| 0) })
    }

    pub fn sparing(mut self, spare: impl Fn(u8) -> u64 + Send + 'static) -> Self {
        self.spare = Box::new(spare);
        self
    }

    pub fn commit(mut self) -> Result<State, EnvironmentError> {
        self.environment.put_state(&mut self.txn, &self.state)?;
        self.environment.commit(self.txn)?;
        Ok(self.state)
    }

    pub fn head(&self, key: Key) -> Result<Option<Head>, WorkError> {
        Ok(self.environment.get(&self.txn, key)?.map(Head::parse).transpose()?)
    }

    pub fn value(&self, key: Key) -> Result<Bytes, WorkError> {
        let value = self.environment.get(&self.txn, key)?.ok_or(WorkError::NoEntry(key))?;
        Ok(Bytes::copy_from_slice(value))
    }

    /// Puts an entry where there is none and accounts for it.
    pub fn insert(&mut self, key: Key, value: &[u8], records: u32) -> Result<(), WorkError> {
        self.environment.put(&mut self.txn, key, value)?;
        if let Some(lane) = self.state.lane_mut(key.lane) {
            lane.cost += cost(value.len());
            lane.records += u64::from(records);
        }
        Ok(())
    }

    /// Takes an entry away and its account with it. `records` is what it counted for.
    pub fn remove(&mut self, key: Key, records: u32) -> Result<(), WorkError> {
        let bytes = self.environment.get(&self.txn, key)?.map_or(0, <[u8]>::len);
        self.environment.delete(&mut self.txn, key)?;
        if let Some(lane) = self.state.lane_mut(key.lane) {
            lane.cost = lane.cost.saturating_sub(cost(bytes));
            lane.records = lane.records.saturating_sub(u64::from(records));
        }
        Ok(())
    }

    pub fn replace(&mut self, key: Key, old: u32, value: &[u8], new: u32) -> Result<(), WorkError> {
        self.remove(key, old)?;
        self.insert(key, value, new)
    }

    /// The lane that takes what comes for a destination, made where there is none yet.
    pub fn lane_of(&mut self, destination: &Destination, marker: &mut MarkerFile) -> Result<u8, WorkError> {
        match self.state.live_lane(destination) {
            Some(lane) => Ok(lane.id),
            None => self.add_lane(destination, marker),
        }
    }

    /// Makes a lane. Its id is the one that was not used for the longest time: what is still said of the lane before
    /// must not be taken as said of this one.
    pub fn add_lane(&mut self, destination: &Destination, marker: &mut MarkerFile) -> Result<u8, WorkError> {
        let last = self.state.last_lane;
        let mut ids = (last.saturating_add(1)..=u8::MAX).chain(1..=last);
        let id = ids.find(|id| self.state.lane(*id).is_none());
        let id = id.ok_or(WorkError::TooManyLanes(self.state.lanes.len()))?;
        marker.forget_lane(id);
        self.state.last_lane = id;
        self.state.lanes.push(Lane::new(id, destination));
        Ok(id)
    }

    /// The number of the lane's first entry, `next` where there is none.
    pub fn find_first(&self, lane: &Lane) -> Result<u64, EnvironmentError> {
        let mut entries = self.environment.range(&self.txn, lane.id, lane.first..=u64::MAX)?;
        Ok(entries.next().transpose()?.map_or(lane.next, |(number, _)| number))
    }
}
