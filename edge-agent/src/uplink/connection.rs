//! One connection: a rumqttc client and event loop that live and die with it.
//!
//! `EventLoop::poll` must not be cancelled in the middle of a write, so a task of its own polls it and passes
//! on what it says; dropping the [`Connection`] ends the task and the socket with it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectProperties, DisconnectReasonCode, Packet, PubAck, PubAckReason,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event as MqttEvent, EventLoop, MqttOptions, StateError};
use schemas::mqtt::{parse_log_topic_answer, property};
use schemas::{DeviceId, Sequence, TopicName};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::backoff::Ended;
use super::event::{Answer, Facts};
use crate::config::HubAddress;
use crate::limits::{KEEP_ALIVE, REASON_CHARS_MAX, WINDOW_PUBLISHES_MAX};

/// Half of it is the window's largest.
const INFLIGHT_MAX: u16 = 2 * WINDOW_PUBLISHES_MAX;
const EVENTS_MAX: usize = 4 * INFLIGHT_MAX as usize;
/// MQTT 5, section 3.2.2.3.3: without the property, 65,535.
const RECEIVE_MAXIMUM_DEFAULT: u16 = u16::MAX;

/// What a connection says.
#[derive(Debug)]
pub(super) enum Said {
    Connected {
        facts: Facts,
        hub_time_ms: Option<i64>,
    },
    Answer {
        token: u64,
        answer: Answer,
    },
    PingSent,
    PingAnswered,
    /// Some other packet.
    Received,
    Closed {
        ended: Ended,
        why: String,
    },
}

pub(super) struct Connection {
    client: AsyncClient,
    events: mpsc::Receiver<Result<MqttEvent, ConnectionError>>,
    poller: JoinHandle<()>,
    /// Publishes that were handed over and have no packet id yet, in order.
    handed_over: VecDeque<u64>,
    tokens: HashMap<u16, u64>,
}

impl Connection {
    /// `timeout`: from TCP's first packet to CONNACK.
    pub fn open(hub: &HubAddress, device: &DeviceId, topics: &[TopicName], timeout: Duration) -> Self {
        let mut options = options(hub, device, topics);
        options.set_connection_timeout(timeout.as_secs());
        let (client, event_loop) = AsyncClient::new(options, EVENTS_MAX);
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let poller = tokio::spawn(poll(event_loop, sender));
        Self { client, events, poller, handed_over: VecDeque::new(), tokens: HashMap::new() }
    }

    /// Hands a publish over; false where the connection has ended.
    pub fn publish(&mut self, token: u64, topic: String, payload: Bytes) -> bool {
        let handed = self.client.try_publish(topic, QoS::AtLeastOnce, false, payload).is_ok();
        if handed {
            self.handed_over.push_back(token);
        }
        handed
    }

    /// Waits for what it says next. May be cancelled.
    pub async fn next(&mut self) -> Said {
        loop {
            let event = match self.events.recv().await {
                Some(Ok(event)) => event,
                Some(Err(error)) => return closed(&error),
                None => return Said::Closed { ended: Ended::Failed, why: "the connection ended".to_owned() },
            };
            match event {
                MqttEvent::Outgoing(Outgoing::Publish(packet)) => {
                    if let Some(token) = self.handed_over.pop_front() {
                        self.tokens.insert(packet, token);
                    }
                }
                MqttEvent::Outgoing(Outgoing::PingReq) => return Said::PingSent,
                MqttEvent::Outgoing(_) => {}
                MqttEvent::Incoming(packet) => return self.received(&packet),
            }
        }
    }

    fn received(&mut self, packet: &Packet) -> Said {
        match packet {
            Packet::ConnAck(connack) => connected(connack),
            Packet::PubAck(puback) => match self.tokens.remove(&puback.pkid) {
                Some(token) => Said::Answer { token, answer: answer(puback) },
                None => Said::Received,
            },
            Packet::PingResp(_) => Said::PingAnswered,
            _ => Said::Received,
        }
    }

    /// Says DISCONNECT and waits until it is sent.
    pub async fn close(mut self) {
        if self.client.try_disconnect().is_ok() {
            let sent = async {
                while let Some(Ok(event)) = self.events.recv().await {
                    if event == MqttEvent::Outgoing(Outgoing::Disconnect) {
                        break;
                    }
                }
            };
            // A hub that does not read any more is not waited for.
            let _ = tokio::time::timeout(Duration::from_millis(500), sent).await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

async fn poll(mut event_loop: EventLoop, sender: mpsc::Sender<Result<MqttEvent, ConnectionError>>) {
    loop {
        let event = event_loop.poll().await;
        let is_last = event.is_err();
        if sender.send(event).await.is_err() || is_last {
            return;
        }
    }
}

fn options(hub: &HubAddress, device: &DeviceId, topics: &[TopicName]) -> MqttOptions {
    let mut options = MqttOptions::new(device.as_str(), hub.host.as_str(), hub.port);
    options.set_clean_start(true);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_outgoing_inflight_upper_limit(INFLIGHT_MAX);
    let mut network = options.network_options();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    let mut properties = ConnectProperties::new();
    properties.user_properties.push((property::DEVICE.to_owned(), device.to_string()));
    for topic in topics {
        properties.user_properties.push((property::LOG_TOPIC.to_owned(), topic.to_string()));
    }
    options.set_connect_properties(properties);
    options
}

fn connected(connack: &ConnAck) -> Said {
    let properties = connack.properties.as_ref();
    let mut facts = Facts {
        receive_maximum: properties.and_then(|p| p.receive_max).unwrap_or(RECEIVE_MAXIMUM_DEFAULT),
        max_packet_bytes: properties.and_then(|p| p.max_packet_size),
        ..Facts::default()
    };
    let mut hub_time_ms = None;
    for (name, value) in properties.map(|p| p.user_properties.as_slice()).unwrap_or_default() {
        match name.as_str() {
            property::LOG_TOPIC => facts.partitions.extend(parse_log_topic_answer(value)),
            property::TIME => hub_time_ms = value.parse().ok(),
            _ => {}
        }
    }
    Said::Connected { facts, hub_time_ms }
}

fn answer(puback: &PubAck) -> Answer {
    let mut answer = Answer { reason: reason_code(puback.reason), ..Answer::default() };
    let text = puback.properties.as_ref().and_then(|properties| properties.reason_string.as_deref());
    answer.text = text.map(|text| text.chars().take(REASON_CHARS_MAX).collect());
    for (name, value) in puback.properties.as_ref().map(|p| p.user_properties.as_slice()).unwrap_or_default()
    {
        match name.as_str() {
            property::EXPECTED_SEQUENCE => {
                answer.expected = value.parse().ok().filter(|sequence| *sequence >= 0).map(Sequence);
            }
            property::DUPLICATE => answer.duplicates = value.parse().unwrap_or(0),
            property::FORK => answer.is_fork = true,
            _ => {}
        }
    }
    answer
}

/// MQTT 5, table 3-4.
fn reason_code(reason: PubAckReason) -> u8 {
    match reason {
        PubAckReason::Success => 0x00,
        PubAckReason::NoMatchingSubscribers => 0x10,
        PubAckReason::UnspecifiedError => 0x80,
        PubAckReason::ImplementationSpecificError => 0x83,
        PubAckReason::NotAuthorized => 0x87,
        PubAckReason::TopicNameInvalid => 0x90,
        PubAckReason::PacketIdentifierInUse => 0x91,
        PubAckReason::QuotaExceeded => 0x97,
        PubAckReason::PayloadFormatInvalid => 0x99,
    }
}

fn closed(error: &ConnectionError) -> Said {
    let ended = match error {
        ConnectionError::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ended::Refused,
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. })
            if *reason_code == DisconnectReasonCode::SessionTakenOver =>
        {
            Ended::TakenOver
        }
        _ => Ended::Failed,
    };
    let why = match error {
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            let more = reason_string.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("the hub closed the connection: {reason_code:?}{more}")
        }
        ConnectionError::Timeout(_) => "no answer in time".to_owned(),
        other => program::outcome::one_line(other),
    };
    Said::Closed { ended, why }
}
