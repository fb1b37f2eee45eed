//! The counter record: what the keys of the buffer do not say by themselves.
//!
//! It is written with every commit, so it is small: streams that wait in the buffer are known from their
//! batches, only the one that is being shipped and the one that is being appended to stand here.
//! Format: a version byte, then JSON. Version 2 added `priority` and `is_backlog` of a lane, `last_lane`, and
//! `flash_bytes`; version 1 is read as if all lanes were telemetry.

use std::collections::BTreeMap;

use schemas::{PartitionIndex, ProducerId, Sequence, TopicName};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::destination::{Destination, Priority};
use crate::limits::INPUTS_MAX;

const VERSION: u8 = 2;
const VERSION_WITHOUT_PRIORITIES: u8 = 1;
/// Boots whose offset is kept; an untimed batch of an older one can never be stamped.
const BOOTS_MAX: usize = 64;
/// Marks that are kept: those of every input that there can be, and as many of former ones.
const MARKS_MAX: usize = 2 * INPUTS_MAX;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub lanes: Vec<Lane>,
    pub boots: Vec<BootOffset>,
    pub counters: Counters,
    /// Half of what was free when the buffer was made.
    #[serde(default)]
    pub cap_bytes_max: Option<u64>,
    /// The id that was given to a lane last: one that is free again is used again as late as can be.
    #[serde(default)]
    pub last_lane: u8,
    /// The number of what was owed and is paid (see `marker`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub paid: u64,
    /// How far the inputs read their sources with what was taken, by the inputs' names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<String, String>,
}

/// `appended = buffered + acknowledged + dropped`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Records taken into the buffer.
    pub appended: u64,
    /// Records that a hub has.
    pub acknowledged: u64,
    /// Records that a gap stands for.
    pub dropped: u64,
    /// Of those, records of batches that a hub refused as malformed.
    pub quarantined: u64,
    /// Streams that were closed and moved to a new one.
    pub moved_streams: u64,
    /// What the buffer has written to the disk, in bytes, as far as the last commit knew.
    #[serde(default)]
    pub flash_bytes: u64,
}

/// A queue of the buffer: batches of one destination in the order in which they were appended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// The first byte of its keys, from 1.
    pub id: u8,
    pub topic: TopicName,
    #[serde(default)]
    pub priority: Priority,
    /// It takes nothing more: what is measured now goes to another lane of the same destination.
    #[serde(default)]
    pub is_backlog: bool,
    /// The number of the next entry.
    pub next: u64,
    /// The number of the first entry, `next` where there is none.
    #[serde(skip)]
    pub first: u64,
    /// Entries below this are gaps already.
    #[serde(skip)]
    pub drop_from: u64,
    /// The first entry that a power cut may take back together with its marks. Its source is read again then, so it
    /// is not shipped before.
    #[serde(skip)]
    pub unsynced_marks_from: Option<u64>,
    /// What its entries take up, in bytes of pages.
    pub cost: u64,
    /// Records in its batches; gaps have none.
    pub records: u64,
    /// The stream that is appended to, once something was since the start.
    pub open: Option<OpenStream>,
    /// The stream that is shipped or was shipped last.
    pub shipping: Option<Shipping>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenStream {
    pub id: ProducerId,
    pub next: Sequence,
}

/// A stream whose first batch may have been sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipping {
    /// The stream as it stands in the buffer.
    pub stream: ProducerId,
    /// Everything before this was acknowledged and trimmed.
    pub acked: Sequence,
    /// Under which streams its sequences travel; a later one overrides the earlier.
    pub wires: Vec<Wire>,
}

/// Sequences `from..until` of the buffer's stream travel as those from `base` on of `stream`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    pub stream: ProducerId,
    pub from: Sequence,
    pub until: Option<Sequence>,
    pub base: Sequence,
    /// Fixed just before the first batch is shipped.
    pub partition: Option<PartitionIndex>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootOffset {
    pub boot: Uuid,
    /// Wall time minus boot time in ms; never revised once something may have been shipped by it.
    pub offset_ms: i64,
    /// Nothing is shipped by it in this boot, and a better one takes its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_provisional: bool,
}

/// How an entry travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub stream: ProducerId,
    pub base: Sequence,
    /// `None` until the stream has begun to be shipped.
    pub partition: Option<PartitionIndex>,
}

#[derive(Debug, Error)]
pub enum StateError {
    #[error("the counter record is of version {0}, which this release does not know")]
    Version(u8),
    #[error("the counter record is damaged: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the counter record is empty")]
    Empty,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl State {
    pub fn encode(&self) -> Result<Vec<u8>, StateError> {
        let mut bytes = vec![VERSION];
        serde_json::to_writer(&mut bytes, self)?;
        Ok(bytes)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        match bytes {
            [VERSION | VERSION_WITHOUT_PRIORITIES, json @ ..] => Ok(serde_json::from_slice(json)?),
            [version, ..] => Err(StateError::Version(*version)),
            [] => Err(StateError::Empty),
        }
    }

    pub fn lane(&self, id: u8) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.id == id)
    }

    pub fn lane_mut(&mut self, id: u8) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.id == id)
    }

    /// The lane that takes what comes for a destination.
    pub fn live_lane(&self, destination: &Destination) -> Option<&Lane> {
        self.lanes.iter().find(|lane| !lane.is_backlog && lane.is_for(destination))
    }

    /// What all entries take up.
    pub fn cost(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.cost).sum()
    }

    /// What the entries of one priority take up.
    pub fn cost_of(&self, priority: Priority) -> u64 {
        self.lanes.iter().filter(|lane| lane.priority == priority).map(|lane| lane.cost).sum()
    }

    pub fn offset_of(&self, boot: Uuid) -> Option<i64> {
        self.boots.iter().find(|known| known.boot == boot).map(|known| known.offset_ms)
    }

    /// What batches of a boot are stamped by for the wire, in the boot `now`.
    pub fn stamp_of(&self, boot: Uuid, now: Uuid) -> Option<i64> {
        let known = self.boots.iter().find(|known| known.boot == boot)?;
        (boot != now || !known.is_provisional).then_some(known.offset_ms)
    }

    /// Those of inputs that are long gone make room.
    pub fn note_marks(&mut self, marks: &[(String, String)]) {
        for (input, mark) in marks {
            if self.marks.len() >= MARKS_MAX && !self.marks.contains_key(input) {
                self.marks.pop_first();
            }
            self.marks.insert(input.clone(), mark.clone());
        }
    }

    /// Everything that was committed is on the disk.
    pub fn note_sync(&mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.unsynced_marks_from = None);
    }

    /// The first offset that is told for a boot for good stays. Nothing in an empty buffer is of an earlier one.
    pub fn set_offset(&mut self, told: BootOffset) {
        if let Some(known) = self.boots.iter_mut().find(|known| known.boot == told.boot) {
            if known.is_provisional {
                *known = told;
            }
            return;
        }
        if self.lanes.iter().all(Lane::is_empty) {
            self.boots.clear();
        }
        if self.boots.len() == BOOTS_MAX {
            self.boots.remove(0);
        }
        self.boots.push(told);
    }
}

impl Lane {
    pub fn new(id: u8, destination: &Destination) -> Self {
        let next = FIRST_NUMBER;
        Self {
            id,
            topic: destination.topic.clone(),
            priority: destination.priority,
            is_backlog: false,
            next,
            first: next,
            drop_from: next,
            unsynced_marks_from: None,
            cost: 0,
            records: 0,
            open: None,
            shipping: None,
        }
    }

    pub fn is_for(&self, destination: &Destination) -> bool {
        self.topic == destination.topic && self.priority == destination.priority
    }

    pub fn destination(&self) -> Destination {
        Destination { topic: self.topic.clone(), priority: self.priority }
    }

    pub fn is_empty(&self) -> bool {
        self.first >= self.next
    }

    /// How sequences from `base` on of the buffer's `stream` travel.
    pub fn placement(&self, stream: ProducerId, base: Sequence) -> Placement {
        let own = Placement { stream, base, partition: None };
        let Some(shipping) = self.shipping.as_ref().filter(|shipping| shipping.stream == stream) else {
            return own;
        };
        shipping.wire(base).map_or(own, |wire| {
            let records = u32::try_from(base.distance(wire.from)).unwrap_or(0);
            Placement { stream: wire.stream, base: wire.base.plus(records), partition: wire.partition }
        })
    }
}

impl Shipping {
    pub fn wire(&self, sequence: Sequence) -> Option<&Wire> {
        self.wires.iter().rev().find(|wire| {
            !sequence.is_before(wire.from) && wire.until.is_none_or(|until| sequence.is_before(until))
        })
    }
}

/// Numbers go up in steps, so that a gap finds room for a hole that is found later.
pub const NUMBER_STEP: u64 = 8;
const FIRST_NUMBER: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(stream: i64, from: i32, until: Option<i32>, partition: i32) -> Wire {
        Wire {
            stream: ProducerId(stream),
            from: Sequence(from),
            until: until.map(Sequence),
            base: Sequence(0),
            partition: Some(PartitionIndex(partition)),
        }
    }

    fn known(boot: u128, offset_ms: i64) -> BootOffset {
        BootOffset { boot: Uuid::from_u128(boot), offset_ms, is_provisional: false }
    }

    fn to(topic: &str) -> Destination {
        TopicName::try_from(topic).unwrap().into()
    }

    #[test]
    fn the_counter_record_survives_being_written() {
        let mut state = State::default();
        let mut lane = Lane::new(1, &Destination { priority: Priority::Alarm, ..to("telemetry") });
        lane.shipping =
            Some(Shipping { stream: ProducerId(1), acked: Sequence(3), wires: vec![wire(1, 0, None, 2)] });
        (lane.first, lane.drop_from) = (0, 0);
        state.lanes.push(lane);
        state.set_offset(known(7, -5));
        state.set_offset(BootOffset { is_provisional: true, ..known(8, 9) });
        assert_eq!(State::decode(&state.encode().unwrap()).unwrap(), state);
        assert!(matches!(State::decode(&[9]), Err(StateError::Version(9))));
        assert!(State::decode(&[]).is_err() && State::decode(&[1, b'{']).is_err());
    }

    #[test]
    fn the_record_of_the_release_before_priorities_is_read() {
        let golden = include_str!("../../tests/golden/state-1.json").trim_end();
        let state = State::decode(&[b"\x01", golden.as_bytes()].concat()).unwrap();
        let lane = &state.lanes[0];
        assert_eq!(
            (lane.topic.as_str(), lane.priority, lane.is_backlog),
            ("telemetry", Priority::Telemetry, false)
        );
        assert_eq!((lane.next, lane.records, lane.cost), (1_048_592, 3, 374));
        assert_eq!(lane.shipping.as_ref().unwrap().wires.len(), 1);
        assert_eq!((state.counters.appended, state.cap_bytes_max), (5, Some(1 << 30)));
    }

    #[test]
    fn the_newest_mark_of_an_input_is_kept_and_their_number_is_bounded() {
        let mut state = State::default();
        let mark = |input: usize, mark: &str| (format!("{input:04}"), mark.to_owned());
        state.note_marks(&[mark(0, "a"), mark(1, "a"), mark(1, "b")]);
        assert_eq!(State::decode(&state.encode().unwrap()).unwrap(), state);
        assert_eq!(state.marks.values().collect::<Vec<_>>(), ["a", "b"]);
        state.note_marks(&(2..=MARKS_MAX).map(|input| mark(input, "c")).collect::<Vec<_>>());
        assert_eq!((state.marks.len(), state.marks.get("0000")), (MARKS_MAX, None));
    }

    #[test]
    fn a_later_move_overrides_an_earlier_one() {
        let mut lane = Lane::new(1, &to("t"));
        let wires = vec![wire(10, 0, None, 0), wire(11, 20, Some(30), 1), wire(12, 40, None, 2)];
        lane.shipping = Some(Shipping { stream: ProducerId(10), acked: Sequence(0), wires });
        let at = |sequence| {
            let placed = lane.placement(ProducerId(10), Sequence(sequence));
            (placed.stream.0, placed.base.0)
        };
        assert_eq!(at(19), (10, 19));
        assert_eq!(at(20), (11, 0));
        assert_eq!(at(29), (11, 9));
        assert_eq!(at(30), (10, 30));
        assert_eq!(at(45), (12, 5));
        let waiting = lane.placement(ProducerId(99), Sequence(4));
        assert_eq!((waiting.stream.0, waiting.partition), (99, None));
    }

    #[test]
    fn a_boots_offset_is_never_revised() {
        let mut state = State::default();
        state.set_offset(known(1, 10));
        state.set_offset(known(1, 20));
        state.set_offset(BootOffset { is_provisional: true, ..known(1, 30) });
        assert_eq!(state.boots, [known(1, 10)]);
    }

    #[test]
    fn a_provisional_offset_stamps_nothing_in_its_boot_and_gives_way() {
        let mut state = State::default();
        let (boot, later) = (Uuid::from_u128(1), Uuid::from_u128(2));
        state.set_offset(BootOffset { is_provisional: true, ..known(1, 10) });
        assert_eq!((state.stamp_of(boot, boot), state.offset_of(boot)), (None, Some(10)));
        assert_eq!(state.stamp_of(boot, later), Some(10), "nobody will know it better any more");
        state.set_offset(known(1, 20));
        assert_eq!((state.stamp_of(boot, boot), state.boots.len()), (Some(20), 1));
    }

    #[test]
    fn the_offsets_of_earlier_boots_are_kept_while_something_may_be_of_them() {
        let mut state = State::default();
        let mut lane = Lane::new(1, &to("t"));
        lane.next += NUMBER_STEP;
        state.lanes.push(lane);
        state.set_offset(known(1, 10));
        state.set_offset(known(2, 20));
        assert_eq!(state.offset_of(Uuid::from_u128(1)), Some(10));
        state.lanes[0].first = state.lanes[0].next;
        state.set_offset(known(3, 30));
        assert_eq!(state.boots.len(), 1);
        assert_eq!(state.offset_of(Uuid::from_u128(3)), Some(30));
    }
}
