//! The uplink's side of the mailbox.

use std::collections::VecDeque;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::v5::Publish;
use schemas::DeviceId;
use schemas::mqtt::{commands_topic, desired_topic};

use crate::uplink::mailbox::{Inbound, InboundKind, Mailbox, Outbound};

/// What came and is not delivered, and what is to be told to the hub.
pub(super) struct Post {
    mailbox: Option<Mailbox>,
    desired: String,
    commands: String,
    /// No more than the hub may send without an acknowledgement.
    arrived: VecDeque<Publish>,
}

pub(super) enum Posted {
    /// Somebody has it now.
    Delivered(Publish),
    Letter(Bytes),
}

impl Post {
    pub fn new(mailbox: Option<Mailbox>, device: &DeviceId) -> Self {
        let (desired, commands) = (desired_topic(device), commands_topic(device));
        Self { mailbox, desired, commands, arrived: VecDeque::new() }
    }

    /// What is to be subscribed to.
    pub fn topics(&self) -> Vec<String> {
        let kinds = self.mailbox.iter().flat_map(|mailbox| &mailbox.kinds);
        let topic = |kind: &InboundKind| match kind {
            InboundKind::Desired => self.desired.clone(),
            InboundKind::Command => self.commands.clone(),
        };
        kinds.map(topic).collect()
    }

    pub fn arrived(&mut self, publish: Publish) {
        if self.mailbox.is_some() && self.kind(&publish).is_some() {
            self.arrived.push_back(publish);
        }
    }

    /// What was not delivered comes again on the next connection.
    pub fn disconnected(&mut self) {
        self.arrived.clear();
    }

    /// The hub has an answer of the device.
    pub fn told(&self, letter: Bytes) {
        // Who does not hear of it at most answers again.
        let _ = self.mailbox.as_ref().map(|mailbox| mailbox.told.try_send(Outbound(letter)));
    }

    /// Waits until something is delivered or an answer is to be sent. May be cancelled.
    pub async fn next(&mut self, has_room: bool) -> Posted {
        let first = self.arrived.front().cloned();
        let kind = first.as_ref().and_then(|publish| self.kind(publish));
        let Some(mailbox) = self.mailbox.as_mut() else { return std::future::pending().await };
        tokio::select! {
            Ok(permit) = mailbox.inbound.reserve(), if kind.is_some() => {
                if let (Some(kind), Some(publish)) = (kind, first) {
                    permit.send(Inbound { kind, payload: publish.payload.clone() });
                    self.arrived.pop_front();
                    return Posted::Delivered(publish);
                }
            }
            Some(letter) = mailbox.outbound.recv(), if has_room => return Posted::Letter(letter.0),
            else => {}
        }
        std::future::pending().await
    }

    fn kind(&self, publish: &Publish) -> Option<InboundKind> {
        match std::str::from_utf8(&publish.topic).ok()? {
            topic if topic == self.desired => Some(InboundKind::Desired),
            topic if topic == self.commands => Some(InboundKind::Command),
            _ => None,
        }
    }
}
