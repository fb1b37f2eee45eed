//! A SUBSCRIBE as the fan-out takes it.

use std::sync::Arc;

use schemas::mqtt::is_reserved;

use super::SubscriberId;
use super::outbox::Outbox;
use super::router::RetainHandling;
use crate::wire::Qos;
use crate::wire::text::FilterError;

/// Why a filter was not subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeRefusal {
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error("too many subscriptions")]
    TooMany,
    #[error("a device reads what is meant for itself alone")]
    NotAuthorized,
}

/// One filter of a SUBSCRIBE, not checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub filter: String,
    pub qos: Qos,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain: RetainHandling,
    /// The client may read what the filter names.
    pub is_allowed: bool,
}

/// A SUBSCRIBE.
pub struct SubscribeRequest {
    pub subscriber: SubscriberId,
    pub outbox: Arc<Outbox>,
    pub client_id: Arc<str>,
    pub subscription_id: Option<u32>,
    pub subscriptions: Vec<Subscription>,
}

impl Subscription {
    /// Whether it brings what devices are told.
    #[must_use]
    pub fn is_steering(&self) -> bool {
        self.is_allowed && is_reserved(&self.filter)
    }
}

impl SubscribeRequest {
    /// Whether any of it brings what devices are told.
    #[must_use]
    pub fn is_steering(&self) -> bool {
        self.subscriptions.iter().any(Subscription::is_steering)
    }

    /// Whether any of it brings what clients publish.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.subscriptions.iter().any(|wanted| !is_reserved(&wanted.filter))
    }
}
