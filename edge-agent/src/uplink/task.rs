//! The uplink's runtime: performs what the state machine decides.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use schemas::mqtt::agent_topic;
use schemas::{DeviceId, TopicName};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Ended;
use super::connection::{Connection, Said};
use super::event::{Action, DropReason, Event};
use super::machine::{Core, Now};
use super::route::Route;
use super::status::UplinkStatus;
use crate::buffer::{Amendment, Buffer, ReadError, Snapshot, WriteError};
use crate::config::HubAddress;
use crate::limits::{DRAIN_TIME, PUBLISH_BYTES_TARGET};
use crate::time::{Clock, boottime_ms, realtime_ms};

/// What one read takes out of the buffer at most: a few publishes.
const READ_BYTES_MAX: usize = 4 * PUBLISH_BYTES_TARGET;
const READ_ITEMS_MAX: usize = 256;
/// An amendment that the buffer refuses is not tried again at once.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub struct UplinkConfig {
    /// At least one.
    pub hubs: Vec<HubAddress>,
    /// Named at CONNECT even before anything is buffered for it.
    pub topic: TopicName,
    pub is_lan: bool,
    pub trust_hub_time: bool,
}

#[derive(Debug, Error)]
pub enum UplinkError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

pub struct Uplink {
    config: UplinkConfig,
    device: DeviceId,
    buffer: Buffer,
    clock: Arc<Clock>,
    status: watch::Sender<UplinkStatus>,
    core: Core,
    route: Route,
    started: Instant,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// The hub's clock minus boot time, as the last CONNACK said it; believed only for what has no better time.
    hub_offset_ms: Option<i64>,
}

/// How a connection's turn ended.
enum Turn {
    Ended(Ended, String),
    Shutdown,
}

impl Uplink {
    pub fn new(
        config: UplinkConfig,
        device: DeviceId,
        buffer: Buffer,
        clock: Arc<Clock>,
        status: watch::Sender<UplinkStatus>,
    ) -> Self {
        let snapshots = buffer.subscribe();
        let core = Core::new(device.clone(), clock.boot());
        let core = if config.hubs.len() > 1 { core.among_several() } else { core };
        let route = Route::new(config.hubs.len(), &device, config.is_lan);
        Self {
            config,
            device,
            buffer,
            clock,
            status,
            core,
            route,
            started: Instant::now(),
            snapshots,
            hub_offset_ms: None,
        }
    }

    /// Ships until it is asked to stop, and then for a moment longer what is left; ends with an error when the
    /// buffer fails.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), UplinkError> {
        loop {
            let hub = self.config.hubs[self.route.hub()].clone();
            self.status.send_modify(|status| status.hub = hub.to_string());
            let began = Instant::now();
            let turn = self.connection(&hub, &shutdown).await?;
            self.status.send_modify(|status| status.connected = false);
            let Turn::Ended(ended, why) = turn else { return Ok(()) };
            self.note_end(ended, why, &hub);
            let lasted = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let wait = self.route.after(ended, lasted, rand::random());
            if ended == Ended::TakenOver && self.route.is_duplicate_identity() {
                tracing::error!(device = %self.device, "another agent uses this device's identity");
            }
            if !self.wait(wait, &shutdown).await? {
                return Ok(());
            }
        }
    }

    /// Waits between connections; false where it is asked to stop. The buffer may fail meanwhile.
    async fn wait(&mut self, wait: Duration, shutdown: &CancellationToken) -> Result<bool, UplinkError> {
        let until = Instant::now() + wait;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(false),
                () = tokio::time::sleep_until(until) => return Ok(true),
                changed = self.snapshots.changed() => changed.map_err(|_| WriteError::Closed)?,
            }
        }
    }

    fn note_end(&self, ended: Ended, why: String, hub: &HubAddress) {
        if ended == Ended::OnPurpose {
            return;
        }
        // An agent without a hub says so once, not at every try.
        if self.status.borrow().last_error.as_ref() != Some(&why) {
            tracing::warn!(%hub, why, "not connected");
        }
        self.status.send_modify(|status| status.last_error = Some(why));
    }

    /// One connection from its beginning to its end.
    async fn connection(
        &mut self,
        hub: &HubAddress,
        shutdown: &CancellationToken,
    ) -> Result<Turn, UplinkError> {
        let topics = self.topics();
        let mut connection = Connection::open(hub, &self.device, &topics, self.route.connect_timeout());
        let turn = self.converse(&mut connection, hub, &topics, shutdown).await;
        let events = self.core.handle(self.now(), Event::Disconnected);
        self.perform(events, None).await?;
        let turn = turn?;
        if matches!(turn, Turn::Shutdown | Turn::Ended(Ended::OnPurpose, _)) {
            connection.close().await;
        }
        Ok(turn)
    }

    async fn converse(
        &mut self,
        connection: &mut Connection,
        hub: &HubAddress,
        topics: &[TopicName],
        shutdown: &CancellationToken,
    ) -> Result<Turn, UplinkError> {
        let mut is_connected = false;
        let mut give_up_at: Option<Instant> = None;
        loop {
            let deadline = self.core.deadline_ms().map(|ms| self.started + Duration::from_millis(ms));
            let until = [deadline, give_up_at].into_iter().flatten().min();
            let event = tokio::select! {
                () = shutdown.cancelled(), if give_up_at.is_none() => {
                    give_up_at = Some(Instant::now() + DRAIN_TIME);
                    None
                }
                () = sleep_until(until) => Some(Event::Timer),
                changed = self.snapshots.changed() => {
                    changed.map_err(|_| WriteError::Closed)?;
                    None
                }
                said = connection.next() => match said {
                    Said::Connected { facts, hub_time_ms } => {
                        is_connected = true;
                        self.route.connected();
                        self.note_connected(hub);
                        self.learn_time(hub, hub_time_ms).await?;
                        Some(Event::Connected { facts, named: topics.to_vec() })
                    }
                    Said::Closed { ended, why } => return Ok(Turn::Ended(ended, why)),
                    other => heard(other),
                },
            };
            if let Some(turn) = self.step(event, connection).await? {
                return Ok(turn);
            }
            let is_over =
                give_up_at.is_some_and(|at| at <= Instant::now() || !is_connected || self.core.is_drained());
            if is_over {
                return Ok(Turn::Shutdown);
            }
        }
    }

    /// Tells the state machine what happened and does what it wants.
    async fn step(
        &mut self,
        event: Option<Event>,
        connection: &mut Connection,
    ) -> Result<Option<Turn>, UplinkError> {
        let stamped = self.learn_from_kernel().await?.then_some(Event::Stamped);
        // What came from the hub shows that it lives, whatever it said.
        let from_hub = matches!(event, Some(Event::Answer { .. } | Event::PingAnswered));
        let events = from_hub.then_some(Event::Received).into_iter().chain(stamped).chain(event);
        for event in events.chain(self.lane_events()) {
            let actions = self.core.handle(self.now(), event);
            if let Some(reason) = self.perform(actions, Some(connection)).await? {
                return Ok(Some(match reason {
                    DropReason::NewTopic | DropReason::NotAdmitted => {
                        Turn::Ended(Ended::OnPurpose, String::new())
                    }
                    DropReason::Stalled => {
                        Turn::Ended(Ended::Failed, "the hub has not answered for a while".to_owned())
                    }
                }));
            }
        }
        let held = self.core.held();
        if self.status.borrow().held != held {
            self.status.send_modify(|status| status.held = held);
        }
        Ok(None)
    }

    /// Performs actions and those that follow from them, in order.
    async fn perform(
        &mut self,
        actions: Vec<Action>,
        mut connection: Option<&mut Connection>,
    ) -> Result<Option<DropReason>, UplinkError> {
        let mut waiting = VecDeque::from(actions);
        while let Some(action) = waiting.pop_front() {
            let event = match action {
                Action::Drop(reason) => return Ok(Some(reason)),
                Action::Publish { token, topic, partition, payload } => {
                    let mqtt_topic = agent_topic(&self.device, &topic, partition);
                    if let Some(connection) = connection.as_mut() {
                        // Where it has ended, it says so next, and everything is sent again.
                        connection.publish(token, mqtt_topic, payload);
                    }
                    continue;
                }
                Action::InFlight { lane, end } => {
                    self.buffer.set_in_flight(lane, end);
                    continue;
                }
                Action::Trim { lane, through, gaps, at_once } => {
                    self.buffer.trim(lane, through, gaps, at_once).await?;
                    continue;
                }
                Action::Read { lane, from, until } => {
                    let items =
                        self.buffer.reader().read(lane, from..until, READ_BYTES_MAX, READ_ITEMS_MAX)?;
                    Event::Items { lane, from, items }
                }
                Action::Amend { lane, amendment } => {
                    self.amend(amendment).await?;
                    // What the amendment made of the lane is known before the lane goes on.
                    for event in self.lane_events() {
                        waiting.extend(self.core.handle(self.now(), event));
                    }
                    Event::Amended { lane }
                }
            };
            waiting.extend(self.core.handle(self.now(), event));
        }
        Ok(None)
    }

    /// False where it could not be done now.
    async fn amend(&self, amendment: Amendment) -> Result<bool, UplinkError> {
        match self.buffer.amend(amendment).await {
            Err(WriteError::Refused(error)) => {
                tracing::warn!(%error, "the buffer could not be amended");
                tokio::time::sleep(REFUSED_PAUSE).await;
                Ok(false)
            }
            other => Ok(other.map(|()| true)?),
        }
    }

    fn lane_events(&mut self) -> Vec<Event> {
        let snapshot = self.snapshots.borrow_and_update().clone();
        let lanes = snapshot.lanes.iter().map(|lane| Event::Lane {
            lane: lane.id,
            topic: lane.topic.clone(),
            first: lane.first,
            next: lane.next,
        });
        lanes.collect()
    }

    fn topics(&self) -> Vec<TopicName> {
        let mut topics = vec![self.config.topic.clone()];
        for lane in &self.buffer.snapshot().lanes {
            if !topics.contains(&lane.topic) {
                topics.push(lane.topic.clone());
            }
        }
        topics
    }

    fn note_connected(&self, hub: &HubAddress) {
        tracing::info!(%hub, "connected");
        self.status.send_modify(|status| {
            status.reconnects += u64::from(status.has_connected);
            status.has_connected = true;
            status.connected = true;
            status.last_error = None;
        });
    }

    /// Takes the time that a hub tells, if it may be believed and nothing better is known.
    async fn learn_time(&mut self, hub: &HubAddress, hub_time_ms: Option<i64>) -> Result<(), UplinkError> {
        self.hub_offset_ms = hub_time_ms.map(|ms| ms - boottime_ms());
        let is_trusted = self.config.trust_hub_time || hub.is_loopback();
        match self.hub_offset_ms {
            Some(offset_ms) if is_trusted && self.clock.known_offset().is_none() => {
                self.stamp_boot(offset_ms).await
            }
            _ => Ok(()),
        }
    }

    /// The kernel's clock may have become right since something was measured that waits for it.
    async fn learn_from_kernel(&mut self) -> Result<bool, UplinkError> {
        if !self.core.waits_for_time() {
            return Ok(false);
        }
        let Some(offset_ms) = self.clock.known_offset() else { return Ok(false) };
        self.stamp_boot(offset_ms).await?;
        Ok(true)
    }

    /// Makes durable what this boot's clock is, before anything is stamped by it.
    async fn stamp_boot(&mut self, offset_ms: i64) -> Result<(), UplinkError> {
        let boot = self.clock.boot();
        if !self.amend(Amendment::StampBoot { boot, offset_ms }).await? {
            return Ok(());
        }
        // What was made durable first stays.
        let known =
            self.buffer.snapshot().boots.iter().find(|(known, _)| *known == boot).map(|(_, offset)| *offset);
        self.clock.learn(known.unwrap_or(offset_ms));
        Ok(())
    }

    fn now(&self) -> Now {
        let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let known = self.clock.known_offset().or(self.hub_offset_ms);
        Now { ms, wall_ms: known.map_or_else(realtime_ms, |offset| boottime_ms() + offset) }
    }
}

fn heard(said: Said) -> Option<Event> {
    match said {
        Said::Answer { token, answer } => Some(Event::Answer { token, answer }),
        Said::PingSent => Some(Event::PingSent),
        Said::PingAnswered => Some(Event::PingAnswered),
        Said::Received => Some(Event::Received),
        Said::Connected { .. } | Said::Closed { .. } => None,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
