//! The uplink's runtime: performs what the state machine decides.

mod perform;
mod post;
#[cfg(test)]
mod tests;
mod time;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use schemas::{DeviceId, TopicName};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::access::{Access, Door, Introduction, mqtt_options};
use super::backoff::Ended;
use super::connection::{Connection, Said};
use super::event::Event;
use super::machine::Core;
use super::mailbox::Mailbox;
use super::plan::{Carries, Plan};
use super::route::Route;
use super::shared::millis;
use super::status::{Report, UplinkStatus};
use super::usage::Usage;
use crate::buffer::{Buffer, ReadError, Snapshot, WriteError};
use crate::config::{HubAddress, UplinkOptions};
use crate::destination::Destination;
use crate::limits::{CONNECT_BYTES, CONNECT_TLS_BYTES, DRAIN_TIME, PING_BYTES};
use crate::time::Clock;
use post::{Post, Posted};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkConfig {
    /// At least one.
    pub hubs: Vec<HubAddress>,
    /// Where inputs write: named at CONNECT even before anything is buffered for it.
    pub destinations: Vec<Destination>,
    pub trust_hub_time: bool,
    pub options: UplinkOptions,
}

#[derive(Debug, Error)]
pub enum UplinkError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What both connections of an agent have in common.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub device: DeviceId,
    pub buffer: Buffer,
    pub clock: Arc<Clock>,
    pub status: watch::Sender<UplinkStatus>,
    pub usage: Arc<Usage>,
    pub access: Access,
}

/// One connection's worth: everything but alarms, or the alarms.
pub(super) struct Uplink {
    config: UplinkConfig,
    around: Surroundings,
    carries: Carries,
    report: Report,
    core: Core,
    route: Route,
    post: Post,
    started: Instant,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// What the state machine was told of this month's bytes.
    is_used_up: bool,
}

/// How a connection's turn ended.
enum Turn {
    Ended(Ended, String),
    Shutdown,
}

impl Uplink {
    pub fn new(
        config: UplinkConfig,
        around: Surroundings,
        carries: Carries,
        mailbox: Option<Mailbox>,
    ) -> Self {
        let plan = Plan {
            carries,
            is_among_several: config.hubs.len() > 1,
            catch_up: config.options.catch_up,
            catch_up_bytes_per_second: config.options.catch_up_bytes_per_second,
            ship_wait_ms: millis(config.options.ship_wait),
            reconnect_longest_ms: millis(config.options.link.reconnect_longest),
        };
        Self {
            core: Core::new(around.device.clone(), around.clock.boot(), plan),
            route: Route::new(config.hubs.len(), &around.device, &config.options.link),
            post: Post::new(mailbox, &around.device),
            report: Report { status: around.status.clone(), carries },
            snapshots: around.buffer.subscribe(),
            started: Instant::now(),
            is_used_up: false,
            config,
            around,
            carries,
        }
    }

    /// Ships until it is asked to stop, and then for a moment longer what is left; ends with an error when the
    /// buffer fails.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), UplinkError> {
        loop {
            let door = self.around.access.door(self.route.hub());
            let hub = door.hub.clone();
            self.report.change(|link| link.hub = hub.to_string());
            let began = Instant::now();
            let turn = self.connection(&door, &shutdown).await?;
            self.report.change(|link| link.connected = false);
            let Turn::Ended(ended, why) = turn else { return Ok(()) };
            self.note_end(ended, why, &hub);
            let lasted = millis(began.elapsed());
            let wait = self.route.after(ended, lasted, rand::random());
            self.note_identity(ended);
            if !self.wait(wait, &shutdown).await? {
                return Ok(());
            }
            let (config, clock) = (&self.config, &self.around.clock);
            self.around.access.renew(&config.options, &config.hubs, clock);
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
        if self.report.read(|link| link.last_error.as_ref() != Some(&why)) {
            tracing::warn!(%hub, why, "not connected");
        }
        self.report.change(|link| link.last_error = Some(why));
    }

    fn note_identity(&self, ended: Ended) {
        let is_duplicate = self.route.is_duplicate_identity();
        if ended == Ended::TakenOver && is_duplicate {
            tracing::error!(device = %self.around.device, "another agent uses this device's identity");
        }
        self.report.change(|link| link.duplicate_identity = is_duplicate);
    }

    /// One connection from its beginning to its end.
    async fn connection(&mut self, door: &Door, shutdown: &CancellationToken) -> Result<Turn, UplinkError> {
        let topics = self.topics();
        let introduction = Introduction {
            device: &self.around.device,
            suffix: self.carries.suffix(),
            topics: &topics,
            keep_alive: self.config.options.link.keep_alive,
            timeout: self.route.connect_timeout(),
        };
        let mut connection = Connection::open(mqtt_options(door, &introduction, &self.config.options));
        let turn = self.converse(&mut connection, &door.hub, &topics, shutdown).await;
        let events = self.core.handle(self.now(), Event::Disconnected);
        self.perform(events, None).await?;
        self.post.disconnected();
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
                    Some(Event::Flush)
                }
                () = sleep_until(until) => Some(Event::Timer),
                changed = self.snapshots.changed() => {
                    changed.map_err(|_| WriteError::Closed)?;
                    None
                }
                posted = self.post.next(self.core.has_room_for_letter()) => match posted {
                    Posted::Delivered(publish) => {
                        connection.acknowledge(&publish);
                        None
                    }
                    Posted::Letter(letter) => Some(Event::Letter(letter)),
                },
                said = connection.next() => match said {
                    Said::Connected { facts, hub_time_ms } => {
                        is_connected = true;
                        self.note_connected(hub);
                        connection.subscribe(self.post.topics());
                        self.learn_time(hub, hub_time_ms).await?;
                        Some(Event::Connected { facts, named: topics.to_vec() })
                    }
                    Said::Closed { ended, why } => {
                        // A hub that refuses has been reached.
                        if ended == Ended::Busy && !is_connected {
                            self.spend(connect_bytes(hub));
                        }
                        return Ok(Turn::Ended(ended, why));
                    }
                    other => self.heard(other),
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

    fn heard(&mut self, said: Said) -> Option<Event> {
        match said {
            Said::Answer { token, answer } => Some(Event::Answer { token, answer }),
            Said::PingSent => {
                self.spend(PING_BYTES);
                Some(Event::PingSent)
            }
            Said::PingAnswered => Some(Event::PingAnswered),
            Said::Inbound(publish) => {
                self.post.arrived(publish);
                Some(Event::Received)
            }
            Said::Received => Some(Event::Received),
            Said::Connected { .. } | Said::Closed { .. } => None,
        }
    }

    fn note_connected(&mut self, hub: &HubAddress) {
        tracing::info!(%hub, alarms = self.carries == Carries::Alarms, "connected");
        self.route.connected();
        self.spend(connect_bytes(hub));
        self.report.change(|link| {
            link.reconnects += u64::from(link.has_connected);
            link.has_connected = true;
            link.connected = true;
            link.last_error = None;
        });
    }

    /// The topics that CONNECT names: of the inputs, and of what is buffered; in turns where they are too many.
    fn topics(&mut self) -> Vec<TopicName> {
        let own = self.config.destinations.iter();
        let own = own.map(|destination| (destination.priority, destination.topic.clone()));
        let snapshot = self.around.buffer.snapshot();
        let lanes = snapshot.lanes.iter().map(|lane| (lane.priority, lane.topic.clone()));
        let mut topics = Vec::new();
        for (priority, topic) in own.chain(lanes) {
            if self.carries.takes(priority) && !topics.contains(&topic) {
                topics.push(topic);
            }
        }
        let filled = snapshot.lanes.iter().filter(|lane| lane.first < lane.next);
        let waiting: BTreeSet<&TopicName> =
            filled.filter(|lane| self.carries.takes(lane.priority)).map(|lane| &lane.topic).collect();
        self.core.topics_to_name(topics, |topic| waiting.contains(topic))
    }
}

fn connect_bytes(hub: &HubAddress) -> u64 {
    if hub.scheme.is_tls() { CONNECT_TLS_BYTES } else { CONNECT_BYTES }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
