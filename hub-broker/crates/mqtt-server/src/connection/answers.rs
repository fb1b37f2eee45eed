//! What is written to the client: acknowledgements that have become due, and deliveries.

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Client, Connection};
use crate::fanout::Delivery;
use crate::fanout::message::expiry_property;
use crate::limits::WRITE_PENDING_BYTES_MAX;
use crate::reason::{Close, Refusal, code};
use crate::session::acks::{Due, Outcome};
use crate::session::outbound::Resend;
use crate::wire::frame::put_varint;
use crate::wire::properties::SUBSCRIPTION_ID;
use crate::wire::publish::Outgoing;
use crate::wire::{Qos, Version, ack};
use schemas::mqtt::property;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Takes what the signals bring and writes every acknowledgement that is due now.
    pub(super) fn hear_signals(&mut self) -> Result<(), Close> {
        let close = self.signals.take(&mut self.settled);
        for (call, outcome) in self.settled.drain(..) {
            self.window.settle(call, outcome);
        }
        while let Some(due) = self.window.pop() {
            self.note_qos_2(due);
            if let Some((packet_id, qos)) = due.ack {
                self.write_ack(packet_id, qos, due.outcome)?;
            } else if let Outcome::Refused(refusal) = due.outcome {
                tracing::debug!(
                    client = &*self.client.id,
                    reason = refusal.reason,
                    "a QoS 0 publish was dropped"
                );
            }
        }
        close.map_or(Ok(()), Err)
    }

    pub(super) fn note_qos_2(&mut self, due: Due) {
        let Some((packet_id, Qos::ExactlyOnce)) = due.ack else { return };
        match due.outcome {
            Outcome::Stored | Outcome::Duplicates(_) => self.session.received.stored(packet_id),
            Outcome::Refused(_) => self.session.received.refused(packet_id),
        }
    }

    fn write_ack(&mut self, packet_id: u16, qos: Qos, outcome: Outcome) -> Result<(), Close> {
        let kind = if qos == Qos::ExactlyOnce { ack::PUBREC } else { ack::PUBACK };
        let (version, out) = (self.client.version, &mut self.io.output);
        match (outcome, version) {
            (Outcome::Stored, _) | (Outcome::Duplicates(_), Version::V311) => {
                ack::write(out, version, kind, packet_id, code::SUCCESS);
            }
            (Outcome::Duplicates(count), Version::V5) => {
                let user = [(property::DUPLICATE, &*count.to_string())];
                ack::write_with(out, kind, packet_id, code::SUCCESS, "", &user);
            }
            (Outcome::Refused(refusal), Version::V5) => {
                write_refusal(out, kind, packet_id, refusal, &self.hub.refusals.said(&refusal));
            }
            (Outcome::Refused(refusal), Version::V311) => return Err(Close::NotStored(refusal.reason)),
        }
        Ok(())
    }

    /// Sends what waits in the outbox, as far as the client's window and the buffer go.
    pub(super) fn deliver(&mut self) -> Result<(), Close> {
        if self.session.outbox.overflowed() {
            return Err(Close::TooSlow);
        }
        while self.io.pending_output() < WRITE_PENDING_BYTES_MAX {
            let has_window = self.session.outbound.in_flight() < self.client.delivery_window;
            let may_take = |delivery: &Delivery| delivery.qos == Qos::AtMostOnce || has_window;
            let Some(delivery) = self.session.outbox.take_if(may_take) else { break };
            let out = &mut self.io.output;
            if delivery.qos == Qos::AtMostOnce {
                write_delivery(out, &self.client, 0, &delivery);
            } else {
                let packet_id = self.session.outbound.next_id();
                // What the client cannot take or does not want any more counts as delivered (MQTT 5, 3.1.2.11.4).
                if write_delivery(out, &self.client, packet_id, &delivery) {
                    self.session.outbound.sent(packet_id, delivery);
                }
            }
        }
        Ok(())
    }

    /// A session goes on: what its last connection left unacknowledged goes first (MQTT 5, 4.4).
    pub(super) fn resend(&mut self) {
        let out = &mut self.io.output;
        let mut unfit = Vec::new();
        for resend in self.session.outbound.resend() {
            match resend {
                Resend::Publish(packet_id, delivery) => {
                    let left = delivery.message.expiry_left(ingest::system_clock()).unwrap_or(Some(0));
                    if !write_publish(out, &self.client, packet_id, delivery, true, left) {
                        unfit.push(packet_id);
                    }
                }
                Resend::Release(packet_id) => {
                    ack::write(out, self.client.version, ack::PUBREL, packet_id, code::SUCCESS);
                }
            }
        }
        unfit.into_iter().for_each(|packet_id| self.session.outbound.forget(packet_id));
    }
}

fn write_refusal(out: &mut Vec<u8>, kind: u8, packet_id: u16, refusal: Refusal, reason: &str) {
    let mut user: Vec<(&str, String)> = Vec::new();
    if let Some(facts) = refusal.agent {
        user.push((property::BATCH, facts.batch.to_string()));
        user.extend(facts.expected.map(|expected| (property::EXPECTED_SEQUENCE, expected.to_string())));
        user.extend(facts.is_fork.then(|| (property::FORK, "1".to_owned())));
    }
    let user: Vec<(&str, &str)> = user.iter().map(|(name, value)| (*name, value.as_str())).collect();
    ack::write_with(out, kind, packet_id, refusal.code, reason, &user);
}

/// Whether it was written: neither too large for the client nor expired.
fn write_delivery(out: &mut Vec<u8>, client: &Client, packet_id: u16, delivery: &Delivery) -> bool {
    match delivery.message.expiry_left(ingest::system_clock()) {
        Some(left) => write_publish(out, client, packet_id, delivery, false, left),
        None => false,
    }
}

/// Whether it was written: not too large for the client.
fn write_publish(
    out: &mut Vec<u8>,
    client: &Client,
    packet_id: u16,
    delivery: &Delivery,
    dup: bool,
    expiry_left: Option<u32>,
) -> bool {
    let mut own = expiry_property(expiry_left);
    for id in &delivery.subscription_ids {
        own.push(SUBSCRIPTION_ID);
        put_varint(&mut own, *id as usize);
    }
    let packet = Outgoing {
        dup,
        qos: delivery.qos,
        retain: delivery.retain,
        topic: delivery.message.topic.as_bytes(),
        packet_id,
        properties: [&own, &delivery.message.properties],
        payload: &delivery.message.payload,
    };
    let fits = packet.packet_bytes(client.version) <= client.packet_bytes_max;
    if fits {
        packet.write(client.version, out);
    }
    fits
}
