//! What a client and the hub owe each other, without sockets: publishes that wait for the log ([`acks`]), QoS 2
//! packet ids between PUBREC and PUBREL ([`received`]), messages on their way to the client ([`outbound`]), and
//! where sessions are kept while their clients are away ([`registry`]).

pub mod acks;
mod contested;
pub mod outbound;
pub mod received;
pub mod registry;

use std::sync::Arc;

use crate::fanout::{Outbox, SubscriberId};
use outbound::Outbound;
use received::Received;

/// The part of a session that outlives its connection.
pub struct Session {
    pub subscriber: SubscriberId,
    pub outbox: Arc<Outbox>,
    pub outbound: Outbound,
    pub received: Received,
}

impl Session {
    #[must_use]
    pub fn new(subscriber: SubscriberId) -> Self {
        Self {
            subscriber,
            outbox: Arc::new(Outbox::default()),
            outbound: Outbound::default(),
            received: Received::default(),
        }
    }
}
