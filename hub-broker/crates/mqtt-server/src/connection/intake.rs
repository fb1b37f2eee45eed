//! What the client sends.
//!
//! All whole packets of a read are taken in one go. Only what has to wait for something else interrupts it: a
//! subscription, a log topic that does not exist yet, the first retained message.

use std::sync::Arc;

use bytes::Bytes;
use ingest::Path;
use metadata::Topic;
use schemas::mqtt::{AgentTopic, AgentTopicError, is_reserved, parse_agent_topic, parse_answers_topic};
use tokio::io::{AsyncRead, AsyncWrite};

use super::calls::{Caller, Calls, Name};
use super::{Client, Connection, Hub, Intake};
use crate::fanout::{RetainHandling, Steering, SubscribeRequest, Subscription};
use crate::limits::{PACKET_BYTES_MAX, RECEIVE_MAXIMUM, TOPIC_ALIASES_MAX};
use crate::reason::{Close, Refusal, code, group_of, subscribe_code, unsubscribe_code};
use crate::session::acks::Outcome;
use crate::session::received::Verdict;
use crate::wire::ack::{self, Ack};
use crate::wire::control::{self, SubscribePacket};
use crate::wire::frame::{self, Frame};
use crate::wire::publish::Publish;
use crate::wire::{Qos, Version, WireError};
use rumqttd::protocol::{Packet, RetainForwardRule, SubAck, UnsubAck};

/// What interrupted the intake.
enum Pause {
    /// All packets have been taken.
    End,
    /// A packet that is answered by somebody else.
    Control(Frame, usize),
    /// A publish needs this route's log topic.
    Topic(usize),
    /// A publish with the retain flag.
    Retain,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) async fn take_packets(&mut self) -> Result<(), Close> {
        while let Some(chunk) = self.io.take_packets(PACKET_BYTES_MAX)? {
            let mut at = 0;
            loop {
                match self.take(&chunk, &mut at)? {
                    Pause::End => break,
                    Pause::Control(frame, start) => self.control(frame, &chunk.slice(start..)).await?,
                    Pause::Topic(route) => self.open_topic(route).await,
                    Pause::Retain => {
                        self.hub.fanout.expect_retained().await.map_err(|_| Close::Internal)?;
                        self.intake.may_retain = true;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes packets from `at` on, up to one that has to wait.
    fn take(&mut self, chunk: &Bytes, at: &mut usize) -> Result<Pause, Close> {
        let hub = Arc::clone(&self.hub);
        self.intake.refresh(&hub);
        let client = self.client.id.clone();
        let signals = Arc::clone(&self.signals);
        let principal = self.client.principal.clone();
        let mut calls = Calls::new(Caller {
            ingest: &hub.ingest,
            principal: &principal,
            routes: &hub.routes,
            signals: &signals,
            refusals: &hub.refusals,
            id: &client,
            client: self.intake.has_no_local.then_some(&*client),
        });
        let taken = loop {
            match self.take_one(chunk, at, &mut calls) {
                Ok(None) if *at < chunk.len() => {}
                Ok(None) => break Ok(Pause::End),
                Ok(Some(pause)) => break Ok(pause),
                Err(close) => break Err(close),
            }
        };
        // Even where a later packet ends the connection: these came before it.
        calls.make_all();
        self.intake.publishes.count();
        taken
    }

    fn take_one<'c>(
        &mut self,
        chunk: &'c Bytes,
        at: &mut usize,
        calls: &mut Calls<'c, '_>,
    ) -> Result<Option<Pause>, Close> {
        let start = *at;
        let Some(frame) = frame::next(&chunk[start..], PACKET_BYTES_MAX)? else {
            *at = chunk.len();
            return Ok(None);
        };
        control::check_kind(frame)?;
        let body = &chunk[start + frame.header_bytes..start + frame.bytes()];
        if frame.kind() == control::PUBLISH {
            let publish = Publish::read(self.client.version, frame.flags(), body)?;
            let pause = self.publish(chunk, publish, calls)?;
            if pause.is_none() {
                *at = start + frame.bytes();
            }
            return Ok(pause);
        }
        *at = start + frame.bytes();
        match frame.kind() {
            ack::PUBACK | ack::PUBREC | ack::PUBREL | ack::PUBCOMP => {
                self.acknowledged(frame.kind(), Ack::read(self.client.version, body)?)?;
                Ok(None)
            }
            control::PINGREQ => {
                self.io.output.extend_from_slice(&[0xd0, 0]);
                Ok(None)
            }
            control::DISCONNECT => Err(self.disconnected(body)?),
            _ => Ok(Some(Pause::Control(frame, start))),
        }
    }

    fn disconnected(&mut self, body: &[u8]) -> Result<Close, Close> {
        let disconnect = ack::read_disconnect(self.client.version, body)?;
        if let Some(seconds) = disconnect.session_expiry {
            if self.client.session_expiry.is_zero() && seconds > 0 {
                return Err(WireError::Protocol("a session expiry that CONNECT had set to 0").into());
            }
            self.client.session_expiry = super::handshake::session_expiry(seconds);
        }
        Ok(Close::Client { reason: disconnect.reason })
    }

    fn acknowledged(&mut self, kind: u8, ack: Ack) -> Result<(), Close> {
        let is_refusal = ack.reason >= code::UNSPECIFIED;
        let (version, id) = (self.client.version, ack.packet_id);
        let (answer, is_known) = match kind {
            ack::PUBACK => {
                self.session.outbound.puback(id);
                return Ok(());
            }
            ack::PUBCOMP => {
                self.session.outbound.pubcomp(id);
                return Ok(());
            }
            ack::PUBREC => {
                let is_known = self.session.outbound.pubrec(id, is_refusal);
                if is_refusal {
                    return Ok(());
                }
                (ack::PUBREL, is_known)
            }
            _ => {
                let released = self.session.received.release(id);
                let is_known =
                    released.ok_or(WireError::Protocol("a PUBREL before the PUBREC that it answers"))?;
                (ack::PUBCOMP, is_known)
            }
        };
        let reason = if is_known { code::SUCCESS } else { code::PACKET_ID_NOT_FOUND };
        ack::write(&mut self.io.output, version, answer, id, reason);
        Ok(())
    }

    fn publish<'c>(
        &mut self,
        chunk: &'c Bytes,
        publish: Publish<'c>,
        calls: &mut Calls<'c, '_>,
    ) -> Result<Option<Pause>, Close> {
        if publish.retain && !self.intake.may_retain {
            return Ok(Some(Pause::Retain));
        }
        let name = self.intake.name(&publish)?;
        let destination = match self.intake.destination(&self.hub, &self.client, &name) {
            Destination::Wait(route) => return Ok(Some(Pause::Topic(route))),
            destination => destination,
        };
        if !self.is_new(&publish)? {
            return Ok(None);
        }
        let ack = (publish.qos != Qos::AtMostOnce).then_some((publish.packet_id, publish.qos));
        let destination = match publish.check_payload() {
            Ok(()) => destination,
            Err(_) => Destination::Refused(Refusal::PAYLOAD_FORMAT),
        };
        match destination {
            Destination::Log(route, topic) => {
                self.intake.publishes.route += 1;
                calls.add(&mut self.window, route, &topic, name, &publish);
            }
            Destination::Agent(agent, topic) => {
                self.intake.publishes.agent += 1;
                self.agent_publish(chunk, &publish, &agent, &topic);
            }
            Destination::Refused(refusal) => {
                let path = if parse_agent_topic(name.as_str()).is_some() { Path::Agent } else { Path::Mqtt };
                ingest::refused(path, refusal.kind, 1);
                self.hub.refusals.tell(&self.client.id, name.as_str(), &refusal, 1);
                self.window.admit_settled(ack, Outcome::Refused(refusal));
            }
            Destination::Wait(_) => {}
        }
        Ok(None)
    }

    /// Whether the publish is to be stored: a QoS 2 one whose id is not released yet has been already.
    fn is_new(&mut self, publish: &Publish<'_>) -> Result<bool, Close> {
        let is_known = publish.qos == Qos::ExactlyOnce && self.session.received.knows(publish.packet_id);
        let is_bounded = self.client.version == Version::V5 && publish.qos != Qos::AtMostOnce && !is_known;
        let waiting = self.window.acks_waiting() + self.session.received.unreleased();
        // Before the id is noted: a kept session would never answer it again.
        if is_bounded && waiting >= usize::from(RECEIVE_MAXIMUM) {
            return Err(Close::ReceiveMaximum);
        }
        if publish.qos == Qos::ExactlyOnce {
            match self.session.received.publish(publish.packet_id) {
                Verdict::New => {}
                Verdict::InFlight => return Ok(false),
                Verdict::Stored => {
                    let ack = Some((publish.packet_id, publish.qos));
                    self.window.admit_settled(ack, Outcome::Stored);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn agent_publish(&mut self, chunk: &Bytes, publish: &Publish<'_>, agent: &AgentTopic, topic: &Topic) {
        let ack = (publish.qos != Qos::AtMostOnce).then_some((publish.packet_id, publish.qos));
        let call = self.window.open();
        self.window.admit(call, ack, publish.payload.len());
        let signals = Arc::clone(&self.signals);
        let group = group_of(topic, agent.partition);
        let done = Box::new(move |stored: Result<ingest::AgentAck, ingest::AgentRefusal>| {
            let outcome = match stored {
                Ok(ack) if ack.duplicates > 0 => Outcome::Duplicates(ack.duplicates),
                Ok(_) => Outcome::Stored,
                Err(refusal) => {
                    ingest::refused(Path::Agent, refusal.error.reason(), 1);
                    Outcome::Refused(Refusal { group, ..Refusal::from(&refusal) })
                }
            };
            signals.settle(call, outcome);
        });
        let payload = owned(chunk, publish.payload);
        let (ingest, principal) = (&self.hub.ingest, &self.client.principal);
        ingest.agent_batches(principal, &agent.device, topic, agent.partition, payload, done);
    }

    /// Has the route's log topic made, or gives up for the publish that needs it.
    async fn open_topic(&mut self, route: usize) {
        let Some(name) = self.hub.routes.get(route).map(|route| route.topic.clone()) else { return };
        match self.hub.metadata.ensure_topic(&self.client.principal, &name).await {
            Ok(topic) => self.intake.set_topic(route, topic),
            Err(error) => {
                tracing::warn!(topic = %name, %error, "the log topic of an MQTT route cannot be had");
                self.intake.closed_route = Some(route);
            }
        }
    }

    /// Has the log topics made that devices are steered by. Where that fails they are followed once they are there.
    async fn open_steering(&self) {
        for steering in Steering::ALL {
            let name = steering.log_topic();
            if let Err(error) = self.hub.metadata.ensure_topic(&self.client.principal, &name).await {
                tracing::warn!(topic = %name, %error, "devices cannot be steered yet");
            }
        }
    }

    async fn control(&mut self, frame: Frame, packet: &Bytes) -> Result<(), Close> {
        let version = self.client.version;
        if frame.kind() == control::SUBSCRIBE {
            return self.subscribe(control::read_subscribe(version, frame, packet)?).await;
        }
        let unsubscribe = control::read_unsubscribe(version, frame, packet)?;
        let (id, filters) = (self.session.subscriber, unsubscribe.filters);
        let existed = self.hub.fanout.unsubscribe(id, filters).await.map_err(|_| Close::Internal)?;
        let reasons = existed.into_iter().map(unsubscribe_code).collect();
        let answer = Packet::UnsubAck(UnsubAck { pkid: unsubscribe.packet_id, reasons }, None);
        control::write(version, answer, &mut self.io.output);
        Ok(())
    }

    async fn subscribe(&mut self, packet: SubscribePacket) -> Result<(), Close> {
        let allowed = |filter: rumqttd::protocol::Filter| {
            let is_allowed = self.client.may_read(&filter.path);
            subscription(filter, is_allowed)
        };
        let subscriptions: Vec<Subscription> = packet.filters.into_iter().map(allowed).collect();
        if subscriptions.iter().any(|wanted| wanted.is_allowed && is_reserved(&wanted.filter)) {
            self.open_steering().await;
        }
        if subscriptions.iter().any(|wanted| wanted.no_local) {
            self.intake.has_no_local = true;
        }
        let request = SubscribeRequest {
            subscriber: self.session.subscriber,
            outbox: Arc::clone(&self.session.outbox),
            client_id: Arc::clone(&self.client.id),
            subscription_id: packet.subscription_id,
            subscriptions,
        };
        let outcomes = self.hub.fanout.subscribe(request).await.map_err(|_| Close::Internal)?;
        let is_v5 = self.client.version == Version::V5;
        let return_codes = outcomes.into_iter().map(|outcome| subscribe_code(outcome, is_v5)).collect();
        let answer = Packet::SubAck(SubAck { pkid: packet.packet_id, return_codes }, None);
        control::write(self.client.version, answer, &mut self.io.output);
        Ok(())
    }
}

fn subscription(filter: rumqttd::protocol::Filter, is_allowed: bool) -> Subscription {
    Subscription {
        filter: filter.path,
        qos: filter.qos.into(),
        no_local: filter.nolocal,
        retain_as_published: filter.preserve_retain,
        retain: match filter.retain_forward_rule {
            RetainForwardRule::OnEverySubscribe => RetainHandling::Always,
            RetainForwardRule::OnNewSubscribe => RetainHandling::WhenNew,
            RetainForwardRule::Never => RetainHandling::Never,
        },
        is_allowed,
    }
}

/// A small payload is copied, so that it does not keep a whole read buffer alive while it waits for the disk.
fn owned(chunk: &Bytes, payload: &[u8]) -> Bytes {
    if payload.len() * 4 < chunk.len() { Bytes::copy_from_slice(payload) } else { chunk.slice_ref(payload) }
}

/// Where a publish goes.
enum Destination {
    Log(usize, Arc<Topic>),
    Agent(AgentTopic, Arc<Topic>),
    Refused(Refusal),
    /// The route's log topic has to be made first.
    Wait(usize),
}

impl Intake {
    /// Forgets the log topics that an older view had.
    fn refresh(&mut self, hub: &Hub) {
        let view = hub.metadata.view();
        if view.version != self.view_version || self.topics.len() != hub.routes.len() {
            self.view_version = view.version;
            let known = |name| view.topic(name).filter(|topic| topic.is_settled()).cloned();
            self.topics = hub.routes.iter().map(|route| known(&route.topic)).collect();
        }
    }

    fn set_topic(&mut self, route: usize, topic: Arc<Topic>) {
        if let Some(slot) = self.topics.get_mut(route) {
            *slot = Some(topic);
        }
    }

    /// The publish's topic name, through its alias where it has one (MQTT 5, 3.3.2.3.4).
    fn name<'c>(&mut self, publish: &Publish<'c>) -> Result<Name<'c>, WireError> {
        let Some(alias) = publish.properties.topic_alias else { return Ok(Name::Packet(publish.topic)) };
        if alias == 0 || alias > TOPIC_ALIASES_MAX {
            return Err(WireError::TopicAlias(alias));
        }
        self.aliases.resize(usize::from(TOPIC_ALIASES_MAX), None);
        let slot = &mut self.aliases[usize::from(alias) - 1];
        if !publish.topic.is_empty() {
            *slot = Some(publish.topic.into());
            return Ok(Name::Packet(publish.topic));
        }
        slot.clone().map(Name::Alias).ok_or(WireError::TopicAlias(alias))
    }

    fn destination(&mut self, hub: &Hub, client: &Client, name: &Name<'_>) -> Destination {
        if let Some(device) = parse_answers_topic(name.as_str()) {
            return match device {
                Ok(device) if client.named().as_ref() == Some(&device) => self.routed(hub.routes.answers()),
                Ok(_) => Destination::Refused(Refusal::OTHER_DEVICE),
                Err(_) => Destination::Refused(Refusal::RESERVED_TOPIC),
            };
        }
        match parse_agent_topic(name.as_str()) {
            Some(agent) => agent_destination(hub, client, agent),
            None => self.plain_destination(hub, name.as_str()),
        }
    }

    fn plain_destination(&mut self, hub: &Hub, name: &str) -> Destination {
        if name.starts_with('$') {
            return Destination::Refused(Refusal::RESERVED_TOPIC);
        }
        let Some((number, _)) = hub.routes.find(name) else { return Destination::Refused(Refusal::NO_ROUTE) };
        self.routed(number)
    }

    fn routed(&mut self, number: usize) -> Destination {
        match self.topics.get(number) {
            Some(Some(topic)) => Destination::Log(number, Arc::clone(topic)),
            _ if self.closed_route.take() == Some(number) => Destination::Refused(Refusal::ROUTE_CLOSED),
            _ => Destination::Wait(number),
        }
    }
}

fn agent_destination(hub: &Hub, client: &Client, agent: Result<AgentTopic, AgentTopicError>) -> Destination {
    let Ok(agent) = agent else { return Destination::Refused(Refusal::RESERVED_TOPIC) };
    if client.device.as_ref() != Some(&agent.device) {
        return Destination::Refused(Refusal::OTHER_DEVICE);
    }
    match hub.metadata.topic(&agent.topic) {
        Some(topic) => Destination::Agent(agent, topic),
        None => Destination::Refused(Refusal::NO_SUCH_TOPIC),
    }
}
