//! Who gets which message: subscriptions and retained messages. No I/O, no clock.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use schemas::PartitionIndex;
use schemas::mqtt::is_reserved;

use super::SubscriberId;
use super::message::{Delivery, Message};
use super::outbox::{Outbox, Put};
use super::retained::Retained;
use super::trie::Trie;
use crate::limits::{SUBSCRIPTIONS_MAX, SUBSCRIPTIONS_PER_CLIENT_MAX};
use crate::wire::Qos;

/// When a subscription is given the retained messages (MQTT 5, 3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetainHandling {
    Always,
    WhenNew,
    Never,
}

/// How a client wants what its filter matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub qos: Qos,
    /// Do not send back what this client published itself.
    pub no_local: Option<Bytes>,
    /// Pass the retain flag on as it was published.
    pub retain_as_published: bool,
    /// The filter names what is reserved below `headwater/`: a wildcard in the first level does not stand for it.
    pub is_reserved: bool,
    pub id: Option<u32>,
}

#[derive(Default)]
pub struct Router {
    subscriptions: Trie<SubscriberId, Options>,
    subscribers: HashMap<SubscriberId, Subscriber>,
    held: HashMap<HoldId, Held>,
    last_hold: u64,
    retained: Retained,
    counts: Counts,
}

struct Subscriber {
    outbox: Arc<Outbox>,
    /// With what is held back of them.
    filters: HashMap<Box<str>, Option<HoldId>>,
}

/// A subscription that is granted and not in effect, for as long as the hub lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HoldId(u64);

struct Held {
    subscriber: SubscriberId,
    filter: Box<str>,
    options: Options,
    brings_retained: bool,
}

/// What became of deliveries, for the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub delivered: u64,
    pub dropped: u64,
    pub overflowed: u64,
    pub not_retained: u64,
}

/// There are as many subscriptions as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl Router {
    /// Adds or changes a subscription to a valid filter, and delivers the retained messages that belong to it.
    pub fn subscribe(
        &mut self,
        id: SubscriberId,
        outbox: &Arc<Outbox>,
        filter: &str,
        options: &Options,
        retain: RetainHandling,
    ) -> Result<(), TooMany> {
        let brings_retained = self.admit(id, outbox, filter, retain, None)?;
        self.begin(id, filter, options.clone(), brings_retained);
        Ok(())
    }

    /// Grants a subscription that takes effect with [`Self::release`]. What the subscriber has at the filter already
    /// goes on until then.
    pub fn hold(
        &mut self,
        id: SubscriberId,
        outbox: &Arc<Outbox>,
        filter: &str,
        options: &Options,
        retain: RetainHandling,
    ) -> Result<HoldId, TooMany> {
        let hold = HoldId(self.last_hold + 1);
        let brings_retained = self.admit(id, outbox, filter, retain, Some(hold))?;
        self.last_hold = hold.0;
        let held = Held { subscriber: id, filter: filter.into(), options: options.clone(), brings_retained };
        self.held.insert(hold, held);
        Ok(hold)
    }

    /// What was held takes effect, unless it was given up meanwhile.
    pub fn release(&mut self, hold: HoldId) {
        let Some(Held { subscriber, filter, options, brings_retained }) = self.held.remove(&hold) else {
            return;
        };
        if let Some(known) = self.subscribers.get_mut(&subscriber) {
            known.filters.insert(filter.clone(), None);
        }
        self.begin(subscriber, &filter, options, brings_retained);
    }

    #[must_use]
    pub fn is_held(&self, hold: HoldId) -> bool {
        self.held.contains_key(&hold)
    }

    #[must_use]
    pub fn held_count(&self) -> usize {
        self.held.len()
    }

    /// Notes that the subscriber has the filter, in place of what was held of it. Whether the retained messages belong
    /// to it.
    fn admit(
        &mut self,
        id: SubscriberId,
        outbox: &Arc<Outbox>,
        filter: &str,
        retain: RetainHandling,
        hold: Option<HoldId>,
    ) -> Result<bool, TooMany> {
        let total = self.subscription_count();
        let subscriber = self
            .subscribers
            .entry(id)
            .or_insert_with(|| Subscriber { outbox: Arc::clone(outbox), filters: HashMap::new() });
        let is_known = subscriber.filters.contains_key(filter);
        if !is_known
            && (subscriber.filters.len() >= SUBSCRIPTIONS_PER_CLIENT_MAX || total >= SUBSCRIPTIONS_MAX)
        {
            return Err(TooMany);
        }
        let before = subscriber.filters.insert(filter.into(), hold).flatten();
        let was_owed =
            before.and_then(|hold| self.held.remove(&hold)).is_some_and(|held| held.brings_retained);
        Ok(retain == RetainHandling::Always || (retain == RetainHandling::WhenNew && (!is_known || was_owed)))
    }

    fn begin(&mut self, id: SubscriberId, filter: &str, options: Options, brings_retained: bool) {
        if let Some(subscriber) = self.subscribers.get(&id).filter(|_| brings_retained) {
            for message in self.retained.matching(filter) {
                let delivery = Delivery {
                    retain: true,
                    subscription_ids: options.id.into_iter().collect(),
                    ..Delivery::new(Arc::clone(message), options.qos)
                };
                self.counts.add(subscriber.outbox.put(delivery));
            }
        }
        self.subscriptions.insert(filter, id, options);
    }

    /// Whether there was such a subscription.
    pub fn unsubscribe(&mut self, id: SubscriberId, filter: &str) -> bool {
        let subscriber = self.subscribers.get_mut(&id);
        let was_known = subscriber.and_then(|subscriber| subscriber.filters.remove(filter));
        if let Some(Some(hold)) = was_known {
            self.held.remove(&hold);
        }
        self.subscriptions.remove(filter, &id);
        was_known.is_some()
    }

    /// The session has ended.
    pub fn remove(&mut self, id: SubscriberId) {
        let Some(subscriber) = self.subscribers.remove(&id) else { return };
        for (filter, hold) in subscriber.filters {
            self.subscriptions.remove(&filter, &id);
            hold.and_then(|hold| self.held.remove(&hold));
        }
    }

    #[must_use]
    pub fn subscription_count(&self) -> usize {
        self.subscriptions.len() + self.held.len()
    }

    /// Whether a new subscription may be given a message that was published before it.
    #[must_use]
    pub fn has_retained(&self) -> bool {
        !self.retained.is_empty()
    }

    /// A message has been committed: retains it if it says so, and puts it into the outbox of everyone who has a
    /// matching subscription, once each, at the highest QoS granted.
    pub fn publish(&mut self, message: &Arc<Message>) {
        let kept = match (message.retain, message.is_command) {
            (true, _) => self.retained.set(message),
            (_, true) => self.retained.queue(message),
            _ => Ok(()),
        };
        if kept.is_err() {
            self.counts.not_retained += 1;
            tracing::warn!(topic = &*message.topic, "no room to retain the message; it was delivered only");
        }
        for (id, delivery) in self.deliveries(message) {
            if let Some(subscriber) = self.subscribers.get(&id) {
                self.counts.add(subscriber.outbox.put(delivery));
            }
        }
    }

    /// The partition has said more of what devices are to be, and nobody knows what: whoever subscribes is not given
    /// what it said before. Answers for how many devices it had.
    pub fn forget_desired(&mut self, partition: PartitionIndex) -> u64 {
        self.retained.forget_desired(partition)
    }

    fn deliveries(&self, message: &Arc<Message>) -> HashMap<SubscriberId, Delivery> {
        let mut deliveries: HashMap<SubscriberId, Delivery> = HashMap::new();
        let is_reserved = is_reserved(&message.topic);
        self.subscriptions.matching(&message.topic, |id, options| {
            if is_reserved && !options.is_reserved {
                return;
            }
            if options.no_local.is_some() && options.no_local == message.client {
                return;
            }
            let fresh = || Delivery::new(Arc::clone(message), Qos::AtMostOnce);
            let delivery = deliveries.entry(*id).or_insert_with(fresh);
            delivery.qos = delivery.qos.max(message.qos.min(options.qos));
            delivery.retain |= options.retain_as_published && message.retain;
            delivery.subscription_ids.extend(options.id);
        });
        deliveries
    }

    /// The counts since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}

impl Counts {
    fn add(&mut self, put: Put) {
        match put {
            Put::Taken => self.delivered += 1,
            Put::Dropped => self.dropped += 1,
            Put::Overflow => self.overflowed += 1,
        }
    }
}

#[cfg(test)]
mod tests;
