//! One lane's way to the hub.
//!
//! In order: nothing of a stream is sent before the stream before it is wholly acknowledged, and on a new
//! connection everything past the acknowledged position is sent again from there.

use std::collections::{BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use schemas::headers::StreamStartReason;
use schemas::{PartitionIndex, ProducerId, Sequence, TopicName, device_partition};

use super::event::{Action, Answer};
use super::refusal::FAULT_HOLD_MS;
use super::shared::{Connection, Shared};
use crate::buffer::{Amendment, Content, GapAnswer, Item, NUMBER_STEP};
use crate::limits::{
    PUBLISH_BYTES_TARGET, PUBLISH_OVERHEAD_BYTES, SHIP_SPAN_ENTRIES, TRIM_ENTRIES, UNTIMED_AFTER,
};

const SPAN: u64 = SHIP_SPAN_ENTRIES * NUMBER_STEP;

/// Why nothing is sent although there is something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Flowing,
    /// Something was refused: what is in flight is answered first.
    Draining,
    /// The buffer is being changed.
    Amending,
    /// The hub is asked again later.
    Holding {
        until_ms: u64,
        why: String,
        /// Only another CONNECT can change the hub's answer.
        needs_connect: bool,
    },
}

/// An entry in flight.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub number: u64,
    pub stored: ProducerId,
    /// Its first sequence in the buffer's stream.
    pub base: Sequence,
    /// Its first sequence as it travels.
    pub wire_base: Sequence,
    pub sequences: u32,
    pub is_gap: bool,
    /// It was sent before and not answered: that the hub has it may mean the gap itself.
    pub is_repeat: bool,
}

/// A publish in flight: entries of one stream, back to back.
#[derive(Clone, Debug)]
pub(super) struct Shipment {
    pub token: u64,
    pub stream: ProducerId,
    pub entries: Vec<Sent>,
    pub answer: Option<Answer>,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub id: u8,
    pub topic: TopicName,
    /// The first entry that stands in the buffer, as of a commit.
    first: u64,
    /// The number after the last.
    next: u64,
    /// Everything below is acknowledged.
    pub acked: u64,
    /// The next entry to be sent.
    pub cursor: u64,
    queue: VecDeque<Item>,
    /// Numbers that were sent as gaps, on this connection or before, and are not acknowledged.
    gaps_sent: BTreeSet<u64>,
    /// The range of numbers that was asked for.
    reading: Option<(u64, u64)>,
    pub flight: VecDeque<Shipment>,
    pub phase: Phase,
    /// Entries below this travel one by one, so that a refusal names its batch.
    pub solo_until: u64,
    /// Refusals in a row that waiting may cure.
    pub holds: u32,
}

impl Lane {
    pub fn new(id: u8, topic: TopicName, first: u64, next: u64) -> Self {
        Self {
            id,
            topic,
            first,
            next,
            acked: first,
            cursor: first,
            queue: VecDeque::new(),
            gaps_sent: BTreeSet::new(),
            reading: None,
            flight: VecDeque::new(),
            phase: Phase::Flowing,
            solo_until: 0,
            holds: 0,
        }
    }

    /// What a commit made of the lane.
    pub fn update(&mut self, first: u64, next: u64) {
        let found_before = first < self.first;
        (self.first, self.next) = (first, next);
        if found_before {
            // A repair has put a gap before what was the first entry.
            self.acked = self.acked.min(first);
            self.rewind();
        }
        if self.acked < first {
            self.acked = first;
        }
        if self.cursor < first {
            self.rewind();
        }
    }

    /// Forgets what is on its way; sending begins again at the acknowledged position.
    pub fn rewind(&mut self) {
        self.flight.clear();
        self.queue.clear();
        self.reading = None;
        self.cursor = self.acked;
    }

    pub fn is_drained(&self) -> bool {
        !self.is_before_end(self.acked)
    }

    pub fn disconnected(&mut self, shared: &mut Shared) {
        self.rewind();
        self.solo_until = 0;
        if self.phase != Phase::Amending {
            self.phase = Phase::Flowing;
        }
        shared.act(Action::InFlight { lane: self.id, end: 0 });
    }

    pub fn items(&mut self, from: u64, items: Vec<Item>) {
        if self.reading.is_none_or(|(asked, _)| asked != from) {
            return;
        }
        // Numbers may be left out where gaps were joined.
        if let (Some((_, until)), true) = (self.reading.take(), items.is_empty()) {
            self.cursor = until;
        }
        self.queue.extend(items);
    }

    pub fn amended(&mut self) {
        self.phase = Phase::Flowing;
        self.rewind();
    }

    /// What was read may be read differently now; nothing of it was sent.
    pub fn forget_queue(&mut self) {
        self.queue.clear();
        self.reading = None;
    }

    /// Whether the next entry cannot be sent because the time of its boot is not known.
    pub fn waits_for_time(&self) -> bool {
        matches!(self.queue.front().map(|item| &item.content), Some(Content::Untimed { .. }))
    }

    /// Whether it has waited for long enough for another connection.
    pub fn is_due_for_connect(&self, now_ms: u64) -> bool {
        matches!(&self.phase, Phase::Holding { until_ms, needs_connect: true, .. } if *until_ms <= now_ms)
    }

    /// When the lane wants to be looked at again.
    pub fn wake_ms(&self, connection: &Connection) -> Option<u64> {
        match &self.phase {
            Phase::Holding { until_ms, .. } => Some(*until_ms),
            Phase::Flowing if self.waits_for_time() => Some(connection.since_ms + millis(UNTIMED_AFTER)),
            _ => None,
        }
    }

    /// Sends one publish if it may, else asks for what is missing; true where it was sent.
    pub fn pump(&mut self, shared: &mut Shared) -> bool {
        if let Phase::Holding { until_ms, .. } = self.phase
            && until_ms <= shared.now_ms
        {
            self.phase = Phase::Flowing;
        }
        if self.phase != Phase::Flowing {
            return false;
        }
        let Some(partition_count) = shared.partition_count(&self.topic) else {
            self.await_admission(shared);
            return false;
        };
        let Some(item) = self.queue.front() else {
            self.ask_for_more(shared);
            return false;
        };
        let is_other_stream = self.flight.back().is_some_and(|last| last.stream != item.placement.stream);
        if is_other_stream {
            return false;
        }
        match self.obstacle(item, partition_count, shared) {
            Obstacle::None => {}
            Obstacle::Wait => return false,
            Obstacle::Amend(amendment) => {
                if self.flight.is_empty() {
                    self.phase = Phase::Amending;
                    shared.act(Action::Amend { lane: self.id, amendment });
                }
                return false;
            }
            Obstacle::Trim => {
                self.trim(Vec::new(), true, shared);
                return false;
            }
            Obstacle::TooLarge(bytes) => {
                self.hold(
                    format!("a batch of {bytes} bytes is more than the hub takes"),
                    FAULT_HOLD_MS,
                    shared,
                );
                return false;
            }
        }
        let Some(partition) = item.placement.partition else { return false };
        self.publish(partition, shared)
    }

    /// What keeps the next entry from being sent.
    fn obstacle(&self, item: &Item, partition_count: i32, shared: &Shared) -> Obstacle {
        let number = item.number;
        match &item.content {
            Content::Damaged => return Obstacle::Amend(Amendment::Repair { lane: self.id, number }),
            Content::Untimed { boot } => {
                let Some(connection) = &shared.connection else { return Obstacle::Wait };
                let waited = shared.now_ms.saturating_sub(connection.since_ms) >= millis(UNTIMED_AFTER);
                if *boot == shared.boot && !waited {
                    return Obstacle::Wait;
                }
                let arrival_ms = shared.arrival_ms;
                return Obstacle::Amend(Amendment::MarkUntimed { lane: self.id, number, arrival_ms });
            }
            Content::Batch(bytes) | Content::Gap(bytes) => {
                if bytes.len() > shared.payload_bytes_max() {
                    return Obstacle::TooLarge(bytes.len());
                }
            }
        }
        if !item.is_continuous {
            return Obstacle::Amend(Amendment::Repair { lane: self.id, number });
        }
        match item.placement.partition {
            Some(partition) if partition.0 < partition_count => return Obstacle::None,
            // Partitions are never taken away: this is another topic of the same name, which knows no stream.
            Some(_) => {
                let reason = StreamStartReason::Forgotten;
                return Obstacle::Amend(Amendment::Move { lane: self.id, number, whole: true, reason });
            }
            None => {}
        }
        // The stream before it leaves the buffer before this one begins: its partition is forgotten then.
        if self.first < number {
            return Obstacle::Trim;
        }
        let partition = device_partition(&shared.device, partition_count);
        let (stored, stream) = (item.stored, item.placement.stream);
        Obstacle::Amend(Amendment::Begin { lane: self.id, stored, stream, partition })
    }

    /// The hub did not admit the topic when the connection began: it is asked again by another one.
    fn await_admission(&mut self, shared: &mut Shared) {
        let connection = shared.connection.as_ref().filter(|connection| !connection.is_dropped);
        let was_named = connection.is_some_and(|connection| connection.named.contains(&self.topic));
        if was_named && !self.is_drained() {
            self.hold_for_connect(shared.no_partitions(&self.topic), shared);
        }
    }

    /// Whether there may be an entry from this number on: the last one is a step below `next`.
    fn is_before_end(&self, number: u64) -> bool {
        number + NUMBER_STEP <= self.next
    }

    /// Entries at the span's end wait until what was acknowledged before them is trimmed.
    fn ask_for_more(&mut self, shared: &mut Shared) {
        let until = self.next.min(self.first + SPAN);
        if self.reading.is_some() || !self.is_before_end(self.cursor) {
            return;
        }
        if self.cursor < until {
            self.reading = Some((self.cursor, until));
            shared.act(Action::InFlight { lane: self.id, end: until });
            shared.act(Action::Read { lane: self.id, from: self.cursor, until });
        } else if self.acked > self.first {
            self.trim(Vec::new(), true, shared);
        }
    }

    fn publish(&mut self, partition: PartitionIndex, shared: &mut Shared) -> bool {
        let entries = self.joined(shared.publish_bytes_max());
        let bytes: usize = self.queue.iter().take(entries).map(|item| payload(item).len()).sum();
        let now_ms = shared.now_ms;
        let Some(connection) = shared.connection.as_mut() else { return false };
        if !connection.window.has_room(bytes) {
            return false;
        }
        let token = connection.window.send(bytes, now_ms);
        connection.unserved_since_ms.get_or_insert(now_ms);
        let taken: Vec<Item> = self.queue.drain(..entries).collect();
        let Some(stream) = taken.first().map(|item| item.placement.stream) else { return false };
        if let Some(last) = taken.last() {
            self.cursor = last.number + 1;
        }
        let payload = join(&taken, bytes);
        let entries = taken.iter().map(|item| self.sent(item)).collect();
        self.flight.push_back(Shipment { token, stream, entries, answer: None });
        shared.act(Action::Publish { token, topic: self.topic.clone(), partition, payload });
        true
    }

    /// How many of the queue's entries travel in one publish. A gap travels alone: its answer is its own.
    fn joined(&self, bytes_max: usize) -> usize {
        let Some(first) = self.queue.front() else { return 0 };
        if matches!(first.content, Content::Gap(_)) || first.number < self.solo_until {
            return 1;
        }
        let mut bytes = 0;
        let mut end = first.base;
        let fits = |item: &&Item| {
            bytes += payload(item).len();
            let follows = item.stored == first.stored
                && item.base == end
                && item.placement.stream == first.placement.stream;
            end = item.base.plus(item.sequences);
            follows && matches!(item.content, Content::Batch(_)) && bytes <= bytes_max
        };
        self.queue.iter().take_while(fits).count().max(1)
    }

    fn sent(&mut self, item: &Item) -> Sent {
        let is_gap = matches!(item.content, Content::Gap(_));
        Sent {
            number: item.number,
            stored: item.stored,
            base: item.base,
            wire_base: item.placement.base,
            sequences: item.sequences,
            is_gap,
            is_repeat: is_gap && !self.gaps_sent.insert(item.number),
        }
    }

    /// Takes what is answered off the front, and tells the buffer.
    pub fn advance(&mut self, shared: &mut Shared) {
        let mut gaps = Vec::new();
        let before = self.acked;
        while self.flight.front().is_some_and(Shipment::is_taken)
            && let Some(shipment) = self.flight.pop_front()
        {
            let is_duplicate = shipment.answer.as_ref().is_some_and(|answer| answer.duplicates > 0);
            gaps.extend(gap_answers(&shipment.entries, is_duplicate));
            if let Some(last) = shipment.entries.last() {
                self.acked = last.number + 1;
            }
        }
        if self.acked > before {
            self.holds = 0;
            self.gaps_sent = self.gaps_sent.split_off(&self.acked);
            let at_once = self.acked.saturating_sub(self.first) >= TRIM_ENTRIES * NUMBER_STEP;
            self.trim(gaps, at_once, shared);
        }
    }

    pub fn trim(&mut self, gaps: Vec<GapAnswer>, at_once: bool, shared: &mut Shared) {
        if self.acked > self.first {
            shared.act(Action::Trim { lane: self.id, through: self.acked - 1, gaps, at_once });
        }
    }
}

enum Obstacle {
    None,
    Wait,
    Trim,
    TooLarge(usize),
    Amend(Amendment),
}

impl Shipment {
    fn is_taken(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.reason < super::event::reason::REFUSED)
    }
}

/// What a trim says of those entries that travelled as gaps.
pub(super) fn gap_answers(entries: &[Sent], is_duplicate: bool) -> impl Iterator<Item = GapAnswer> {
    let gaps = entries.iter().filter(|sent| sent.is_gap);
    gaps.map(move |sent| GapAnswer { number: sent.number, is_duplicate: is_duplicate && !sent.is_repeat })
}

fn payload(item: &Item) -> &[u8] {
    match &item.content {
        Content::Batch(bytes) | Content::Gap(bytes) => bytes,
        Content::Untimed { .. } | Content::Damaged => &[],
    }
}

fn join(items: &[Item], bytes: usize) -> Bytes {
    if let [Item { content: Content::Batch(only) | Content::Gap(only), .. }] = items {
        return only.clone();
    }
    let mut joined = BytesMut::with_capacity(bytes);
    items.iter().for_each(|item| joined.extend_from_slice(payload(item)));
    joined.freeze()
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Shared {
    /// The largest payload that the hub takes.
    fn payload_bytes_max(&self) -> usize {
        let packet = self.connection.as_ref().and_then(|connection| connection.facts.max_packet_bytes);
        let hub = packet.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
        hub.saturating_sub(PUBLISH_OVERHEAD_BYTES)
    }

    /// What neighbouring batches are joined up to.
    fn publish_bytes_max(&self) -> usize {
        PUBLISH_BYTES_TARGET.min(self.payload_bytes_max())
    }
}
