//! From committed records to subscribers.
//!
//! This does what rumqttd's router was considered for, with a subscription trie of our own: 0.20's router keeps
//! 1,024 slots for every filter that was ever subscribed to, panics on topics and shared groups that a client can
//! choose, blocks in an async send, hides the QoS of what it forwards, and would hold every message a second time
//! beside the log. A trie beside the log needs none of that.
//!
//! One thread owns the [`router`] (subscriptions and retained messages). [`feed`] tails the log topics of the
//! routes on it and hands each record to the router, which puts it into the [`outbox`] of every subscriber.
//! Retained messages are set by the same records, so a subscriber sees one order of things.

mod barrier;
mod command;
mod feed;
pub mod message;
pub mod outbox;
mod queue;
mod request;
mod retained;
mod router;
mod steering;
mod trie;

pub use command::{Fanout, FanoutHandle};
pub use message::Delivery;
pub use outbox::Outbox;
pub use request::{SubscribeRefusal, SubscribeRequest, Subscription};
pub use router::RetainHandling;
pub use steering::Steering;

/// A session, for as long as the hub lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriberId(pub u64);
