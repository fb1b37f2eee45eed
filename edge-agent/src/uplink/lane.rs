//! One lane's way to the hub.
//!
//! In order: nothing of a stream is sent before the stream before it is wholly acknowledged, and on a new
//! connection everything past the acknowledged position is sent again from there.

use std::collections::{BTreeSet, VecDeque};

use schemas::TopicName;

use super::event::Action;
use super::refusal::{FAULT_HOLD_MS, REFUSED_HOLD_MS};
use super::shared::{Connection, Shared};
use super::shipment::Shipment;
use crate::buffer::{Amendment, Content, Item, LaneView, NUMBER_STEP};
use crate::config::CatchUp;
use crate::destination::Priority;
use crate::limits::SHIP_SPAN_ENTRIES;

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

/// The order in which lanes send: a later one only what the earlier leave room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    Alarm,
    Telemetry,
    TelemetryBacklog,
    Bulk,
    BulkBacklog,
}

impl Rank {
    pub const ALL: [Self; 5] =
        [Self::Alarm, Self::Telemetry, Self::TelemetryBacklog, Self::Bulk, Self::BulkBacklog];
}

#[derive(Debug)]
pub(super) struct Lane {
    pub id: u8,
    pub topic: TopicName,
    pub priority: Priority,
    /// It gets nothing more; what comes goes to another lane.
    pub is_backlog: bool,
    /// The connection's CONNECT named its topic.
    pub is_named: bool,
    /// What its entries take up.
    bytes: u64,
    /// The first entry that stands in the buffer, as of a commit.
    pub first: u64,
    /// The number after the last.
    next: u64,
    /// Everything below is acknowledged.
    pub acked: u64,
    /// The next entry to be sent.
    pub cursor: u64,
    pub queue: VecDeque<Item>,
    /// Numbers that were sent as gaps, on this connection or before, and are not acknowledged.
    pub gaps_sent: BTreeSet<u64>,
    /// The range of numbers that was asked for.
    reading: Option<(u64, u64)>,
    pub flight: VecDeque<Shipment>,
    pub phase: Phase,
    /// Entries below this travel one by one, so that a refusal names its batch.
    pub solo_until: u64,
    /// Refusals in a row that waiting may cure.
    pub holds: u32,
    /// Entries below this wait for no others to travel with.
    released: u64,
    /// Since when those from there on wait.
    waits_since_ms: Option<u64>,
    /// Entries below this stood in the buffer when the connection was made, and count as a backlog.
    paced_until: u64,
    /// It could not send for a while, and now it can.
    is_resuming: bool,
}

impl Lane {
    pub fn new(view: LaneView, is_named: bool) -> Self {
        Self {
            id: view.id,
            topic: view.topic,
            priority: view.priority,
            is_backlog: view.is_backlog,
            is_named,
            bytes: view.bytes,
            first: view.first,
            next: view.next,
            acked: view.first,
            cursor: view.first,
            queue: VecDeque::new(),
            gaps_sent: BTreeSet::new(),
            reading: None,
            flight: VecDeque::new(),
            phase: Phase::Flowing,
            solo_until: 0,
            holds: 0,
            released: 0,
            waits_since_ms: None,
            paced_until: 0,
            is_resuming: false,
        }
    }

    /// Whether the view is of this lane, and not of a later one with its id.
    pub fn is_of(&self, view: &LaneView) -> bool {
        self.id == view.id
            && self.topic == view.topic
            && self.priority == view.priority
            && self.next <= view.next
            && (view.is_backlog || !self.is_backlog)
    }

    /// What a commit made of the lane.
    pub fn update(&mut self, view: &LaneView) {
        let (first, next) = (view.first, view.next);
        (self.is_backlog, self.bytes) = (view.is_backlog, view.bytes);
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

    pub fn rank(&self) -> Rank {
        match (self.priority, self.is_backlog) {
            (Priority::Alarm, _) => Rank::Alarm,
            (Priority::Telemetry, false) => Rank::Telemetry,
            (Priority::Telemetry, true) => Rank::TelemetryBacklog,
            (Priority::Bulk, false) => Rank::Bulk,
            (Priority::Bulk, true) => Rank::BulkBacklog,
        }
    }

    /// Whether it is a backlog of the same destination as another lane.
    pub fn is_backlog_beside(&self, other: &Self) -> bool {
        self.is_backlog && self.topic == other.topic && self.priority == other.priority
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

    /// Whether it may still send something on this connection without another one's help.
    pub fn is_busy(&self, shared: &Shared) -> bool {
        let is_held = matches!(self.phase, Phase::Holding { .. });
        self.is_named && !is_held && self.wants_connection(shared)
    }

    /// Whether it has something to send that its connection may carry.
    pub fn wants_connection(&self, shared: &Shared) -> bool {
        !self.is_drained() && shared.may_send(self.priority)
    }

    /// What stands in the buffer has waited for long enough.
    pub fn connected(&mut self, shared: &Shared) {
        self.release();
        self.is_resuming = true;
        let is_paced = shared.plan.catch_up == CatchUp::InOrder && shared.pace.is_limited();
        self.paced_until = if is_paced && self.priority != Priority::Alarm { self.next } else { 0 };
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

    /// It is tried again in a moment; what arrives meanwhile may make room for it.
    pub fn not_amended(&mut self, why: String, shared: &mut Shared) {
        self.amended();
        self.hold(why, REFUSED_HOLD_MS, shared);
    }

    /// What was read may be read differently now; nothing of it was sent.
    pub fn forget_queue(&mut self) {
        self.queue.clear();
        self.reading = None;
    }

    /// Whether the next entry cannot be sent because the time of this boot is not known.
    pub fn waits_for_time(&self, shared: &Shared) -> bool {
        let front = self.queue.front().map(|item| &item.content);
        matches!(front, Some(Content::Untimed { boot }) if *boot == shared.boot)
    }

    /// Whether it has waited for long enough for another connection.
    pub fn is_due_for_connect(&self, now_ms: u64) -> bool {
        matches!(&self.phase, Phase::Holding { until_ms, needs_connect: true, .. } if *until_ms <= now_ms)
    }

    /// When the lane wants to be looked at again.
    pub fn wake_ms(&self, connection: &Connection, shared: &Shared) -> Option<u64> {
        match &self.phase {
            Phase::Holding { until_ms, .. } => Some(*until_ms),
            Phase::Flowing if !shared.may_send(self.priority) => None,
            Phase::Flowing if self.waits_for_time(shared) => Some(shared.untimed_at_ms(connection)),
            Phase::Flowing if self.waits_since_ms.is_some() => {
                self.waits_since_ms.map(|since| since + shared.plan.ship_wait_ms)
            }
            Phase::Flowing if self.is_paced() && !self.queue.is_empty() => shared.pace.wake_ms(),
            _ => None,
        }
    }

    /// Ends a hold whose time has come.
    pub fn end_hold(&mut self, now_ms: u64) {
        if matches!(self.phase, Phase::Holding { until_ms, .. } if until_ms <= now_ms) {
            self.phase = Phase::Flowing;
            self.is_resuming = true;
        }
    }

    /// Whether so much has gathered while nothing could be sent that what comes next should not wait behind it.
    pub fn wants_split(&mut self, shared: &Shared) -> bool {
        if self.phase != Phase::Flowing || !std::mem::take(&mut self.is_resuming) {
            return false;
        }
        shared.plan.catch_up == CatchUp::LiveFirst
            && !self.is_backlog
            && self.priority != Priority::Alarm
            && self.bytes > shared.pace.backlog_bytes()
    }

    /// Sends one publish if it may, else asks for what is missing; true where it was sent.
    pub fn pump(&mut self, shared: &mut Shared) -> bool {
        if self.phase != Phase::Flowing || !shared.may_send(self.priority) {
            return false;
        }
        let Some(partition_count) = shared.partition_count(&self.topic) else {
            self.await_admission(shared);
            return false;
        };
        if !self.is_released(shared) {
            return false;
        }
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
                    self.amend(amendment, shared);
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

    pub fn amend(&mut self, amendment: Amendment, shared: &mut Shared) {
        self.phase = Phase::Amending;
        shared.act(Action::Amend { lane: self.id, amendment });
    }

    /// What is in the buffer now waits for nothing.
    pub fn release(&mut self) {
        (self.released, self.waits_since_ms) = (self.next, None);
    }

    /// Whether the next entry may be sent, or waits for others to travel with.
    fn is_released(&mut self, shared: &Shared) -> bool {
        let wait_ms = shared.plan.ship_wait_ms;
        if self.cursor < self.released || wait_ms == 0 || self.priority == Priority::Alarm {
            return true;
        }
        if !self.is_before_end(self.cursor) {
            return false;
        }
        let since = *self.waits_since_ms.get_or_insert(shared.now_ms);
        let is_over = since + wait_ms <= shared.now_ms;
        if is_over {
            self.release();
        }
        is_over
    }

    /// Whether the next entry counts against the rate of a backlog.
    pub fn is_paced(&self) -> bool {
        self.is_backlog || self.cursor < self.paced_until
    }

    /// The hub did not admit the topic when the connection began: it is asked again by another one.
    fn await_admission(&mut self, shared: &mut Shared) {
        let is_up = shared.connection.as_ref().is_some_and(|connection| !connection.is_dropped);
        if is_up && self.is_named && !self.is_drained() {
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
}

/// What is to be done before the next entry may be sent.
pub(super) enum Obstacle {
    None,
    Wait,
    Trim,
    TooLarge(usize),
    Amend(Amendment),
}
