//! Reading what is to be shipped: entries as they travel, from a snapshot that lasts for one call.

use std::ops::Range;

use bytes::Bytes;
use schemas::{DeviceId, ProducerId, RawBatch, Sequence, build_gap, patch_stream, patch_times};
use thiserror::Error;
use uuid::Uuid;

use super::age::{AgeClock, age_ms};
use super::entry::{GapEntry, Head, Kind, batch_bytes_mut, decode_batch};
use super::environment::{Environment, EnvironmentError, Key};
use super::state::{Placement, State};
use super::walk::follows;
use crate::time::Clock;

#[derive(Debug, Error)]
#[error("the buffer cannot be read: {0}")]
pub struct ReadError(#[from] EnvironmentError);

/// An entry as it is to travel.
#[derive(Clone, Debug)]
pub struct Item {
    pub number: u64,
    /// Stream and first sequence in the buffer.
    pub stored: ProducerId,
    pub base: Sequence,
    pub sequences: u32,
    pub placement: Placement,
    /// Whether it goes on where what was before it in the buffer ended.
    pub is_continuous: bool,
    pub content: Content,
}

#[derive(Clone, Debug)]
pub enum Content {
    /// A batch's bytes for the wire.
    Batch(Bytes),
    /// A gap's.
    Gap(Bytes),
    /// Its times are of a boot whose wall time is not known.
    Untimed { boot: Uuid },
    /// It cannot be read.
    Damaged,
}

#[derive(Clone)]
pub struct Reader {
    pub(super) environment: Environment,
    pub(super) device: DeviceId,
    /// This boot.
    pub(super) boot: Uuid,
}

impl Reader {
    /// Entries of a lane with these numbers: at least one if there is one, else as many as fit both bounds.
    pub fn read(
        &self,
        lane: u8,
        numbers: Range<u64>,
        bytes_max: usize,
        items_max: usize,
    ) -> Result<Vec<Item>, ReadError> {
        let txn = self.environment.read()?;
        let state = self.environment.state(&txn)?.unwrap_or_default();
        let mut items = Vec::new();
        let mut bytes = 0;
        let before = self.environment.before(&txn, lane, numbers.start)?;
        let mut previous = before.and_then(|(_, value)| Head::parse(value).ok());
        for entry in self.environment.range(&txn, lane, numbers.start..=numbers.end.saturating_sub(1))? {
            let (number, value) = entry?;
            if items.len() == items_max || (!items.is_empty() && bytes + value.len() > bytes_max) {
                break;
            }
            bytes += value.len();
            let key = Key { lane, number };
            let head = Head::parse(value).ok();
            items.push(self.item(&state, key, previous.as_ref(), head.as_ref(), value));
            previous = head;
        }
        Ok(items)
    }

    /// How old the first entry of any lane is, in ms; where nothing tells, by when the kernel's clock said that it was
    /// appended.
    pub fn oldest_age_ms(&self, clock: &Clock) -> Result<Option<i64>, ReadError> {
        let (now, kernel_ms) = (AgeClock::of(clock), clock.kernel_ms());
        let txn = self.environment.read()?;
        let state = self.environment.state(&txn)?.unwrap_or_default();
        let mut oldest = None;
        for lane in &state.lanes {
            let first = self.environment.range(&txn, lane.id, 0..=u64::MAX)?.next().transpose()?;
            let Some(head) = first.and_then(|(_, value)| Head::parse(value).ok()) else { continue };
            let age = age_ms(&state, &head, &now).unwrap_or((kernel_ms - head.appended_ms).max(0));
            oldest = oldest.max(Some(age));
        }
        Ok(oldest)
    }

    fn item(
        &self,
        state: &State,
        key: Key,
        previous: Option<&Head>,
        head: Option<&Head>,
        value: &[u8],
    ) -> Item {
        let (stored, base, sequences) = head
            .map_or((ProducerId::NONE, Sequence::ZERO, 0), |head| (head.stream, head.base, head.sequences));
        let own = Placement { stream: stored, base, partition: None };
        let placement = state.lane(key.lane).map_or(own, |lane| lane.placement(stored, base));
        let content = head.and_then(|head| self.content(state, head, &placement, value));
        let is_continuous = head.is_some_and(|head| follows(state, key, previous, head));
        let content = content.unwrap_or(Content::Damaged);
        Item { number: key.number, stored, base, sequences, placement, is_continuous, content }
    }

    fn content(&self, state: &State, head: &Head, placement: &Placement, value: &[u8]) -> Option<Content> {
        if head.is_gap() {
            let gap = GapEntry::decode(value).ok()?;
            let bytes = build_gap(&self.device, placement.stream, placement.base, gap.sequences, &gap.gap);
            return Some(Content::Gap(bytes));
        }
        let value = Bytes::copy_from_slice(value);
        let batch = decode_batch(&value).ok()?;
        let offset = match head.kind {
            Kind::Untimed { boot } => match state.stamp_of(boot, self.boot) {
                Some(offset) => Some(offset),
                None => return Some(Content::Untimed { boot }),
            },
            Kind::Batch | Kind::Gap => None,
        };
        let is_moved = placement.stream != head.stream;
        if offset.is_none() && !is_moved {
            return Some(Content::Batch(batch.into_bytes()));
        }
        patched(&value, &batch, offset, is_moved.then_some(placement)).map(Content::Batch)
    }
}

/// An entry's batch with other times, in another stream.
pub(super) fn patched(
    value: &Bytes,
    batch: &RawBatch,
    offset: Option<i64>,
    moved: Option<&Placement>,
) -> Option<Bytes> {
    let mut copy = value.to_vec();
    let bytes = batch_bytes_mut(&mut copy).ok()?;
    if let Some(offset) = offset {
        let header = batch.header();
        patch_times(
            bytes,
            header.base_timestamp.saturating_add(offset),
            header.max_timestamp.saturating_add(offset),
        );
    }
    if let Some(placement) = moved {
        patch_stream(bytes, placement.stream, placement.base);
    }
    let at = value.len() - batch.bytes().len();
    Some(Bytes::from(copy).slice(at..))
}
