//! The uplink as a state machine: events in, actions out; no socket, no clock, no file.

use std::time::Duration;

use schemas::mqtt::LOG_TOPICS_MAX;
use schemas::{DeviceId, TopicName};
use uuid::Uuid;

use super::event::{Action, DropReason, Event, Facts, reason};
use super::lane::{Lane, Phase, Rank};
use super::letters::Letters;
use super::pacing::Pace;
use super::plan::Plan;
use super::shared::{Connection, Shared, millis};
use super::turns::Turns;
use super::window::Window;
use crate::buffer::{Amendment, LaneView};
use crate::config::CatchUp;
use crate::limits::{
    BACKLOG_LANES_MAX, STALL_AFTER, STALL_AFTER_AMONG_SEVERAL, TOPICS_TURN, TOPICS_TURNS_AT_WORK,
    UNSERVED_AFTER,
};

/// Decides what is sent, repeated, trimmed and changed.
#[derive(Debug)]
pub struct Core {
    /// Those of one destination in the order in which they were begun.
    lanes: Vec<Lane>,
    shared: Shared,
    letters: Letters,
    /// Of the topics, where there are more than a connection names.
    turns: Turns,
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
    pub fn new(device: DeviceId, boot: Uuid, plan: Plan) -> Self {
        let pace = Pace::new(plan.catch_up_bytes_per_second, plan.catch_up == CatchUp::LiveFirst);
        let shared = Shared {
            device,
            plan,
            boot,
            connection: None,
            untimed_waited_ms: 0,
            pace,
            only_alarms: false,
            actions: Vec::new(),
            now_ms: 0,
            arrival_ms: 0,
        };
        Self { lanes: Vec::new(), shared, letters: Letters::default(), turns: Turns::default(), turn: 0 }
    }

    pub fn handle(&mut self, now: Now, event: Event) -> Vec<Action> {
        (self.shared.now_ms, self.shared.arrival_ms) = (now.ms, now.wall_ms);
        match event {
            Event::Connected { facts, named } => self.connected(facts, named),
            Event::Disconnected => self.disconnected(),
            Event::Lanes(views) => self.update_lanes(views),
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
            Event::NotAmended { lane, why } => {
                if let Some(lane) = self.lanes.iter_mut().find(|it| it.id == lane) {
                    lane.not_amended(why, &mut self.shared);
                }
            }
            Event::Stamped => self.lanes.iter_mut().for_each(Lane::forget_queue),
            Event::Flush => self.lanes.iter_mut().for_each(Lane::release),
            Event::BudgetUsedUp(is_used_up) => self.shared.only_alarms = is_used_up,
            Event::Letter(letter) => self.letters.push(letter),
            Event::Answer { token, answer } => self.answer(token, &answer),
            Event::Received => self.with_connection(|connection, now| connection.received_ms = now),
            Event::PingSent => self.with_connection(|connection, now| connection.ping_ms = Some(now)),
            Event::PingAnswered => self.with_connection(|connection, _| connection.ping_ms = None),
            Event::Timer => self.check_stall(),
        }
        self.check_named();
        self.check_admissions();
        self.resume();
        self.pump();
        std::mem::take(&mut self.shared.actions)
    }

    /// When [`Event::Timer`] is wanted, in ms of [`Now::ms`].
    pub fn deadline_ms(&self) -> Option<u64> {
        let connection = self.shared.connection.as_ref().filter(|connection| !connection.is_dropped)?;
        let lanes = self.lanes.iter().filter_map(|lane| lane.wake_ms(connection, &self.shared));
        // What time alone did not help waits for something else.
        let lanes = lanes.filter(|at| *at > self.shared.now_ms);
        let letters = self.letters.wake_ms(self.shared.now_ms);
        let turn = self.topics_turn_ms(connection).filter(|at| *at > self.shared.now_ms);
        lanes.chain(self.stall_ms(connection)).chain(letters).chain(turn).min()
    }

    /// Whether everything that is buffered is acknowledged.
    pub fn is_drained(&self) -> bool {
        self.lanes.iter().all(Lane::is_drained)
    }

    /// The first lane of which something cannot be sent because this boot's time is not known.
    pub fn waits_for_time(&self) -> Option<u8> {
        self.lanes.iter().find(|lane| lane.waits_for_time(&self.shared)).map(|lane| lane.id)
    }

    /// Whether it takes another answer of the device now.
    pub fn has_room_for_letter(&self) -> bool {
        self.letters.has_room()
    }

    /// Why something is held back, for people.
    pub fn held(&self) -> Option<String> {
        let connection = self.shared.connection.as_ref()?;
        let held = self.lanes.iter().find_map(|lane| match &lane.phase {
            _ if !self.shared.may_send(lane.priority) && !lane.is_drained() => {
                Some("this month's bytes are used up; only alarms are sent until it is over".to_owned())
            }
            Phase::Holding { why, .. } => Some(why.clone()),
            _ if lane.is_named && self.shared.partition_count(&lane.topic).is_none() => {
                Some(self.shared.no_partitions(&lane.topic))
            }
            _ => None,
        });
        held.or_else(|| {
            self.topics_turn_ms(connection)?;
            Some(format!(
                "log topics take turns: there are more than the {LOG_TOPICS_MAX} that a connection names"
            ))
        })
    }

    /// What of these topics the next connection names.
    pub fn topics_to_name(
        &mut self,
        all: Vec<TopicName>,
        is_waiting: impl Fn(&TopicName) -> bool,
    ) -> Vec<TopicName> {
        self.turns.choose(all, is_waiting)
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
        self.turns.connected(&named);
        self.lanes.iter_mut().for_each(|lane| lane.is_named = named.contains(&lane.topic));
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
        self.lanes.iter_mut().for_each(|lane| lane.connected(&self.shared));
    }

    fn disconnected(&mut self) {
        self.shared.disconnected();
        self.letters.disconnected();
        for lane in &mut self.lanes {
            lane.disconnected(&mut self.shared);
        }
    }

    fn update_lanes(&mut self, views: Vec<LaneView>) {
        for gone in self.lanes.extract_if(.., |lane| !views.iter().any(|view| lane.is_of(view))) {
            self.shared.act(Action::InFlight { lane: gone.id, end: 0 });
        }
        for view in views {
            match self.lanes.iter_mut().find(|lane| lane.id == view.id) {
                Some(lane) => lane.update(&view),
                None if self.shared.plan.carries.takes(view.priority) => {
                    let connection = self.shared.connection.as_ref();
                    let is_named =
                        connection.is_some_and(|connection| connection.named.contains(&view.topic));
                    self.lanes.push(Lane::new(view, is_named));
                }
                None => {}
            }
        }
    }

    /// A topic that CONNECT did not name needs a connection that does, once there is something to send for it.
    fn check_named(&mut self) {
        let now_ms = self.shared.now_ms;
        let connection = self.shared.connection.as_ref().filter(|connection| !connection.is_dropped);
        let turn_ms = connection.and_then(|connection| self.topics_turn_ms(connection));
        if let Some(connection) =
            self.shared.connection.as_mut().filter(|_| turn_ms.is_some_and(|at| at <= now_ms))
        {
            connection.is_dropped = true;
            self.shared.actions.push(Action::Drop(DropReason::NewTopic));
        }
    }

    /// When a connection gives way to one that names other topics, where anything waits for that: at once where it had
    /// room to name them; else once all of its own is sent and it has lasted for a while, so that live records do not
    /// make it hop, and after some such times in any case, so that they keep nothing back for ever.
    fn topics_turn_ms(&self, connection: &Connection) -> Option<u64> {
        let waits = |lane: &Lane| !lane.is_named && lane.wants_connection(&self.shared);
        if !self.lanes.iter().any(waits) {
            return None;
        }
        if connection.named.len() < LOG_TOPICS_MAX {
            return Some(connection.since_ms);
        }
        let turn_ms = self.shared.plan.reconnect_longest_ms.max(millis(TOPICS_TURN));
        let turns =
            if self.lanes.iter().any(|lane| lane.is_busy(&self.shared)) { TOPICS_TURNS_AT_WORK } else { 1 };
        Some(connection.since_ms + turn_ms * turns)
    }

    fn answer(&mut self, token: u64, answer: &super::event::Answer) {
        let now_ms = self.shared.now_ms;
        let is_awaited = self.shared.connection.as_mut().is_some_and(|connection| {
            let is_awaited = connection.window.answer(token);
            connection.note_served(is_awaited && reason::is_verdict(answer.reason), now_ms);
            is_awaited
        });
        if is_awaited && !self.letters.answer(token, answer, &mut self.shared) {
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
        let silent_for =
            if self.shared.plan.is_among_several { STALL_AFTER_AMONG_SEVERAL } else { STALL_AFTER };
        let waits_since = connection.window.oldest_ms().into_iter().chain(connection.ping_ms).min();
        let silent = waits_since.map(|since| after(since.max(connection.received_ms), silent_for));
        let unserved = connection.unserved_since_ms.filter(|_| self.shared.plan.is_among_several);
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

    /// Lanes that can send again after a while of which so much is left that it becomes a backlog.
    fn resume(&mut self) {
        if self.shared.connection.as_ref().is_none_or(|connection| connection.is_dropped) {
            return;
        }
        for at in 0..self.lanes.len() {
            let Some(lane) = self.lanes.get_mut(at) else { return };
            lane.end_hold(self.shared.now_ms);
            if !lane.wants_split(&self.shared) {
                continue;
            }
            let Some(lane) = self.lanes.get(at) else { return };
            if self.lanes.iter().filter(|other| other.is_backlog_beside(lane)).count() < BACKLOG_LANES_MAX
                && let Some(lane) = self.lanes.get_mut(at)
            {
                lane.amend(Amendment::Split { lane: lane.id }, &mut self.shared);
            }
        }
    }

    /// The lanes of a rank take turns, one publish each, for as long as any may send.
    fn pump(&mut self) {
        self.letters.pump(&mut self.shared);
        for rank in Rank::ALL {
            let mut idle = 0;
            while idle < self.lanes.len() {
                self.turn = (self.turn + 1) % self.lanes.len();
                let is_behind = self.is_behind_a_backlog(self.turn);
                let Some(lane) = self.lanes.get_mut(self.turn) else { return };
                let has_sent = lane.rank() == rank && !is_behind && lane.pump(&mut self.shared);
                idle = if has_sent { 0 } else { idle + 1 };
            }
        }
    }

    /// Backlogs of one destination go one after another: whether an earlier one is not wholly acknowledged.
    fn is_behind_a_backlog(&self, at: usize) -> bool {
        let (earlier, [lane, ..]) = self.lanes.split_at(at) else { return false };
        lane.is_backlog && earlier.iter().any(|other| other.is_backlog_beside(lane) && !other.is_drained())
    }
}

fn after(since_ms: u64, wait: Duration) -> u64 {
    since_ms.saturating_add(millis(wait))
}
