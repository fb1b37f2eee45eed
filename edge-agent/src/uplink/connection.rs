//! One connection: a rumqttc client and event loop that live and die with it.
//!
//! `EventLoop::poll` must not be cancelled in the middle of a write, so a task of its own polls it and passes
//! on what it says; dropping the [`Connection`] ends the task and the socket with it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, Publish};
use rumqttc::v5::{AsyncClient, ConnectionError, Event as MqttEvent, EventLoop, MqttOptions};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::access::INFLIGHT_MAX;
use super::backoff::Ended;
use super::event::{Answer, Facts};
use super::packets;

const EVENTS_MAX: usize = 4 * INFLIGHT_MAX as usize;

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
    /// Something came for the device; it is acknowledged by [`Connection::acknowledge`].
    Inbound(Publish),
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
    pub fn open(options: MqttOptions) -> Self {
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

    /// Asks for what is published to these topics; false where the connection has ended.
    pub fn subscribe(&self, topics: impl IntoIterator<Item = String>) -> bool {
        let filters = topics.into_iter().map(|topic| Filter::new(topic, QoS::AtLeastOnce));
        self.client.try_subscribe_many(filters).is_ok()
    }

    /// Tells the hub that somebody has what came.
    pub fn acknowledge(&self, publish: &Publish) {
        // Where the connection has ended, it comes again on the next.
        let _ = self.client.try_ack(publish);
    }

    /// Waits for what it says next. May be cancelled.
    pub async fn next(&mut self) -> Said {
        loop {
            let event = match self.events.recv().await {
                Some(Ok(event)) => event,
                Some(Err(error)) => {
                    let (ended, why) = packets::closed(&error);
                    return Said::Closed { ended, why };
                }
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
                MqttEvent::Incoming(packet) => return self.received(packet),
            }
        }
    }

    fn received(&mut self, packet: Packet) -> Said {
        match packet {
            Packet::ConnAck(connack) => {
                let (facts, hub_time_ms) = packets::connected(&connack);
                Said::Connected { facts, hub_time_ms }
            }
            Packet::PubAck(puback) => match self.tokens.remove(&puback.pkid) {
                Some(token) => Said::Answer { token, answer: packets::answer(&puback) },
                None => Said::Received,
            },
            Packet::Publish(publish) => Said::Inbound(publish),
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
