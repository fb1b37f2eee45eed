//! The plain publishes of one read, gathered so that each partition hears of them in one call.
//!
//! Everything is borrowed from the read buffer: the payload of a publish is copied once, into the batch.

use std::sync::Arc;

use ingest::{Path, PlainMessage, system_clock};
use metadata::{Principal, Topic};
use schemas::{PartitionIndex, key_partition};

use super::signals::Signals;
use crate::fanout::message::{PropertyHeaders, header};
use crate::limits::{CALL_BYTES_MAX, CALL_MESSAGES_MAX};
use crate::reason::{Refusal, group_of};
use crate::refusals::Refusals;
use crate::routes::{Key, Routes};
use crate::session::acks::{AckWindow, CallId, Outcome};
use crate::wire::Qos;
use crate::wire::publish::Publish;

/// A topic name from the packet, or from an alias.
pub enum Name<'c> {
    Packet(&'c str),
    Alias(Arc<str>),
}

impl Name<'_> {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Packet(name) => name,
            Self::Alias(name) => name,
        }
    }
}

/// One plain publish that is to be stored.
struct Item<'c> {
    name: Name<'c>,
    qos: Qos,
    retain: bool,
    properties: Option<Box<PropertyHeaders<'c>>>,
    payload: &'c [u8],
}

struct Call<'c> {
    id: CallId,
    route: usize,
    topic: Arc<Topic>,
    partition: PartitionIndex,
    items: Vec<Item<'c>>,
    bytes: usize,
}

/// What calls need to be made.
pub struct Caller<'a> {
    pub ingest: &'a ingest::Ingest,
    pub principal: &'a Principal,
    pub routes: &'a Routes,
    pub signals: &'a Arc<Signals>,
    pub refusals: &'a Arc<Refusals>,
    pub id: &'a Arc<str>,
    /// The client's id, where its publishes have to carry it.
    pub client: Option<&'a str>,
}

pub struct Calls<'c, 'a> {
    caller: Caller<'a>,
    open: Vec<Call<'c>>,
}

impl<'c, 'a> Calls<'c, 'a> {
    pub fn new(caller: Caller<'a>) -> Self {
        Self { caller, open: Vec::new() }
    }

    /// Takes a publish in. It is acknowledged through `window`, in its turn.
    pub fn add(
        &mut self,
        window: &mut AckWindow,
        route: usize,
        topic: &Arc<Topic>,
        name: Name<'c>,
        publish: &Publish<'c>,
    ) {
        let partition = self.partition(route, topic, &name);
        let bytes = name.as_str().len() + publish.payload.len() + ingest::limits::PLAIN_RECORD_OVERHEAD_BYTES;
        let bytes_max = CALL_BYTES_MAX.min(topic.config.max_message_bytes / 2);
        let at = match self.open.iter().position(|call| call.route == route && call.partition == partition) {
            Some(at) if !self.open[at].is_full(bytes, bytes_max) => at,
            full => {
                if let Some(at) = full {
                    let call = self.open.swap_remove(at);
                    self.caller.make(&call);
                }
                let topic = Arc::clone(topic);
                let id = window.open();
                self.open.push(Call { id, route, topic, partition, items: Vec::new(), bytes: 0 });
                self.open.len() - 1
            }
        };
        let call = &mut self.open[at];
        let ack = (publish.qos != Qos::AtMostOnce).then_some((publish.packet_id, publish.qos));
        window.admit(call.id, ack, bytes);
        let has_properties = !publish.properties.is_plain();
        call.bytes += bytes;
        call.items.push(Item {
            name,
            qos: publish.qos,
            retain: publish.retain,
            properties: has_properties.then(|| Box::new(PropertyHeaders::new(&publish.properties))),
            payload: publish.payload,
        });
    }

    fn partition(&self, route: usize, topic: &Topic, name: &Name<'_>) -> PartitionIndex {
        let key = self.caller.routes.get(route).map_or(name.as_str(), |route| route.key(name.as_str()));
        // Kafka's own partitioner, so that other producers of the same keys agree.
        key_partition(key.as_bytes(), topic.partition_count())
    }

    /// Makes every call. MUST be the last thing that is done with them.
    pub fn make_all(mut self) {
        for call in std::mem::take(&mut self.open) {
            self.caller.make(&call);
        }
    }
}

impl Call<'_> {
    fn is_full(&self, more_bytes: usize, bytes_max: usize) -> bool {
        self.items.len() >= CALL_MESSAGES_MAX || self.bytes + more_bytes > bytes_max
    }
}

impl Caller<'_> {
    fn make(&self, call: &Call<'_>) {
        let timestamp_ms = system_clock();
        let lists: Vec<Vec<(&str, &[u8])>> =
            call.items.iter().map(|item| self.headers(call.route, item)).collect();
        let messages: Vec<PlainMessage<'_>> = call
            .items
            .iter()
            .zip(&lists)
            .map(|(item, list)| PlainMessage {
                timestamp_ms,
                key: self.key(call.route, item.name.as_str()).as_bytes(),
                value: item.payload,
                headers: if list.is_empty() { fixed_headers(item.qos, item.retain) } else { list },
            })
            .collect();
        let done = self.done(call);
        self.ingest.plain(self.principal, &call.topic, call.partition, &messages, done);
    }

    fn done(&self, call: &Call<'_>) -> ingest::PlainDone {
        let (signals, id) = (Arc::clone(self.signals), call.id);
        let (refusals, client) = (Arc::clone(self.refusals), Arc::clone(self.id));
        let first: Box<str> = call.items.first().map_or("", |item| item.name.as_str()).into();
        let publishes = call.items.len();
        let group = group_of(&call.topic, call.partition);
        Box::new(move |stored| {
            let outcome = match stored {
                Ok(_) => Outcome::Stored,
                Err(error) => {
                    let refusal = Refusal { group, ..Refusal::from(error) };
                    ingest::refused(Path::Mqtt, error.reason(), publishes);
                    refusals.tell(&client, &first, &refusal, publishes);
                    Outcome::Refused(refusal)
                }
            };
            signals.settle(id, outcome);
        })
    }

    fn key<'n>(&self, route: usize, name: &'n str) -> &'n str {
        self.routes.get(route).map_or(name, |route| route.key(name))
    }

    /// Empty where the fixed headers will do, as for nearly every publish.
    fn headers<'i>(&'i self, route: usize, item: &'i Item<'_>) -> Vec<(&'i str, &'i [u8])> {
        let is_keyed = self.routes.get(route).is_some_and(|route| route.key != Key::Topic);
        if item.properties.is_none() && self.client.is_none() && !is_keyed {
            return Vec::new();
        }
        let mut list = fixed_headers(item.qos, item.retain).to_vec();
        if is_keyed {
            list.push((header::TOPIC, item.name.as_str().as_bytes()));
        }
        if let Some(client) = self.client {
            list.push((header::CLIENT, client.as_bytes()));
        }
        if let Some(properties) = &item.properties {
            list.extend(properties.as_slices());
        }
        list
    }
}

type Headers = &'static [(&'static str, &'static [u8])];

pub fn fixed_headers(qos: Qos, retain: bool) -> Headers {
    const RETAIN: (&str, &[u8]) = (header::RETAIN, b"1");
    const QOS_1: (&str, &[u8]) = (header::QOS, b"1");
    const QOS_2: (&str, &[u8]) = (header::QOS, b"2");
    match (qos, retain) {
        (Qos::AtMostOnce, false) => &[],
        (Qos::AtMostOnce, true) => &[RETAIN],
        (Qos::AtLeastOnce, false) => &[QOS_1],
        (Qos::AtLeastOnce, true) => &[QOS_1, RETAIN],
        (Qos::ExactlyOnce, false) => &[QOS_2],
        (Qos::ExactlyOnce, true) => &[QOS_2, RETAIN],
    }
}
