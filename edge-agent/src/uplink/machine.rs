//! The uplink as a state machine: events in, actions out; no socket, no clock, no file.

use schemas::{DeviceId, TopicName};
use uuid::Uuid;

use super::event::{Action, DropReason, Event, Facts};
use super::lane::{Lane, Phase};
use super::shared::{Connection, Shared};
use super::window::Window;
use crate::limits::STALL_AFTER;

/// Decides what is sent, repeated, trimmed and changed.
#[derive(Debug)]
pub struct Core {
    lanes: Vec<Lane>,
    shared: Shared,
    /// The lane whose turn it is.
    turn: usize,
}

/// The clocks of one call.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// ms of a clock that only goes forward.
    pub ms: u64,
    /// ms since 1970, as well as it is known.
    pub wall_ms: i64,
}

impl Core {
    pub fn new(device: DeviceId, boot: Uuid) -> Self {
        let shared = Shared { device, boot, connection: None, actions: Vec::new(), now_ms: 0, arrival_ms: 0 };
        Self { lanes: Vec::new(), shared, turn: 0 }
    }

    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Action> {
        (self.shared.now_ms, self.shared.arrival_ms) = (now.ms, now.wall_ms);
        match event {
            Event::Connected { facts, named } => self.connected(facts, named),
            Event::Disconnected => self.disconnected(),
            Event::Lane { lane, topic, first, next } => self.update_lane(lane, topic, first, next),
            Event::Items { lane, from, items } => {
                if let Some(lane) = self.lane(lane) {
                    lane.items(from, items);
                }
            }
            Event::Amended { lane } => {
                if let Some(lane) = self.lane(lane) {
                    lane.amended();
                }
            }
            Event::Stamped => self.lanes.iter_mut().for_each(Lane::forget_queue),
            Event::Answer { token, answer } => self.answer(token, &answer),
            Event::Received => self.with_connection(|connection, now| connection.received_ms = now),
            Event::PingSent => self.with_connection(|connection, now| connection.ping_ms = Some(now)),
            Event::PingAnswered => self.with_connection(|connection, _| connection.ping_ms = None),
            Event::Timer => self.check_stall(),
        }
        self.check_admissions();
        self.pump();
        std::mem::take(&mut self.shared.actions)
    }

    /// When [`Event::Timer`] is wanted, in ms of [`Now::ms`].
    pub fn deadline_ms(&self) -> Option<u64> {
        let connection = self.shared.connection.as_ref().filter(|connection| !connection.is_dropped)?;
        let lanes = self.lanes.iter().filter_map(|lane| lane.wake_ms(connection));
        lanes.chain(stall_ms(connection)).min()
    }

    /// Whether everything that is buffered is acknowledged.
    pub fn is_drained(&self) -> bool {
        self.lanes.iter().all(Lane::is_drained)
    }

    /// Whether something cannot be sent because this boot's time is not known.
    pub fn waits_for_time(&self) -> bool {
        self.lanes.iter().any(Lane::waits_for_time)
    }

    /// Why something is held back, for people.
    pub fn held(&self) -> Option<String> {
        let connection = self.shared.connection.as_ref()?;
        self.lanes.iter().find_map(|lane| match &lane.phase {
            Phase::Holding { why, .. } => Some(why.clone()),
            _ if connection.named.contains(&lane.topic)
                && self.shared.partition_count(&lane.topic).is_none() =>
            {
                Some(self.shared.no_partitions(&lane.topic))
            }
            _ => None,
        })
    }

    fn lane(&mut self, id: u8) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.id == id)
    }

    fn with_connection(&mut self, change: impl FnOnce(&mut Connection, u64)) {
        if let Some(connection) = &mut self.shared.connection {
            change(connection, self.shared.now_ms);
        }
    }

    fn connected(&mut self, facts: Facts, named: Vec<TopicName>) {
        let now_ms = self.shared.now_ms;
        self.shared.connection = Some(Connection {
            since_ms: now_ms,
            window: Window::new(facts.receive_maximum),
            facts,
            named,
            received_ms: now_ms,
            ping_ms: None,
            is_dropped: false,
        });
        self.check_named();
    }

    fn disconnected(&mut self) {
        self.shared.connection = None;
        for lane in &mut self.lanes {
            lane.disconnected(&mut self.shared);
        }
    }

    fn update_lane(&mut self, id: u8, topic: TopicName, first: u64, next: u64) {
        match self.lane(id) {
            Some(lane) => lane.update(first, next),
            None => self.lanes.push(Lane::new(id, topic, first, next)),
        }
        self.check_named();
    }

    /// A topic that CONNECT did not name needs a connection that does.
    fn check_named(&mut self) {
        let unnamed = |connection: &&mut Connection| {
            !connection.is_dropped && self.lanes.iter().any(|lane| !connection.named.contains(&lane.topic))
        };
        if let Some(connection) = self.shared.connection.as_mut().filter(unnamed) {
            connection.is_dropped = true;
            self.shared.actions.push(Action::Drop(DropReason::NewTopic));
        }
    }

    fn answer(&mut self, token: u64, answer: &super::event::Answer) {
        let is_awaited =
            self.shared.connection.as_mut().is_some_and(|connection| connection.window.answer(token));
        if is_awaited {
            for lane in &mut self.lanes {
                if lane.answer(token, answer.clone(), &mut self.shared) {
                    break;
                }
            }
        }
    }

    fn check_stall(&mut self) {
        let now_ms = self.shared.now_ms;
        let stalled = |connection: &&mut Connection| {
            !connection.is_dropped && stall_ms(connection).is_some_and(|deadline| deadline <= now_ms)
        };
        if let Some(connection) = self.shared.connection.as_mut().filter(stalled) {
            connection.is_dropped = true;
            self.shared.actions.push(Action::Drop(DropReason::Stalled));
        }
    }

    /// A lane that only another CONNECT can help has waited for long enough.
    fn check_admissions(&mut self) {
        let is_due = self.lanes.iter().any(|lane| lane.is_due_for_connect(self.shared.now_ms));
        let connection = self.shared.connection.as_mut().filter(|connection| !connection.is_dropped);
        if let Some(connection) = connection.filter(|_| is_due) {
            connection.is_dropped = true;
            self.shared.actions.push(Action::Drop(DropReason::NotAdmitted));
        }
    }

    /// The lanes take turns, one publish each, for as long as any may send.
    fn pump(&mut self) {
        let mut idle = 0;
        while idle < self.lanes.len() {
            self.turn = (self.turn + 1) % self.lanes.len();
            let Some(lane) = self.lanes.get_mut(self.turn) else { return };
            idle = if lane.pump(&mut self.shared) { 0 } else { idle + 1 };
        }
    }
}

/// When a connection is given up on: nothing received for so long while something is unanswered.
fn stall_ms(connection: &Connection) -> Option<u64> {
    let waits_since = connection.window.oldest_ms().into_iter().chain(connection.ping_ms).min()?;
    let stall_after = u64::try_from(STALL_AFTER.as_millis()).unwrap_or(u64::MAX);
    Some(waits_since.max(connection.received_ms).saturating_add(stall_after))
}
