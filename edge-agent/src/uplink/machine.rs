//! The uplink as a state machine: events in, actions out; no socket, no clock, no file.

use std::time::Duration;

use schemas::{DeviceId, TopicName};
use uuid::Uuid;

use super::event::{Action, DropReason, Event, Facts, reason};
use super::lane::{Lane, Phase};
use super::shared::{Connection, Shared};
use super::window::Window;
use crate::limits::{STALL_AFTER, STALL_AFTER_AMONG_SEVERAL, UNSERVED_AFTER};

/// Decides what is sent, repeated, trimmed and changed.
#[derive(Debug)]
pub struct Core {
    lanes: Vec<Lane>,
    shared: Shared,
    /// The lane whose turn it is.
    turn: usize,
    /// There are other hubs to go to when this one does not serve.
    is_among_several: bool,
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
        Self { lanes: Vec::new(), shared, turn: 0, is_among_several: false }
    }

    /// There are other hubs to go to, so that one that does not serve is given less time.
    #[must_use]
    pub fn among_several(self) -> Self {
        Self { is_among_several: true, ..self }
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
        lanes.chain(self.stall_ms(connection)).min()
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
            unserved_since_ms: None,
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
        let now_ms = self.shared.now_ms;
        let is_awaited = self.shared.connection.as_mut().is_some_and(|connection| {
            let is_awaited = connection.window.answer(token);
            connection.note_served(is_awaited && reason::is_verdict(answer.reason), now_ms);
            is_awaited
        });
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
        let stall_ms = self.shared.connection.as_ref().and_then(|connection| self.stall_ms(connection));
        let connection = self.shared.connection.as_mut().filter(|connection| !connection.is_dropped);
        if let Some(connection) = connection.filter(|_| stall_ms.is_some_and(|deadline| deadline <= now_ms)) {
            connection.is_dropped = true;
            self.shared.actions.push(Action::Drop(DropReason::Stalled));
        }
    }

    /// When a connection is given up on: nothing received for so long while something is unanswered, or, where there
    /// are other hubs, nothing stored.
    fn stall_ms(&self, connection: &Connection) -> Option<u64> {
        let silent_for = if self.is_among_several { STALL_AFTER_AMONG_SEVERAL } else { STALL_AFTER };
        let waits_since = connection.window.oldest_ms().into_iter().chain(connection.ping_ms).min();
        let silent = waits_since.map(|since| after(since.max(connection.received_ms), silent_for));
        let unserved = connection.unserved_since_ms.filter(|_| self.is_among_several);
        silent.into_iter().chain(unserved.map(|since| after(since, UNSERVED_AFTER))).min()
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

fn after(since_ms: u64, wait: Duration) -> u64 {
    since_ms.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
}
